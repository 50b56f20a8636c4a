"""The command `samovar`, as a user calls it."""

import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from samovar import __version__
from samovar.local import cli

SAMOVAR = str(Path(sys.executable).parent / "samovar")


def _samovar(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SAMOVAR, *arguments], capture_output=True, text=True, check=False)


def test_version_and_help() -> None:
    assert version("samovar") == __version__
    assert _samovar("--version").stdout == f"samovar {__version__}\n"
    assert all(name in _samovar("--help").stdout for name in cli.COMMANDS)


def test_a_wrong_call_is_told_what_there_is() -> None:
    assert _samovar().returncode == 2
    wrong = _samovar("brew")
    assert wrong.returncode == 2
    assert "invalid choice: 'brew'" in wrong.stderr


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_there(name: str) -> None:
    assert find_spec(f"samovar.local.{name}") is not None
    assert _samovar(name, "--help").returncode == 0


@pytest.mark.real
def test_demo_prints_a_row_for_a_handler_and_a_line_for_an_invocation() -> None:
    done = _samovar("demo", "hello", "dynamodb")
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
    done = _samovar("demo", "nothing")
    assert done.returncode == 2
    assert "hello.handler" in done.stderr


@pytest.mark.real
def test_demo_fails_with_its_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from samovar.local import demo

    monkeypatch.setattr(demo, "EXAMPLES", [demo.Example("dynamodb_update.handler", {"Records": [{}]})])
    assert cli.main(["demo"]) == 1
    assert "invocation 1 failed" in (error := capsys.readouterr().err)
    assert "KeyError" in error
