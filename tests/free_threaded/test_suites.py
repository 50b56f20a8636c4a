"""The tests of what threads share, with a Python without the GIL."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.conftest import ROOT

UNITS = ["aio", "context", "errors", "hooks", "logging_hook", "logs", "loop", "report", "runtime_api", "streaming"]
UNITS += ["streams", "syspath", "threads", "transport_urllib3", "wire"]
FOLDERS = ["caching", "codec", "companion/test_workers.py", "concurrency", "handler"]
SUITES = [*(f"tests/test_{name}.py" for name in UNITS), *(f"tests/{name}" for name in FOLDERS)]
# Minutes: these try each instruction, or each order of calls, or wait for servers; none of them is about threads.
LEFT_OUT = ["tests/caching/test_interrupted.py", "tests/caching/test_model.py", "tests/caching/test_redis_tier.py"]


def test_units_cache_and_many_invocations_pass_without_the_gil_which_stays_away(python: Path) -> None:
    command = [python, "-m", "pytest", "-q", "-p", "tests.free_threaded.gil", "-p", "samovar.local.pytest_plugin"]
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'runtime'}{os.pathsep}{ROOT}",
        "PATH": f"{python.parent}:/usr/bin:/bin",
    }
    done = subprocess.run(
        [*command, *SUITES, *(f"--ignore={path}" for path in LEFT_OUT)],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout
    assert "The GIL is not enabled" in done.stdout


def test_a_module_that_brings_the_gil_back_fails_the_run(python: Path, tmp_path: Path) -> None:
    """PYTHON_GIL=1 does what importing such a module does."""
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'runtime'}{os.pathsep}{ROOT}", "PYTHON_GIL": "1"}
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "tests.free_threaded.gil", "test_nothing.py"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "1 passed" in done.stdout
    assert "a module has brought it back" in done.stdout
