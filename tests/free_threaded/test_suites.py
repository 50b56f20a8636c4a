"""The tests of what threads share, and of many invocations at once, with a Python without the GIL."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

UNITS = ["aio", "context", "errors", "hooks", "logging_hook", "logs", "loop", "report", "runtime_api", "streaming"]
UNITS += ["streams", "syspath", "threads", "transport_urllib3", "wire"]
STORM = "test_each_event_has_one_answer_its_own[25000-thread-16-handler-kinds2]"
# Packages with extension modules that are built for the GIL, processes with one thread each, more storms.
LEFT_OUT = ["test_applications", "test_workers", "test_storm"]
# What only waits for time limits tells nothing about threads.
NEITHER = "not awslambdaric and not official and not fastapi and not django and not sigterm and not late"
NEITHER += " and (companion or not process)"
SUITES = {
    "units and cache": [
        *(f"tests/test_{name}.py" for name in UNITS),
        *(f"tests/{name}" for name in ("caching", "codec", "handler/test_function.py", "handler/test_wsgi.py")),
        # Minutes: each instruction, each order of calls, servers. None of them is about threads of the function's.
        *(f"--ignore=tests/caching/test_{name}.py" for name in ("interrupted", "model", "redis_tier")),
        *("-k", "not both_engines and not any_document and not churn and not any_chunking"),
    ],
    "many invocations at once": [
        *(
            str(path)
            for path in sorted((ROOT / "tests" / "concurrency").glob("test_*.py"))
            if path.stem not in LEFT_OUT
        ),
        f"tests/concurrency/test_storm.py::{STORM}",
        "tests/companion/test_workers.py",
        *("-k", NEITHER),
    ],
}
PATHS = f"{ROOT / 'runtime'}{os.pathsep}{ROOT}"
COMMAND = ["-m", "pytest", "-q", "-p", "tests.free_threaded.gil", "-p", "samovar.local.pytest_plugin"]


@pytest.fixture(scope="module")
def running(python: Path) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Start all suites at once: one alone leaves a core idle."""
    env = {**os.environ, "PYTHONPATH": PATHS, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    processes: dict[str, subprocess.Popen[str]] = {}
    try:
        for name, arguments in SUITES.items():
            processes[name] = subprocess.Popen(
                [python, *COMMAND, *arguments],
                cwd=ROOT,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


@pytest.mark.parametrize("suite", SUITES)
def test_they_pass_and_nothing_brings_the_gil_back(running: dict[str, subprocess.Popen[str]], suite: str) -> None:
    output, _ = running[suite].communicate(timeout=500)
    assert running[suite].returncode == 0, output
    assert "The GIL is not enabled" in output


def test_a_module_that_brings_the_gil_back_fails_the_run(python: Path, tmp_path: Path) -> None:
    """PYTHON_GIL=1 does what importing such a module does."""
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    done = subprocess.run(
        [python, *COMMAND, "test_nothing.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PATHS, "PYTHON_GIL": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "1 passed" in done.stdout
    assert "a module has brought it back" in done.stdout
