"""A pytest plugin for a user's own tests: Lambda environments under the real Runtime Interface Emulator, as fixtures.

After `pip install samovar[local]`, one line names the function, and the fixture `rie` is a cold environment of it:

    pytestmark = pytest.mark.samovar("app.handler")  # for a module; or as a decorator for one test

    def test_greeting(rie):
        assert rie.invoke({"name": "Ada"}).json() == {"message": "Hello, Ada!"}

The marker takes `task_root` (the function's folder, LAMBDA_TASK_ROOT; default: pytest's rootdir), `env`,
`timeout` (s), `memory` (MB) and `command` (default: this interpreter's `-m samovar`). The fixture `samovar_rie` is a
function with the same parameters, for tests that need several environments. Every environment ends with its test. The
report of a failed test shows the environment's log.

pytest loads this file in every project that has Samovar installed, so it imports nothing until a fixture is used.
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
        "samovar(handler, task_root=, env=, timeout=, memory=, command=): the function for the `rie` fixture to run",
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
    """Start an environment with `samovar_rie("app.handler", task_root=, env=, timeout=, memory=, command=)`.

    The parameters are those of the `samovar` marker, and the result is a samovar.local.rie.RIE.
    """
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
    """Provide a cold environment of the function that the nearest `samovar` marker names."""
    marker = request.node.get_closest_marker("samovar")
    if marker is None:
        pytest.fail(
            'the fixture `rie` needs a marker that names the function: @pytest.mark.samovar("app.handler")', False
        )
    return samovar_rie(*marker.args, **marker.kwargs)
