"""A pytest plugin for a user's own tests: Lambda environments under the real Runtime Interface Emulator, as fixtures.

After `pip install samovar[local]`, one line names the function, and the fixture `rie` is an environment of it:

    pytestmark = pytest.mark.samovar("app.handler")  # for a module; or as a decorator for one test

    def test_greeting(rie):
        assert rie.invoke({"name": "Ada"}).json() == {"message": "Hello, Ada!"}

The marker's arguments, all but the first by name:

    handler    the function, as in Lambda's handler setting
    task_root  the function's folder, LAMBDA_TASK_ROOT; by default pytest's rootdir, from which a relative path begins
    env        a dict of environment variables, added to those of pytest
    timeout    seconds that an invocation may take; by default 300
    memory     MB, which the emulator reports and does not enforce
    command    the runtime's program and its arguments; by default this interpreter's `-m samovar`
    scope      "function" (the default): each test has a cold environment; "module" or "session": the tests share one,
               with its state, and it ends with the module or the session

The fixture `samovar_rie` starts environments in a test, which end with it. `samovar_fresh` is for tests that call the
handler directly: it empties caches and companions. The report of a failed test shows what its environments logged
meanwhile; with -vv also the emulator's own log and the runtime's own frames.

pytest loads this file in every project that has Samovar installed, so it imports nothing until a fixture is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from samovar.local.rie import RIE

_OPTIONS = ("task_root", "env", "timeout", "memory", "command", "scope")
_SCOPES = ("function", "module", "session")


@dataclass
class _Environment:
    """An environment and what has been done with it: the tests that had it, and the lengths of its logs before each."""

    handler: str
    scope: str
    options: dict[str, Any]
    rie: RIE
    uses: list[tuple[str, int, int]] = field(default_factory=list)

    def use(self, item: pytest.Item) -> None:
        """Note that a test begins to use it, so that its report is about this test alone."""
        self.uses.append((item.nodeid, *self.rie.position()))
        item.stash.setdefault(_of_a_test, []).append(self)

    def ended_in(self, before: int) -> str:
        """Return the last of the tests before this one in which the runtime ended; empty if it never did."""
        stderr = self.rie.written()[1][: self.uses[before][2]]
        at = stderr.rfind(b"(rapid) Reset initiated: ")
        return next((test for test, _, begun in reversed(self.uses) if begun <= at), "")


_of_a_test: pytest.StashKey[list[_Environment]] = pytest.StashKey()
_shared: pytest.StashKey[list[_Environment]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "samovar(handler, task_root=, env=, timeout=, memory=, command=, scope=): the function that the fixture `rie` "
        'runs, as "app.handler". task_root: its folder (default: the rootdir). env: a dict of variables. timeout: '
        "seconds. memory: MB. command: the runtime's program and arguments (default: python -m samovar). scope: "
        '"function", a cold environment for each test, or "module" or "session", one that the tests share.',
    )


# --- what a failed test shows


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        environments = item.stash.get(_of_a_test, [])
        for number, environment in enumerate(environments, 1):
            which = f"Lambda environment {number}" if len(environments) > 1 else "Lambda environment"
            report.sections += _sections(f"{which}: {environment.handler}", environment, item)
    return report


def _sections(title: str, environment: _Environment, item: pytest.Item) -> Iterator[tuple[str, str]]:
    """Return the function's own lines, and with -vv the emulator's, since the test began."""
    from samovar.local.rie import folded, readable, without_debug

    at = max(number for number, use in enumerate(environment.uses) if use[0] == item.nodeid)
    _, *since = environment.uses[at]
    stdout, stderr = (text.decode(errors="replace") for text in environment.rie.written(*since))
    paint: Callable[..., str] = lambda text, **_: text  # noqa: E731
    if item.config.pluginmanager.has_plugin("terminalreporter"):
        paint = item.config.get_terminal_writer().markup
    emulator = without_debug(stderr).splitlines()
    verbose = item.config.get_verbosity() > 1
    log = readable(stdout).rstrip("\n").split("\n")
    lines = [_painted(line, paint) for line in (log if verbose else folded(log))]
    if not stdout:
        lines = [paint("(nothing was logged)", light=True)]
    if environment.scope != "function":
        lines[:0] = [paint(f"({line})", light=True) for line in _history(environment, at)]
    if emulator and not verbose:
        lines.append(paint(f"(the emulator's own log, {len(emulator)} lines: pytest -vv)", light=True))
    yield title, "\n".join(lines)
    if emulator and verbose:
        yield f"{title}, the emulator's own log", "\n".join(emulator)


def _painted(line: str, paint: Callable[..., str]) -> str:
    """Return a line of the log: on a terminal the platform's step back, and an error's first stands out."""
    if re.search(r"(?:^START|END|REPORT) RequestId: \S+", line):
        return paint(line.rstrip("\t").replace("\t", "  "), light=True)
    return paint(line, red=True, bold=True) if line.startswith("[ERROR]") else line


def _history(environment: _Environment, at: int) -> Iterator[str]:
    """Return what the tests before did to a shared environment, in lines."""
    yield f"the tests of this {environment.scope} share it; this is the log since this test began"
    if at:
        yield f"tests that had it before: {at}, the last {environment.uses[at - 1][0]}"
    if ended := environment.ended_in(at):
        yield f"its runtime ended in {ended}, and its state with it"


# --- the marker


def _read(marker: pytest.Mark | None) -> tuple[str, str, dict[str, Any]]:
    """Return a marker's handler, scope and other arguments. Fail the test, in one line, for what it does not take."""
    if marker is None:
        _refuse('the fixture `rie` needs a marker that names the function: @pytest.mark.samovar("app.handler")')
    options = dict(marker.kwargs)
    positional = [*marker.args]
    if "handler" in options:
        positional.append(options.pop("handler"))
    for name in options:
        if name not in _OPTIONS:
            from difflib import get_close_matches

            near = get_close_matches(name, _OPTIONS, 1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            _refuse(f"pytest.mark.samovar has no argument {name}{meant}: it takes handler, {', '.join(_OPTIONS)}")
    if not positional:
        _refuse('pytest.mark.samovar names no function: write @pytest.mark.samovar("app.handler")')
    if len(positional) > 1:
        what = ", ".join(map(repr, positional))
        _refuse(f"pytest.mark.samovar takes one function, not {what}: give {', '.join(_OPTIONS)} by name")
    scope = options.pop("scope", "function")
    if scope not in _SCOPES:
        _refuse(f'pytest.mark.samovar: scope must be "function", "module" or "session", not {scope!r}')
    return positional[0], scope, options


def _refuse(message: str) -> NoReturn:
    pytest.fail(message, pytrace=False)


# --- the fixtures


@pytest.fixture
def samovar_rie(request: pytest.FixtureRequest) -> Iterator[Callable[..., RIE]]:
    """Start an environment with `samovar_rie("app.handler", task_root=, env=, timeout=, memory=, command=)`.

    The parameters are those of the `samovar` marker, without scope: each call starts a cold environment, which ends
    with the test. The result is a samovar.local.RIE.
    """
    with ExitStack() as stack:

        def start(handler: str, **options: Any) -> RIE:
            __tracebackhide__ = True
            rie = _make(request.config, handler, options)
            _Environment(handler, "function", options, rie).use(request.node)
            return stack.enter_context(rie)

        yield start


@pytest.fixture
def rie(request: pytest.FixtureRequest) -> RIE:
    """Provide an environment (samovar.local.RIE) of the function that the nearest `samovar` marker names.

    It is a cold one for each test, or with the marker's scope="module" or "session" one that the tests share.
    """
    item = request.node
    handler, scope, options = _read(item.get_closest_marker("samovar"))
    holder = {"function": item, "module": item.getparent(pytest.Module) or item.session, "session": item.session}[scope]
    kept = [] if scope == "function" else holder.stash.setdefault(_shared, [])
    environment = next((each for each in kept if (each.handler, each.options) == (handler, options)), None)
    if environment is None:
        environment = _Environment(handler, scope, options, _start(request.config, handler, options))
        holder.addfinalizer(environment.rie.stop)
        kept.append(environment)
    elif not environment.rie.running:
        _refuse(
            f"the environment of {handler} that the tests of this {scope} share has ended, in {environment.uses[-1][0]}"
            ': a test that ends it needs one of its own, scope="function"'
        )
    environment.use(item)
    return environment.rie


def _make(config: pytest.Config, handler: str, options: dict[str, Any]) -> RIE:
    """Return an environment that is not started yet. Raises RIEError."""
    from samovar.local.rie import RIE

    if isinstance(task_root := options.get("task_root", "."), str | PathLike):
        options = {**options, "task_root": config.rootpath / task_root}
    return RIE.for_handler(handler, **options)


def _start(config: pytest.Config, handler: str, options: dict[str, Any]) -> RIE:
    """Start an environment, or fail the test in one line."""
    from samovar.local.rie import RIEError

    try:
        rie = _make(config, handler, options)
    except RIEError as error:
        _refuse(f"pytest.mark.samovar: {error}")
    try:
        return rie.__enter__()
    except RIEError as error:
        _refuse(str(error))


@pytest.fixture
def samovar_fresh() -> Iterator[None]:
    """Empty every cache and end every companion's process before and after the test, for tests that call the handler.

    `samovar.cache`, each TTLCache and each function with `cached` are empty, their counters are 0, companions start
    anew when they are asked, and no deferred call is left. For all tests of a module:
    `pytestmark = pytest.mark.usefixtures("samovar_fresh")`; of a project: `usefixtures = samovar_fresh` in pytest's ini
    file.
    """
    from samovar.local.testing.fresh import start_afresh

    start_afresh()
    yield
    start_afresh()
