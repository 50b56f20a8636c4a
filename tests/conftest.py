"""For all tests: Hypothesis without deadlines, environments of this checkout, and no skipped real part in CI."""

import gc
import os
import signal
import sys
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from samovar.local.rie import RIE

ROOT = Path(__file__).resolve().parent.parent
REAL = (
    "attach",
    "container",
    "deploy",
    "docs",
    "free_threaded",
    "new_user",
    "packages",
    "rie",
    "suites",
)  # every test in these folders needs a real part
# bootstrap uses the python3 on PATH; make that the interpreter that runs the tests.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

# orjson has no wheel for Python 3.15 yet, nor for one without the GIL, and these tests read with it.
collect_ignore = [] if find_spec("orjson") else ["codec/test_large.py"]

# A shell that starts the tests in the background, or nohup, makes them and all that they start ignore these.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, lambda *_: None)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

settings.register_profile("samovar", deadline=None)  # a busy machine is not a failure
settings.load_profile("samovar")


# Under pytest-xdist the tests of a file stay in one worker, and so do those of these folders: their files share images,
# layers, outcomes or the benchmark's stage. The longest come first, so that no worker is left alone with one.
TOGETHER = ("tests/container/", "tests/contract/", "tests/bench/")


def _worker_group(nodeid: str) -> str:
    path = nodeid.partition("::")[0]
    return next((folder for folder in TOGETHER if path.startswith(folder)), path)


@pytest.hookimpl(optionalhook=True)  # tests/container runs tests/contract without pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _worker_group(nodeid)

    config.option.loadscopereorder = False
    return Scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {folder: place for place, folder in enumerate(TOGETHER)}
    items.sort(key=lambda item: order.get(_worker_group(item.nodeid), len(order)))
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0] if item.path.is_relative_to(ROOT / "tests") else ""
        if folder in REAL or any("valkey" in name for name in getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # a test that collects garbage, as many do, does not look through all tests for it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.get_closest_marker("real") and not hasattr(report, "wasxfail"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)  # a module that skips itself may contain tests of a real part
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and os.environ.get("CI"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"In CI every real part must be there, but this was skipped: {reason}"


@pytest.fixture
def environment(samovar_rie: Callable[..., RIE]) -> Callable[..., RIE]:
    """Start this checkout's bootstrap under the RIE with `environment("hello.handler", env=, timeout=, memory=)`."""

    def start(handler: str, *, env: dict[str, str] | None = None, **options: Any) -> RIE:
        options = {"task_root": ROOT / "handlers", "command": [str(ROOT / "bootstrap")], **options}
        return samovar_rie(handler, env={"PATH": PATH, **(env or {})}, **options)

    return start
