"""Everything that can go wrong with a process: the call says what is known, and the next event has a process."""

import contextlib
import gc
import os
import re
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar import hooks
from samovar.companion import Companion, CompanionError, supervisor
from samovar.companion.process import Process, ProcessFailed
from samovar.environment import environment
from samovar.handler import program as exec_handler
from tests.companion.conftest import PRELUDE, Clock, Start, alive, context, in_flight

PID = "while True: ask(); answer(os.getpid())"
# Runs the event as code, then answers.
OBEY = """
while True:
    exec(ask())
    answer(os.getpid())
"""


def failure(call: Callable[[], object]) -> CompanionError:
    with pytest.raises(CompanionError) as caught:
        call()
    assert caught.value.error_type == f"Companion.{caught.value.kind}"
    assert str(caught.value) == caught.value.message
    return caught.value


# --- at start-up


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (b"#!/bin/sh\n", 0o644, "is not executable: run chmod +x"),
        (b"#!/no/such/interpreter -x\n", 0o755, "names the interpreter /no/such/interpreter, which does not exist"),
        (b"#!/bin/sh\r\n", 0o755, "Windows line ends"),
        (b"echo no first line\n", 0o755, "neither a program for this machine nor a script"),
        (b"", 0o755, "neither a program for this machine nor a script"),
    ],
)
def test_a_program_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, mode: int, told: str
) -> None:
    (tmp_path / "main").write_bytes(content)
    (tmp_path / "main").chmod(mode)
    monkeypatch.chdir("/")
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    caught = failure(lambda: exec_handler.load("./main --fast"))
    assert caught.error_type == "Companion.NotStarted"
    assert caught.message.startswith("./main --fast cannot be started: ")
    assert told in caught.message


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("./none", "/none does not exist"),
        ("./folder", "is a folder"),
        ("no-such-program-anywhere", "it is not on PATH; to run a file of your own, write its path: ./no-such-program"),
        ("'./unbalanced", "cannot be read as a command: No closing quotation"),
        ("  ", "names no program"),
    ],
)
def test_a_command_that_names_no_program_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, told: str
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir("/")
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    caught = failure(lambda: exec_handler.load(command))
    assert caught.error_type == "Companion.NotStarted"
    assert told in caught.message


def test_on_path_the_first_program_of_that_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("folder", "data", "right", "late"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "main").mkdir()
    (tmp_path / "data" / "main").write_text("")
    for name in ("right", "late"):
        (tmp_path / name / "main").write_text(f"#!{sys.executable} -S\n{PRELUDE}ask(); answer({name!r})")
        (tmp_path / name / "main").chmod(0o755)
    monkeypatch.setenv("PATH", ":".join(str(tmp_path / name) for name in ("none", "folder", "data", "right", "late")))
    with Companion(["main"]) as companion:
        assert companion.call(None) == "right"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_program_has_the_signals_that_python_ignores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    source = """
    n=0
    while read -r line; do
        case $line in *die*) exit 3;; esac
        while read -r name value; do
            [ "$name" != SigIgn: ] || echo "{\\"proc_req_id\\":$n,\\"error\\":null,\\"data\\":\\"$value\\"}"
        done < /proc/$$/status
        n=$((n + 1))
    done
    """
    ignored = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    monkeypatch.chdir("/")
    with Companion(["/bin/sh", "-c", source]) as companion:
        if elsewhere:
            monkeypatch.chdir(tmp_path)
            failure(lambda: companion.call("die"))
        assert int(companion.call(""), 16) & ignored == 0


def test_a_program_without_its_dynamic_loader_says_so(tmp_path: Path) -> None:
    image = bytearray(Path(sys.executable).resolve().read_bytes())
    at = image.index(b"/ld-linux") + 1
    image[at : at + 8] = b"no-linux"
    program = tmp_path / "main"
    program.write_bytes(image)
    program.chmod(0o755)
    caught = failure(lambda: Companion([str(program)]))
    assert caught.error_type == "Companion.NotStarted"
    assert "but the dynamic loader that it was linked for does not" in caught.message


@pytest.fixture
def no_descriptors() -> Iterator[Callable[[int], None]]:
    """Return a function that uses up all descriptors but the given number."""
    used: list[int] = []
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def use_up(but: int) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
        with contextlib.suppress(OSError):
            while True:
                used.append(os.dup(0))
        for _ in range(but):
            os.close(used.pop())

    yield use_up
    while used:
        os.close(used.pop())
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("left", range(6))
def test_a_start_without_descriptors_says_so_and_keeps_none(no_descriptors: Callable[[int], None], left: int) -> None:
    no_descriptors(left)
    for _ in range(3):
        caught = failure(lambda: Companion(["/bin/cat"]))
        assert caught.error_type == "Companion.NotStarted"
        assert caught.message == "/bin/cat cannot be started: Too many open files"
    free = [os.dup(0) for _ in range(left)]  # as many as before
    for fd in free:
        os.close(fd)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["/bin/sh", "a\0b"], "embedded null"),
        (["/bin/s\0h"], "embedded null"),
        (["s\0h"], "embedded null"),
        (["/bin/sh", "\ud800"], "its command or environment: 'utf-8' codec can't encode"),
        (["/bin/sh", "x" * (1 << 20)], "Argument list too long"),
    ],
)
def test_a_command_that_no_process_can_have_says_so_and_leaves_nothing(args: list[str], told: str) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        caught = failure(lambda: Companion(args))
        assert caught.error_type == "Companion.NotStarted"
        assert told in caught.message
    assert os.listdir("/proc/self/fd") == before


def test_a_start_without_memory_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*args: object, **options: object) -> int:
        raise MemoryError

    monkeypatch.setattr("posix.posix_spawn", no_memory)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(MemoryError):
        Companion(["/bin/cat"])
    assert os.listdir("/proc/self/fd") == before


def test_a_folder_of_the_function_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/no/such/folder")
    caught = failure(lambda: exec_handler.load("./main"))
    assert caught.error_type == "Companion.NotStarted"
    assert caught.message == "LAMBDA_TASK_ROOT=/no/such/folder: No such file or directory"


def test_exit_at_start_up_fails_init(start: Start) -> None:
    caught = failure(lambda: start("log('cannot find my database')\nsys.exit(3)"))
    assert caught.error_type == "Companion.Ended"
    assert "exited with code 3, before its first answer. Its last lines" in caught.message
    assert caught.message.endswith("\ncannot find my database")


def test_closing_its_input_at_start_up_fails_init(start: Start) -> None:
    caught = failure(lambda: start("os.close(0)\nsignal.pause()"))
    assert "closed its standard input and was killed for it" in caught.message


def test_an_answer_before_the_question_fails_init(start: Start) -> None:
    caught = failure(lambda: start("number = 0\nanswer('early')\n" + PID))
    assert caught.error_type == "Companion.BadAnswer"
    assert 'wrote to standard output before the first request: \'{"proc_req_id": 0' in caught.message
    assert "write logs to stderr" in caught.message


def test_a_program_that_never_reads_holds_init_up_for_so_long_only(
    start: Start, clock: Clock, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def log(chunk: bytes) -> None:
        clock.offset += 9

    monkeypatch.setattr(supervisor, "_to_log", log)
    companion = start("log('busy')\nwhile not os.path.exists(sys.argv[0] + '.go'): time.sleep(0.01)\n" + PID)
    assert "has not read its standard input after 8 s; going on" in capfd.readouterr().out
    Path(companion._workers[0]._program.args[-1] + ".go").touch()
    assert companion.call(1)


def test_a_start_in_an_invocation_waits_no_longer_than_that_lasts(
    start: Start, clock: Clock, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def log(chunk: bytes) -> None:
        clock.offset += 2.5

    monkeypatch.setattr(supervisor, "_to_log", log)
    monkeypatch.setattr(environment, "invocation", in_flight(context(2)))
    start("log('busy')\nsignal.pause()")
    waited = re.search(r"has not read its standard input after ([0-9.]+) s; going on", capfd.readouterr().out)
    assert waited
    assert float(waited[1]) < 2


# --- between calls


def test_kill_9_between_calls_loses_no_event(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    companion = start(PID)
    pids = [companion.call(None)]
    for _ in range(5):  # more often than a process may fail a call
        os.kill(pids[-1], signal.SIGKILL)
        _until_gone(pids[-1])
        pids.append(companion.call(None, context()))
    assert len(set(pids)) == 6
    log = capfd.readouterr().out
    assert log.count("[ERROR]") == 5
    assert "The idle companion failed and is restarted; no event is lost: " in log
    assert "was killed by signal 9 (SIGKILL: probably out of memory, or killed from outside), after 1 answer" in log


def test_a_process_that_ends_with_the_request_unread_loses_no_event(
    start: Start, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Killed after the call has seen it alive and has sent the request: only the pipe tells that it was not read.
    companion = start(PID)
    pids = [companion.call(None)]
    ask = Process.ask

    def kill_first(self: Process, line: bytes, deadline: float | None) -> bytes:
        if self.pid == pids[-1]:
            os.kill(self.pid, signal.SIGSTOP)
            while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
                pass  # until then it may still be reading
            threading.Timer(0.05, os.kill, (self.pid, signal.SIGKILL)).start()
        return ask(self, line, deadline)

    monkeypatch.setattr(Process, "ask", kill_first)
    for size in (1, 100_000, 3 << 20):
        pids.append(companion.call("x" * size, context()))
    assert len(set(pids)) == 4


def test_a_program_that_answers_once_and_ends_serves_all_the_same(start: Start, logged: list[str]) -> None:
    companion = start("ask()\nanswer(os.getpid())")
    assert len({companion.call(None, context()) for _ in range(6)}) == 6


def test_output_after_an_answer_is_not_taken_for_the_next_one(
    start: Start, capfd: pytest.CaptureFixture[str], logged: list[str]
) -> None:
    companion = start(
        """
while True:
    ask()
    write(b'{"proc_req_id":%d,"error":null,"data":%d}\\n{"proc_req_id":%d,"error":null,"data":"false"}\\n'
        % (number, os.getpid(), number + 1))
"""
    )
    pids = [companion.call(None) for _ in range(3)]
    assert len(set(pids)) == 3
    assert (
        'wrote to standard output after answer 0, before the next request: \'{"proc_req_id":1' in capfd.readouterr().out
    )


def test_of_a_flood_after_an_answer_the_beginning_is_kept(
    start: Start, capfd: pytest.CaptureFixture[str], logged: list[str]
) -> None:
    companion = start("ask()\nanswer(1, end=b'\\n' + b'x' * 300_000)\nlog('written')\nask()")
    assert companion.call(None) == 1
    while not logged:
        companion._workers[0]._process._read_log()  # type: ignore[union-attr]
    assert companion.call(None) == 1
    shown = f"before the next request: '{'x' * 200}'… (65,536 bytes)"
    assert shown in capfd.readouterr().out


def test_100_mb_of_stderr_between_two_calls(start: Start, logged: list[str]) -> None:
    companion = start(
        """
text = b"x" * 9_999 + b"\\n"
while True:
    ask()
    answer(os.getpid())
    for _ in range(10_000):
        write(text, 2)
"""
    )
    assert companion.call(None, context()) == companion.call(None, context())
    companion.close()
    assert len(logged) >= 10_000
    assert set(map(len, logged[:10_000])) == {9_999}


# --- during a call


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        ("os.kill(os.getpid(), 9)", "was killed by signal 9 (SIGKILL: probably out of memory, or killed from outside)"),
        ("os.abort()", "was killed by signal 6 (SIGABRT)"),
        ("os._exit(3)", "exited with code 3"),
        ("sys.exit()", "exited with code 0"),
        ("1 / 0", "exited with code 1"),
        (
            "os.close(1); time.sleep(0.02); os.kill(os.getpid(), 9)",
            "was killed by signal 9 (SIGKILL: probably out of memory, or killed from outside)",
        ),
        ("os.close(1); signal.pause()", "closed its standard output and was killed for it"),
        ("answer(1, end=b''); os._exit(0)", "exited with code 0"),
    ],
)
def test_the_end_of_the_process_during_a_call(
    start: Start, logged: list[str], monkeypatch: pytest.MonkeyPatch, deed: str, told: str
) -> None:
    if "closed" not in told:  # it ends by itself, on a loaded machine later than is waited for
        wait = Process._wait
        monkeypatch.setattr(Process, "_wait", lambda self, seconds: wait(self, 60))
    companion = start(OBEY)
    first = companion.call("", context())
    caught = failure(lambda: companion.call("log('what I was doing'); " + deed, context()))
    assert caught.error_type == "Companion.Ended"
    assert f"{told}, after 1 answer" in caught.message
    assert "Its last lines on standard error:\nwhat I was doing" in caught.message
    assert not caught.fatal
    assert not alive(first)
    assert companion.call("", context()) != first


def test_a_death_nobody_was_told_of_by_closed_pipes(start: Start, logged: list[str]) -> None:
    # The grandchild holds all three pipes, so that only the process itself shows that it is gone.
    companion = start(OBEY)
    companion.call("", context())
    caught = failure(
        lambda: companion.call("pid = os.fork()\nif pid == 0: signal.pause()\nlog(str(pid))\nos._exit(4)", context())
    )
    assert "exited with code 4" in caught.message
    _until_gone(int(logged[-1]))
    assert companion.call("", context())


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        ('write(b\'{"proc_req_id": 0, "err\')', '; it wrote \'{"proc_req_id": 0, "err\' without the line end that'),
        ("answer('whole', end=b'')", '"data": "whole"}\' without the line end that completes'),
        (
            "",
            "did not answer before this invocation's deadline, and was killed. Its last lines on standard error:\nnow",
        ),
    ],
)
def test_silence_until_the_deadline(
    start: Start, clock: Clock, monkeypatch: pytest.MonkeyPatch, deed: str, told: str
) -> None:
    def log(chunk: bytes) -> None:
        clock.offset += 100  # what was written before is read already: now its time is up

    monkeypatch.setattr(supervisor, "_to_log", log)
    companion = start(OBEY)
    pid = companion.call("", context())
    caught = failure(lambda: companion.call(f"{deed or 'pass'}; log('now'); signal.pause()", context()))
    assert caught.error_type == "Companion.Silent"
    assert told in caught.message
    assert not alive(pid)
    assert companion.call("", context()) != pid


def test_a_program_that_does_not_flush_is_told_of_it(
    start: Start, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def log(chunk: bytes) -> None:
        clock.offset += 100

    monkeypatch.setattr(supervisor, "_to_log", log)
    companion = start("out = open(1, 'w')\nwhile True: ask(); out.write('{\"proc_req_id\":0,\"data\":1}\\n'); log('.')")
    caught = failure(lambda: companion.call("", context()))
    assert caught.error_type == "Companion.Silent"
    assert (
        "did not answer, or did not flush its answer, before this invocation's deadline, and was killed"
        in caught.message
    )


@pytest.mark.parametrize("deadline", [3228130696703, 10**30, 10**400, 0])
def test_a_deadline_may_be_as_far_as_it_likes(start: Start, deadline: int) -> None:
    companion = start("while True: answer(ask())")
    assert companion.call(1, context(_epoch_deadline_time_in_ms=deadline)) == 1


@pytest.mark.parametrize(
    ("seconds", "timeout", "told"),
    [
        (60, 5, "within 5 s, and was killed"),
        (60, 0.25, "within 0.25 s, and was killed"),
        (5, 60, "before this invocation's deadline, and was killed"),
        (5, float("inf"), "before this invocation's deadline, and was killed"),
        (None, 5, "within 5 s, and was killed"),
        (None, None, "within 60 s (timeout= sets another limit), and was killed"),
    ],
)
def test_a_call_ends_at_the_earlier_of_timeout_and_deadline(
    start: Start,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float | None,
    timeout: float | None,
    told: str,
) -> None:
    first = min(seconds or 60, timeout or 60)
    written: list[bytes] = []

    def log(chunk: bytes) -> None:
        written.append(chunk)
        clock.offset = clock.offset + first - 0.2 if len(written) == 1 else clock.offset + 0.2

    monkeypatch.setattr(supervisor, "_to_log", log)
    companion = start("ask()\nlog('begun')\nlog('late')\nsignal.pause()")
    clock.stop()
    caught = failure(lambda: companion.call(1, None if seconds is None else context(seconds), timeout=timeout))
    assert caught.kind == "Silent"
    assert told in caught.message


@pytest.mark.parametrize("timeout", [5, float("inf"), 10**30])
def test_a_timeout_may_be_as_long_as_it_likes_and_an_answer_in_time_is_one(
    start: Start, clock: Clock, timeout: float
) -> None:
    companion = start("while True: answer(ask())")
    clock.stop()
    assert companion.call(1, timeout=timeout) == 1
    assert companion.call_raw(b"2", context(), timeout=timeout) == b"2"


@pytest.mark.parametrize(
    ("timeout", "error"),
    [(0, ValueError), (-1, ValueError), (float("nan"), ValueError), ("5", TypeError), (True, TypeError)],
)
def test_a_timeout_that_is_none_is_refused_before_anything_is_sent(
    start: Start, timeout: Any, error: type[Exception]
) -> None:
    companion = start("while True: answer([ask(), number])")
    for call in (lambda: companion.call(1, timeout=timeout), lambda: companion.call_raw(b"1", timeout=timeout)):
        with pytest.raises(error, match=f"timeout={timeout!r}: give a number of seconds"):
            call()
    assert companion.call(2) == [2, 0]


def test_after_a_timeout_the_next_call_has_another_process(start: Start) -> None:
    companion = start("if ask() == 'stop': signal.pause()\nanswer(os.getpid())\nwhile True: ask(); answer(os.getpid())")
    assert failure(lambda: companion.call("stop", timeout=0.01)).kind == "Silent"
    assert companion.call("go") == companion.call("go")


def test_a_late_answer_is_nobodys(start: Start, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = tmp_path / "late"
    end = Process.end

    def log(chunk: bytes) -> None:
        clock.offset += 100

    def answered_first(self: Process, grace: float = 0.0) -> None:
        if not late.exists():  # it is being ended for its silence: only now it answers
            late.touch()
            assert select.select([self._out], [], [], 60)[0]
        end(self, grace)

    monkeypatch.setattr(supervisor, "_to_log", log)
    monkeypatch.setattr(Process, "end", answered_first)
    wait = f"while not os.path.exists({str(late)!r}): time.sleep(0.001)"
    companion = start(f"while True:\n  if ask() == 'late':\n    log('.')\n    {wait}\n  answer(request['event'])")
    assert failure(lambda: companion.call("late", context())).error_type == "Companion.Silent"
    assert [companion.call(i, context()) for i in range(20)] == list(range(20))


def test_a_stopped_process_is_killed_at_the_deadline(start: Start) -> None:
    companion = start(PID)
    pid = companion.call(None)
    os.kill(pid, signal.SIGSTOP)
    caught = failure(lambda: companion.call("x" * (2 << 20), context(0.2)))
    assert caught.error_type == "Companion.Silent"
    assert "bytes of the request were still unread" in caught.message
    assert not alive(pid)
    assert companion.call(None, context()) != pid


def test_a_flood_on_stderr_does_not_hold_up_the_deadline(
    start: Start, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = []

    def log(chunk: bytes) -> None:
        chunks.append(chunk)
        clock.offset += 10  # six of them, and the time is up

    monkeypatch.setattr(supervisor, "_to_log", log)
    companion = start("ask()\nwhile True: log('x' * 100_000)")
    assert failure(lambda: companion.call(None, context(60))).error_type == "Companion.Silent"
    assert 6 <= len(chunks) < 20


def test_an_answer_without_end_does_not_take_the_memory(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
    companion = start("ask()\nwhile True: write(b'{' * 1_000_000)")
    caught = failure(lambda: companion.call(None, context()))
    assert caught.error_type == "Companion.BadAnswer"
    assert "wrote more than a quarter of the function's memory without a line end: '{{{{" in caught.message


def test_grandchildren_die_with_the_process(start: Start, logged: list[str]) -> None:
    companion = start(OBEY)
    companion.call("", context())
    leave_behind = "pid = os.fork()\nif pid == 0: signal.signal(15, signal.SIG_IGN); signal.pause()\nlog(str(pid))\n"
    failure(lambda: companion.call(leave_behind + "os._exit(0)", context()))
    _until_gone(int(logged[0]))
    companion.call(leave_behind, context())
    assert alive(int(logged[1]))
    companion.close()
    _until_gone(int(logged[1]))


def test_an_interrupted_call_leaves_no_answer_for_the_next(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def log(chunk: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(supervisor, "_to_log", log)
    companion = start("while True:\n  if ask() == 'wait': log('.')\n  answer(request['event'])")
    assert companion.call(1) == 1
    with pytest.raises(KeyboardInterrupt):
        companion.call("wait")
    monkeypatch.setattr(supervisor, "_to_log", lambda chunk: None)
    assert companion.call(2) == 2


def test_a_message_counts_the_answers(start: Start) -> None:
    companion = start(OBEY)
    for _ in range(2):
        companion.call("", context())
    assert failure(lambda: companion.call("os._exit(3)", context())).message.endswith("code 3, after 2 answers")
    companion.call("", context())
    assert failure(lambda: companion.call("os._exit(3)", context())).message.endswith("code 3, after 1 answer")


# --- again and again


def test_the_fourth_failure_in_a_row_ends_the_environment(start: Start, clock: Clock, logged: list[str]) -> None:
    companion = start(OBEY)
    for _ in range(3):
        assert not failure(lambda: companion.call("os._exit(1)", context())).fatal
    companion.call("", context())  # an answer, and the count begins anew
    for n in range(4):
        caught = failure(lambda: companion.call("os._exit(1)", context()))
        assert caught.fatal == (n == 3)
    assert caught.message.startswith("Failure 4 in a row, the environment ends: ")
    assert "exited with code 1" in caught.message


def test_the_pause_before_a_start_grows(start: Start, clock: Clock, logged: list[str]) -> None:
    companion = start(OBEY)
    clock.stop()
    pauses = []
    for passes in (0, 0, 0.05, 0.4):  # seconds until the next event comes
        clock.offset += passes
        failure(lambda: companion.call("os._exit(1)", context()))
        pauses.append(sum(clock.slept))
        clock.slept.clear()
    # None before the first failure nor after it; the rest as long as is left of it when the next event comes.
    assert pauses == [0, 0, pytest.approx(0.2), pytest.approx(0.6)]


def test_time_that_passes_before_the_next_event_is_no_pause(start: Start, clock: Clock, logged: list[str]) -> None:
    companion = start(OBEY)
    for _ in range(3):
        failure(lambda: companion.call("os._exit(1)", context()))
        clock.offset += 10
    companion.call("", context())
    assert clock.slept == []


def test_the_program_is_gone_when_it_is_to_be_started_again(tmp_path: Path) -> None:
    program = tmp_path / "main"
    program.write_text(f"#!{sys.executable} -S\n{PRELUDE}{OBEY}")
    program.chmod(0o755)
    with Companion([str(program)]) as companion:
        failure(lambda: companion.call("os._exit(1)", context()))
        program.chmod(0o644)
        caught = failure(lambda: companion.call("", context()))
        assert caught.error_type == "Companion.NotStarted"
        assert "is not executable" in caught.message
        program.chmod(0o755)
        assert companion.call("", context())


def test_where_the_fourth_failure_is_caught_the_pauses_go_on(start: Start, clock: Clock, logged: list[str]) -> None:
    companion = start(OBEY)
    clock.stop()
    pauses = []
    for n in range(1, 7):
        caught = failure(lambda: companion.call("os._exit(1)", context()))
        assert caught.fatal == (n >= 4)
        pauses.append(sum(clock.slept))
        clock.slept.clear()
    assert pauses == [0, 0, 0.25, 1, 1, 1]
    clock.stopped_at = None
    assert companion.call("", context())


def test_a_process_that_is_started_again_is_as_the_first_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    program = tmp_path / "main"
    obey = OBEY.replace("os.getpid()", "[os.getcwd(), sys.argv, os.environ.get('LATER'), os.getpgid(0) == os.getpid()]")
    program.write_text(f"#!{sys.executable} -S\n{PRELUDE}{obey}")
    program.chmod(0o755)
    (tmp_path / "later").mkdir()
    monkeypatch.delenv("LAMBDA_TASK_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    with Companion(["./main", "x"]) as companion:
        first = companion.call("", context())
        assert first[0] == str(tmp_path)
        monkeypatch.setenv("LATER", "1")
        monkeypatch.setenv("LAMBDA_TASK_ROOT", "/")
        monkeypatch.chdir("later")
        failure(lambda: companion.call("os._exit(1)", context()))
        again = companion.call("", context())
        assert "exited with code 3" in failure(lambda: companion.call("os._exit(3)", context())).message
    assert again == [first[0], [str(program), "x"], None, True]


def test_the_folder_of_the_first_start_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "first").mkdir()
    monkeypatch.chdir(tmp_path / "first")
    with Companion([sys.executable, "-S", "-c", PRELUDE + OBEY]) as companion:
        companion.call("")
        os.chdir("/")
        (tmp_path / "first").rmdir()
        failure(lambda: companion.call("os._exit(1)", context()))
        caught = failure(lambda: companion.call("", context()))
        assert caught.error_type == "Companion.NotStarted"
        assert caught.message.endswith("/first, the folder it was first started in, no longer exists")


@pytest.mark.parametrize("reap", [signal.SIG_IGN, lambda *_: os.waitpid(-1, 0)])
def test_an_exit_code_that_nobody_knows_is_not_told(start: Start, reap: Any) -> None:
    companion = start(OBEY)
    companion.call("", context())
    before = signal.signal(signal.SIGCHLD, reap)
    try:
        message = failure(lambda: companion.call("os._exit(3)", context())).message
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert (
        " ended; its exit code is not known: this process ignores SIGCHLD, or other code waited for the child"
        in message
    )
    assert companion.call("", context())


def test_nothing_is_left_of_processes_that_failed(start: Start, clock: Clock, logged: list[str]) -> None:
    others = children()
    companion = start(OBEY)
    companion.call("", context())
    assert children() > others
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        failure(lambda: companion.call("os._exit(1)", context()))
        companion.call("", context())
    assert len(os.listdir("/proc/self/fd")) == before
    companion.close()
    assert children() <= others


def children() -> set[str]:
    """Return the processes whose parent is this one, including those that were not waited for."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(stat.parent.name)
    return found


def test_where_the_kernel_has_no_pidfd_the_closed_output_tells(
    start: Start, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    def missing(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("posix.pidfd_open", missing)
    companion = start(OBEY)
    assert "exited with code 3" in failure(lambda: companion.call("os._exit(3)", context())).message
    assert companion.call("", context())


# --- the end


def test_sigterm_first_so_that_the_program_can_say_good_bye(
    start: Start, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_GRACE", 60.0)
    companion = start("signal.signal(15, lambda *_: (log('bye'), os._exit(0)))\n" + PID)
    pid = companion.call(None)
    companion.close()
    assert logged == ["bye"]
    assert not alive(pid)
    companion.close()
    assert failure(lambda: companion.call(None)).message.endswith("has been closed")


def test_closed_in_a_call_by_the_handler_of_a_signal_it_says_good_bye_too(
    start: Start, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_GRACE", 60.0)
    companion = start(
        "signal.signal(15, lambda *_: (log('bye'), os._exit(0)))\nask()\n"
        f"os.kill({os.getpid()}, signal.SIGUSR1)\nsignal.pause()"
    )
    before = signal.signal(signal.SIGUSR1, lambda *_: companion.close())
    try:
        caught = failure(lambda: companion.call(None))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert caught.error_type == "Companion.Ended"
    assert "was closed during this call, by a signal handler" in caught.message
    assert logged == ["bye"]


def test_a_fork_must_start_its_own(start: Start) -> None:
    companion = start("while True: answer(ask())")
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            companion.call("child")
        except CompanionError as fault:
            os.write(write, f"{fault.error_type}: {fault.message}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as told:
        assert "belongs to the parent process; create a new Companion after fork()" in told.read()
    os.waitpid(child, 0)
    assert companion.call("parent") == "parent"


def test_a_fork_has_a_companion_of_its_own(program: Callable[[str], list[str]]) -> None:
    args = program("while True: answer([ask(), os.getppid()])")
    read, write = os.pipe()
    with Companion(args) as companion:
        child = os.fork()
        if not child:
            try:
                with Companion(args) as own:
                    os.write(write, repr(own.call("child") == ["child", os.getpid()]).encode())
                companion.close()  # which is its parent's
            finally:
                os._exit(0)
        os.close(write)
        with open(read) as told:
            assert told.read() == "True"
        os.waitpid(child, 0)
        assert companion.call("parent") == ["parent", os.getpid()]


def test_a_log_that_was_made_non_blocking_is_whole(program: Callable[[str], list[str]]) -> None:
    args = program("ask()\nlog(('x' * 9_999 + '\\n') * 100)\nanswer(1)\nask()")
    source = f"import os\nfrom samovar import Companion\nos.set_blocking(2, False)\nCompanion({args!r}).call(None)"
    ended = subprocess.run([sys.executable, "-c", source], stderr=subprocess.PIPE, check=True)
    assert ended.stderr == (b"x" * 9_999 + b"\n") * 100 + b"\n"


def test_sigkill_for_a_program_that_ignores_sigterm_and_the_end_of_its_input(start: Start) -> None:
    companion = start("signal.signal(15, signal.SIG_IGN)\nask()\nanswer(os.getpid())\nwhile True: signal.pause()")
    pid = companion.call(None)
    companion.close()
    assert not alive(pid)


def test_an_interpreter_that_ends_takes_its_companions_along(program: Callable[[str], list[str]]) -> None:
    ignores = program("signal.signal(15, signal.SIG_IGN)\nask()\nanswer(os.getpid())\nwhile True: signal.pause()")
    source = f"import samovar; print(samovar.Companion({ignores!r}).call(None))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True)
    assert not alive(int(done.stdout))


def test_a_companion_that_is_closed_or_forgotten_leaves_no_hook(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "running", True)
    monkeypatch.setattr(environment, "shutdown_hooks", [])
    monkeypatch.setattr("samovar.hooks._watch_sigterm", lambda: None)
    others = children()
    companion = Companion(program(PID))
    companion.close()
    failure(lambda: Companion(program("sys.exit(1)")))
    assert environment.shutdown_hooks == []
    companion = Companion(program(PID))
    assert len(environment.shutdown_hooks) == 1
    del companion
    gc.collect()
    assert environment.shutdown_hooks == []
    assert children() <= others


def test_a_function_that_closes_every_descriptor_has_a_companion_all_the_same(start: Start) -> None:
    companion = start(PID)
    first = companion.call(None, context())
    before = len(os.listdir("/proc/self/fd"))
    for fd in companion._workers[0]._process._fds:  # type: ignore[union-attr]
        os.close(fd)
    caught = failure(lambda: companion.call(None, context()))
    assert caught.error_type == "Companion.Ended"
    assert caught.message.endswith("was cut off: the function closed the file descriptors of its pipes")
    assert companion.call(None, context()) != first
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_timeout_that_a_signals_handler_raises_is_passed_on(start: Start) -> None:
    def late(*_: object) -> None:
        raise TimeoutError("late")

    companion = start(f"while True:\n  if ask(): os.kill({os.getpid()}, signal.SIGALRM)\n  else: answer(os.getpid())")
    before = signal.signal(signal.SIGALRM, late)
    try:
        with pytest.raises(TimeoutError, match="late"):
            companion.call(1)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert companion.call(0, context())


@pytest.mark.parametrize("call", ["", ".call(1)"])
def test_sigterm_during_a_start_or_a_call_leaves_no_process(program: Any, call: str) -> None:
    told = "signal.signal(15, signal.SIG_IGN); log(str(os.getpid())); signal.pause()"
    args = program(f"ask(); {told}" if call else told)
    source = (
        f"from samovar import Companion, environment\nenvironment.environment.running = True\nCompanion({args!r}){call}"
    )
    with subprocess.Popen([sys.executable, "-c", source], stderr=subprocess.PIPE) as runtime:
        assert runtime.stderr
        pid = int(runtime.stderr.readline())
        runtime.send_signal(signal.SIGTERM)
        assert runtime.wait() == -signal.SIGTERM
    _until_gone(pid)


# --- workers


def test_each_worker_has_one_request_at_a_time(start: Start) -> None:
    companion = start("while True:\n  event = ask()\n  time.sleep(0.001)\n  answer([event, os.getpid()])", workers=3)
    answers: list[Any] = []

    def ask(thread: int) -> None:
        for i in range(25):
            answers.append((companion.call([thread, i], context()), [thread, i]))

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 200
    assert all(answer[0] == event for answer, event in answers)
    assert len({answer[1] for answer, _ in answers}) == 3


def test_no_free_worker_until_the_deadline(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_GRACE", 60.0)  # or SIGKILL may come before it has had time to end by SIGTERM
    asked = threading.Event()
    monkeypatch.setattr(supervisor, "_to_log", lambda chunk: asked.set())
    companion = start("ask()\nlog('asked')\nanswer(sys.stdin.buffer.readline().decode())")
    first: list[CompanionError] = []
    thread = threading.Thread(target=lambda: first.append(failure(lambda: companion.call(1))))
    thread.start()
    assert asked.wait(60)
    caught = failure(lambda: companion.call(2, context(0.2)))
    assert caught.kind == "Busy"
    assert caught.message.startswith("the only worker of ")
    assert caught.message.endswith(" was busy, and did not become free before this invocation's deadline")
    told = failure(lambda: companion.call(2, context(), timeout=0.01)).message
    assert told.endswith(" was busy, and did not become free within 0.01 s")
    companion.close()  # and the call in flight learns that its process has gone
    thread.join()
    assert first[0].error_type == "Companion.Ended"
    assert "SIGTERM" in first[0].message


def test_several_workers_are_counted_in_the_message(start: Start) -> None:
    companion = start(PID, workers=2)
    held = [companion._free.get() for _ in range(2)]  # as calls in other threads have them
    told = failure(lambda: companion.call(1, context(0.01))).message
    assert told.startswith("all 2 workers of ")
    assert told.endswith(" were busy, and none became free before this invocation's deadline")
    companion._give_back(held)
    assert companion.call(1, context())


def test_a_call_that_waits_for_a_worker_learns_that_the_companion_is_closed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    monkeypatch.setattr(supervisor, "_to_log", lambda chunk: asked.set())
    companion = start("ask()\nlog('asked')\nsignal.pause()")
    told: list[CompanionError] = []
    threads = [threading.Thread(target=lambda: told.append(failure(lambda: companion.call(1)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert asked.wait(60)
    companion.close()
    for thread in threads:
        thread.join()
    assert len(told) == 4


def test_after_a_failure_the_next_program_reads_before_the_next_event(
    start: Start, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setattr(environment, "running", True)
    monkeypatch.setattr(environment, "shutdown_hooks", [])
    monkeypatch.setattr("samovar.hooks._watch_sigterm", lambda: None)
    companion = start("log('starting'); time.sleep(0.1); log('started')\n" + OBEY, workers=2)
    first = {companion.call("", context()) for _ in range(4)}
    assert len(first) == 2
    failure(lambda: companion.call("os._exit(1)", context()))
    logged.clear()
    hooks.run_deferred()
    assert logged == ["starting", "started"]
    again = {companion.call("", context()) for _ in range(4)}
    assert len(again) == 2
    assert len(first & again) == 1
    assert logged == ["starting", "started"]


def test_a_worker_in_a_call_is_not_started_from_elsewhere(
    start: Start, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    companion = start(OBEY)
    worker = companion._free.get()  # as a call in another thread has it
    worker.end()
    companion._replace()
    assert worker._process is None
    companion._give_back([worker])
    companion._replace()
    assert worker._process is not None


def test_when_one_worker_cannot_start_none_is_left(monkeypatch: pytest.MonkeyPatch, program: Any) -> None:
    started: list[int] = []

    class Recorded(Process):
        def start(self) -> None:
            if len(started) == 2:
                raise ProcessFailed("NotStarted", "the third cannot be started")
            super().start()
            started.append(self.pid)

    monkeypatch.setattr(supervisor, "Process", Recorded)
    assert failure(lambda: Companion(program(PID), workers=3)).error_type == "Companion.NotStarted"
    assert [alive(pid) for pid in started] == [False, False]


def _until_gone(pid: int) -> None:
    """Wait for a grandchild's end, which another process collects."""
    while alive(pid):
        pass


# --- what a program finds, and how it ends


def test_the_program_dies_of_signals_that_python_ignores() -> None:
    answer = r'echo "{\"proc_req_id\": 0, \"data\": \"$value\"}"'
    source = (
        f"read line; while read name value; do [ $name != SigIgn: ] || {answer}; done < /proc/self/status; read line"
    )
    with Companion(["/bin/sh", "-c", source]) as companion:
        ignored = int(companion.call(None, context()), 16)
    assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)


def test_a_folder_and_a_plain_file_on_path_are_no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("folder", "plain", "right"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "program").mkdir()
    (tmp_path / "plain" / "program").write_text("no program")
    program = tmp_path / "right" / "program"
    program.write_text("""#!/bin/sh\nread line; echo '{"proc_req_id": 0, "data": "right"}'; read line\n""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / name) for name in ("folder", "plain", "right")))
    with Companion(["program"]) as companion:
        assert companion.call(None, context()) == "right"


def test_a_function_that_ignores_sigchld_can_end_its_companion(start: Start, logged: list[str]) -> None:
    companion = start(OBEY)
    pid = companion.call("", context())
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        failure(lambda: companion.call("os._exit(3)", context()))
        assert companion.call("", context()) != pid
        companion.close()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_program_that_closes_its_output_on_its_way_out_has_exited(start: Start, clock: Clock) -> None:
    companion = start(OBEY)
    clock.stop()  # as much time as it takes
    caught = failure(lambda: companion.call("os.close(1); time.sleep(0.1); os._exit(3)", context()))
    assert "exited with code 3" in caught.message


def test_what_came_behind_an_answer_is_shown_also_when_the_program_has_ended(
    start: Start, logged: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    companion = start("ask()\nanswer(os.getpid(), b'\\nleft over')\nos._exit(0)")
    _until_gone(companion.call(None))
    companion.call(None)
    log = capfd.readouterr().out
    assert "wrote to standard output after answer 0, before the next request: 'left over'" in log


@pytest.mark.parametrize(
    ("size", "shown"), [(200, "'{}'. "), (201, "'{}'… (201 bytes). "), (5000, "… (5,000 bytes). ")]
)
def test_200_bytes_are_shown_of_what_is_no_answer(start: Start, size: int, shown: str) -> None:
    companion = start(f"ask()\nwrite(b'x' * {size})\nask()")
    caught = failure(lambda: companion.call(None))
    assert shown.format("x" * 200) in caught.message
    assert "x" * 201 not in caught.message
