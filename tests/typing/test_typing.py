"""The public names as mypy and pyright see them: right.py has no error, wrong.py has one where it says so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
Checker = Callable[[Path, Path], dict[int, str]]


def mypy(file: Path, scratch: Path) -> dict[int, str]:
    """Return the errors that `mypy --strict` reports, by line."""
    options = ["--strict", "--config-file", "/dev/null", "--cache-dir", scratch, "--python-version", "3.11"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, file],
        env={"MYPYPATH": str(ROOT / "runtime"), "PATH": ""},
        cwd=scratch,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(rf"^.*{file.name}:(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert len(found) == done.stdout.count(": error: "), done.stdout  # none is in another file
    return {int(line): message for line, message in found}


def pyright(file: Path, scratch: Path) -> dict[int, str]:
    """Return the errors that basedpyright reports with the settings that pyright has by default, by line."""
    settings = {"typeCheckingMode": "standard", "pythonVersion": "3.11", "extraPaths": [str(ROOT / "runtime")]}
    settings["reportUnusedExpression"] = settings["reportUnusedCoroutine"] = False  # type: ignore[assignment]
    (scratch / "pyrightconfig.json").write_text(json.dumps({**settings, "include": [str(file)]}))
    done = subprocess.run([BIN / "basedpyright", "-p", scratch, "--outputjson"], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] == 1
    errors = [each for each in told["generalDiagnostics"] if each["severity"] == "error"]
    return {each["range"]["start"]["line"] + 1: each["message"] for each in errors}


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_right_uses_have_no_error(checker: Checker, tmp_path: Path) -> None:
    assert checker(HERE / "right.py", tmp_path) == {}


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_each_wrong_use_is_an_error_and_nothing_else_is(checker: Checker, tmp_path: Path) -> None:
    file = HERE / "wrong.py"
    expected = [at for at, line in enumerate(file.read_text().splitlines(), 1) if line.endswith("  # expect")]
    assert sorted(checker(file, tmp_path)) == expected


def test_python_runs_the_right_uses() -> None:
    """So that what the type checkers accept is also what is there."""
    subprocess.run([sys.executable, "-W", "error", HERE / "right.py"], check=True)
