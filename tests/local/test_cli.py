"""The command `samovar`, as a user calls it, and what the runtime says to somebody who starts it by hand."""

import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from samovar import __version__
from samovar.local import cli
from tests.local.terminal import on_terminal, plain

SAMOVAR = str(Path(sys.executable).parent / "samovar")


def _samovar(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SAMOVAR, *arguments], capture_output=True, text=True, check=False)


def test_version() -> None:
    assert version("samovar") == __version__
    assert _samovar("--version").stdout == f"samovar {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_alone_and_with_help_it_lists_the_commands_and_says_how_to_begin(arguments: list[str]) -> None:
    done = _samovar(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    text = " ".join(done.stdout.split())
    assert all(f"{name} {what}" in text for name, what in cli.COMMANDS.items())
    assert "samovar run app.handler --event '{}'" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["brew"], f"samovar: there is no command 'brew'; there are {', '.join(cli.COMMANDS)}"),
        (["--brew"], f"samovar: there is no command '--brew'; there are {', '.join(cli.COMMANDS)}"),
        (["run"], "samovar run: the following arguments are required: HANDLER; see samovar run --help"),
        (["compile", ".", "--hot"], "samovar compile: unrecognized arguments: --hot; see samovar compile --help"),
    ],
)
def test_a_wrong_call_is_told_in_one_line_what_there_is(arguments: list[str], says: str) -> None:
    wrong = _samovar(*arguments)
    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (2, "", f"{says}\n")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_in_80_columns(name: str) -> None:
    assert find_spec(f"samovar.local.{name}") is not None
    done = _samovar(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: samovar {name} ")
    assert max(map(len, done.stdout.splitlines())) <= 80
    status, seen = on_terminal([SAMOVAR, name, "--help"], columns=200)
    assert (status, plain(seen)) == (0, done.stdout)
    assert "\x1b[1moptions:\x1b[0m" in seen


def test_a_terminal_and_a_pipe_show_the_same_overview() -> None:
    status, seen = on_terminal([SAMOVAR], columns=200)
    assert (status, plain(seen)) == (0, _samovar().stdout)
    assert max(map(len, plain(seen).splitlines())) <= 80


@pytest.mark.parametrize("arguments", [[], ["--help"], ["doctor", "--help"], ["--version"]])
def test_a_reader_that_has_gone_away_ends_it_quietly(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([SAMOVAR, *arguments], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [[], ["app.handler"]])
def test_the_runtime_started_by_hand_names_samovar_run(arguments: list[str]) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("_HANDLER", "AWS_LAMBDA_RUNTIME_API")}
    command = [sys.executable, "-m", "samovar", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "samovar run " + (arguments[0] if arguments else "HANDLER") in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_runtimes_help_is_no_failure_and_a_wrong_call_is() -> None:
    command = [sys.executable, "-m", "samovar"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m samovar ")
    assert "samovar run MODULE.FUNCTION" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    wrong = subprocess.run([*command, "app.handler", "two"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (2, "", done.stdout)
