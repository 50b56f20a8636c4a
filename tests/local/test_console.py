"""The look of the commands: on a real terminal, narrow or without colour, and where there is none."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.local.terminal import on_terminal, plain

BEGIN = "from samovar.local import console\n"
LONG = "the quick brown fox jumps over the lazy dog, and " * 3 + "/a/path/that/is/copied"
WORK = "with console.working('brewing'): input()\n"


def _python(source: str) -> list[str]:
    return [sys.executable, "-c", BEGIN + source]


def _piped(source: str, input: str = "") -> tuple[str, str]:
    done = subprocess.run(_python(source), capture_output=True, text=True, check=True, input=input)
    return done.stdout, done.stderr


def _once_there(text: str) -> Callable[[str], bytes]:
    typed: list[str] = []

    def seen(output: str) -> bytes:
        if text in output and not typed:
            typed.append(text)
            return b"\n"
        return b""

    return seen


@pytest.mark.parametrize("columns", [200, 80, 40])
def test_a_terminal_has_lines_of_80_columns_or_fewer_broken_between_words(columns: int) -> None:
    for call in ("say", "show"):
        _, seen = on_terminal(_python(f"console.{call}({LONG!r})"), columns=columns)
        lines = seen.splitlines()
        assert max(map(len, lines)) <= min(columns, 80)
        assert " ".join(line.strip() for line in lines) == LONG


def test_elsewhere_a_message_is_one_line_and_a_result_has_80_columns() -> None:
    out, err = _piped(f"console.say({LONG!r}); console.show({LONG!r})")
    assert err == f"{LONG}\n"
    assert max(map(len, out.splitlines())) <= 80
    assert " ".join(out.split()) == LONG


def test_what_is_copied_is_not_broken() -> None:
    _, seen = on_terminal(
        _python(f"console.say({LONG!r}, wrap=False); console.show({LONG!r}, wrap=False)"), columns=200
    )
    assert seen == f"{LONG}\n{LONG}\n"


def test_a_failure_names_the_command_in_colour_on_a_terminal_alone() -> None:
    source = "console.fail('run', 'it is broken'); console.fail('', 'no command')"
    _, seen = on_terminal(_python(source))
    assert "\x1b[1;31msamovar run:\x1b[0m it is broken\n" in seen
    assert plain(seen) == "samovar run: it is broken\nsamovar: no command\n"
    assert _piped(source) == ("", plain(seen))


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_escapes_where_the_user_wants_none(env: dict[str, str]) -> None:
    source = "console.fail('run', 'broken'); console.show('bold', 'bold'); console._PATIENCE = 0\n" + WORK
    _, seen = on_terminal(_python(source), env=env, seen=_once_there("brewing …"))
    assert "\x1b" not in seen
    assert "brewing …\n" in seen


def test_without_rich_everything_is_plain() -> None:
    source = "import sys; sys.modules['rich'] = None; sys.modules['rich.console'] = None; console._PATIENCE = 0\n"
    source += "console.fail('run', 'broken'); console.show('bold', 'bold')\n" + WORK
    _, seen = on_terminal(_python(source), seen=_once_there("brewing …"))
    assert "\x1b" not in seen
    assert seen.startswith("samovar run: broken\nbold\nbrewing …\n")


def test_long_work_has_a_spinner_on_a_terminal_which_is_gone_at_the_end() -> None:
    source = "console._PATIENCE = 0\n" + WORK + "console.say('done')\n"
    _, seen = on_terminal(_python(source), seen=_once_there("brewing …"))
    assert "\x1b[?25l" in seen, "the cursor is hidden while the spinner turns"
    assert "\x1b[?25h" in seen[seen.index("brewing") :], "and is shown again"
    assert seen.rstrip("\n").rpartition("\x1b[2K")[2] == "done", "the spinner's line is erased"


def test_a_result_that_is_written_during_the_work_stays_on_stdout(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+") as file:
        source = "console._PATIENCE = 0\nwith console.working('brewing'):\n  input(); print('result')\n"
        _, seen = on_terminal(_python(source), stdout=file.fileno(), seen=_once_there("brewing …"))
        file.seek(0)
        assert file.read() == "result\n"
    assert "result" not in seen


def test_long_work_is_one_plain_line_elsewhere() -> None:
    process = subprocess.Popen(
        _python("console._PATIENCE = 0\n" + WORK), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    with process:
        assert process.stderr.readline().decode() == "brewing …\n"
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stderr.read() == process.stdout.read() == b""


def test_short_work_says_nothing() -> None:
    assert _piped("console._PATIENCE = 3600\n" + WORK, input="\n") == ("", "")


def test_an_exception_ends_the_spinner_and_goes_on() -> None:
    source = "console._PATIENCE = 0\nwith console.working('brewing'):\n  input(); raise SystemExit(7)\n"
    status, seen = on_terminal(_python(source), seen=_once_there("brewing …"))
    assert status == 7
    assert "\x1b[?25h" in seen
