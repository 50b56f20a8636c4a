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
