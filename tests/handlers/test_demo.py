"""The demo, as `make demo` runs it."""

import subprocess
import sys

import pytest

from handlers.demo import __main__ as demo
from handlers.demo.environment import ROOT


def _demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "handlers.demo", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.real
def test_demo_prints_a_row_for_a_handler_and_a_line_for_an_invocation() -> None:
    done = _demo("hello", "dynamodb")
    assert done.returncode == 0, done.stderr
    rows = {row.split()[0]: row.split() for row in done.stdout.splitlines() if ".handler  " in row}
    assert list(rows) == ["hello.handler", "dynamodb_update.handler"]
    for row in rows.values():
        init, first, later, memory = map(float, row[1:5])
        assert 0 < later <= first + init
        assert 5 < memory < 100
    assert rows["hello.handler"][5:] == ['{"message":"Hello,', 'Samovar!","count":10}']
    lines = [line for line in done.stdout.splitlines() if "Billed Duration" in line]
    assert [int(line.split()[0]) for line in lines] == list(range(1, 11))


def test_demo_of_something_else_names_the_examples() -> None:
    done = _demo("nothing")
    assert done.returncode == 2
    assert "hello.handler" in done.stderr


@pytest.mark.real
def test_demo_fails_with_its_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "EXAMPLES", [demo.Example("dynamodb_update.handler", {"Records": [{}]})])
    assert demo.main([]) == 1
    assert "invocation 1 failed" in (error := capsys.readouterr().err)
    assert "KeyError" in error
