"""A pytest plugin: Lambda environments under the real Runtime Interface Emulator, as fixtures of a user's own project.

After `pip install samovar[local]` one line chooses the function, and the fixture `rie` is a cold environment of it:

    pytestmark = pytest.mark.samovar("app.handler")          # beside the tests; or as a decorator of one test

    def test_greeting(rie):
        assert rie.invoke({"name": "Ada"}).json() == {"message": "Hello, Ada!"}

The marker takes `task_root` (the function's folder, LAMBDA_TASK_ROOT; default: pytest's rootdir), `env`,
`timeout` (s), `memory` (MB) and `command` (default: this interpreter's `-m samovar`). The fixture `samovar_rie` is a
function with the same parameters, for a test that needs several environments. Every environment ends with its test; the
report of a failed test shows what it logged.

pytest loads this in every run of every project that has Samovar installed: it imports nothing until a fixture is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from os import PathLike
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from samovar.local.rie import RIE

_environments: pytest.StashKey[list[RIE]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "samovar(handler, task_root=, env=, timeout=, memory=, command=): the function that the `rie` fixture runs",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        environments = item.stash[_environments] if _environments in item.stash else []  # noqa: SIM401
        for number, environment in enumerate(environments, 1):
            report.sections.append((f"Lambda environment {number}", environment.output()))
    return report


@pytest.fixture
def samovar_rie(request: pytest.FixtureRequest) -> Iterator[Callable[..., RIE]]:
    """Starts an environment: `samovar_rie("app.handler", task_root=, env=, timeout=, memory=, command=)` is an RIE."""
    from samovar.local.rie import RIE

    environments = request.node.stash.setdefault(_environments, [])
    with ExitStack() as stack:

        def start(
            handler: str,
            *,
            task_root: str | PathLike[str] = "",
            env: Mapping[str, str] | None = None,
            timeout: int | None = None,
            memory: int | None = None,
            command: Sequence[str] = (sys.executable, "-m", "samovar"),
        ) -> RIE:
            folder = request.config.rootpath / task_root
            if not folder.is_dir():
                raise NotADirectoryError(f"task_root={task_root!r}: there is no folder {folder}")
            variables = {"_HANDLER": handler, "LAMBDA_TASK_ROOT": str(folder), **(env or {})}
            environment = RIE(command, env=variables, cwd=folder, timeout=timeout, memory=memory)
            environments.append(environment)
            return stack.enter_context(environment)

        yield start


@pytest.fixture
def rie(request: pytest.FixtureRequest, samovar_rie: Callable[..., RIE]) -> RIE:
    """A cold environment of the function that the nearest `samovar` marker names."""
    marker = request.node.get_closest_marker("samovar")
    if marker is None:
        pytest.fail(
            'the fixture `rie` runs the function that a marker names: @pytest.mark.samovar("app.handler")', False
        )
    return samovar_rie(*marker.args, **marker.kwargs)
