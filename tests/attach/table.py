"""The table of packages for docs/compatibility.md. A row is a test file: its first lines, and the packages it tries.

The packages are those that the file's functions have in their folder, with the versions of requirements/attach.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.attach.harness import CHECKOUT, Function

HEADING = "Packages that attach"
TEXT = """
Agents and tools find or replace parts of AWS's client, start it through an exec wrapper, or read what it leaves in the
environment. The tests in [`tests/attach`](../tests/attach) run each package of this table, in this version, under AWS's
client and under Samovar: on a managed function with the layer, on an OS-only function, and with `python -m samovar`, as
in an image. What the package sends, what the runtime posts, and in which order, is the same. With many invocations in
one process some of them are [another matter](concurrency.md#packages-that-attach).
"""
REQUIREMENTS = CHECKOUT / "requirements" / "attach"


def section() -> str:
    """Return the text of the section and its table."""
    rows = "".join(f"| {', '.join(packages)} | {says} |\n" for packages, says in rows_of_tests())
    return f"{TEXT}\n| package | how it attaches |\n|---|---|\n{rows}"


def rows_of_tests() -> Iterator[tuple[list[str], str]]:
    """Return the packages of each test file that has some, and its first sentences."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path.stem == "test_concurrency":
            continue  # some of the same packages, in a way that AWS's client does not have
        module = import_module(f"tests.attach.{path.stem}")
        names = {name for function in functions(vars(module).values()) for name in function.packages}
        if packages := [package for name in sorted(names) for package in versions(name)]:
            assert module.__doc__
            yield packages, " ".join(module.__doc__.partition("\n\n")[0].split())


def functions(values: Any) -> Iterator[Function]:
    """Return the functions among these values and in their dicts and lists."""
    for value in values:
        if isinstance(value, Function):
            yield value
        elif isinstance(value, dict):
            yield from functions(value.values())
        elif isinstance(value, (list, tuple)):
            yield from functions(value)


def versions(name: str) -> list[str]:
    """Return the packages that requirements/attach/NAME.in names, each with its pinned version."""
    pins = dict(re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")))
    wanted = re.findall(r"(?m)^([\w.-]+)", (REQUIREMENTS / f"{name}.in").read_text(encoding="utf-8"))
    return [f"`{package}` {pins[re.sub('[-_.]+', '-', package).lower()]}" for package in wanted]
