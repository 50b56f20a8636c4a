"""The helper for programs in Python, and what a companion's log looks like."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import samovar
from samovar.companion import Companion, CompanionError
from samovar.environment import environment
from tests.companion.conftest import context

Serve = Callable[[str], Companion]

CANCELLED = """
    import asyncio
    async def run(): asyncio.current_task().cancel(); await asyncio.sleep(0)
    return run()"""


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts a companion whose handler(event, context) has that body."""
    companions: list[Companion] = []

    def start(body: str) -> Companion:
        source = (
            f"import os, sys\ndef handler(event, context):\n    {body}\nimport samovar.companion as c\nc.serve(handler)"
        )
        companions.append(Companion([sys.executable, "-S", "-c", source]))
        return companions[-1]

    yield start
    for companion in companions:
        companion.close()


def test_what_is_printed_goes_to_the_log(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    companion = serve("print('one'); os.write(1, b'two\\n'); os.system('echo three'); return event")
    assert [companion.call(i) for i in range(3)] == [0, 1, 2]
    assert capfd.readouterr().err == "one\ntwo\nthree\n" * 3


def test_a_handler_cannot_take_the_next_request_from_the_input(serve: Serve) -> None:
    companion = serve("return [sys.stdin.read(), os.read(0, 100).decode(), event]")
    assert [companion.call(i) for i in range(2)] == [["", "", 0], ["", "", 1]]


@pytest.mark.parametrize(
    ("body", "error_type", "message"),
    [
        ("raise ValueError('no ' + event)", "ValueError", "no luck"),
        ("raise KeyError(event)", "KeyError", "'luck'"),
        ("a, b = 1, 0\n    return a / b", "ZeroDivisionError", "division by zero"),
        ("class Own(Exception): pass\n    raise Own('a: b\\nc')", "Own", "a: b\nc"),
        (
            "class Own(Exception):\n        def __str__(self): return 1 / 0\n    raise Own",
            "Own",
            "<Own: its __str__ raised ZeroDivisionError>",
        ),
    ],
)
def test_what_a_handler_raises_is_the_invocations_error(
    serve: Serve, capfd: pytest.CaptureFixture[str], body: str, error_type: str, message: str
) -> None:
    companion = serve(body)
    for _ in range(2):
        with pytest.raises(CompanionError) as caught:
            companion.call("luck")
        assert (caught.value.error_type, caught.value.message) == (error_type, message)
    log = capfd.readouterr().err
    assert log.count("Traceback (most recent call last):") == 2
    assert "samovar" not in log


def test_what_a_coroutine_raises_is_shown_from_its_own_frame_on(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    companion = serve("async def run(): raise ValueError('no ' + event)\n    return run()")
    with pytest.raises(CompanionError) as caught:
        companion.call("luck")
    assert (caught.value.error_type, caught.value.message) == ("ValueError", "no luck")
    log = capfd.readouterr().err
    assert log.count("Traceback (most recent call last):") == 1
    assert "samovar" not in log
    assert "run_until_complete" not in log


@pytest.mark.parametrize("body", ["import asyncio; raise asyncio.CancelledError", CANCELLED])
def test_a_cancellation_is_the_invocations_error(serve: Serve, body: str) -> None:
    companion = serve(f"{body}\n    return event")
    for _ in range(5):  # more often than a process may fail
        with pytest.raises(CompanionError) as caught:
            companion.call(1)
        assert caught.value.error_type == "CancelledError"


def test_a_coroutine_function_is_run_on_one_event_loop(serve: Serve) -> None:
    companion = serve(
        "import asyncio\n"
        "    async def run():\n"
        "        await asyncio.sleep(0)\n"
        "        return [event, context.function_name, id(asyncio.get_running_loop())]\n"
        "    return run()"
    )
    answers = [companion.call(i, context()) for i in range(3)]
    assert [answer[:2] for answer in answers] == [[i, "hello"] for i in range(3)]
    assert len({answer[2] for answer in answers}) == 1


@pytest.mark.parametrize(
    "leave", ["return 'child'", "raise ValueError('child')", "return object()", "raise KeyboardInterrupt", "sys.exit()"]
)
def test_a_process_that_the_handler_has_forked_answers_nothing(serve: Serve, leave: str) -> None:
    companion = serve(
        "child = os.fork()\n"
        "    if not child:\n"
        f"        {leave}\n"
        "    return [event, os.getpid(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]"
    )
    answers = [companion.call(i, context()) for i in range(3)]
    assert [answer[0] for answer in answers] == [0, 1, 2]
    assert len({answer[1] for answer in answers}) == 1
    assert {answer[2] != 0 for answer in answers} == {leave != "sys.exit()"}


def test_nor_does_one_that_outlives_the_call(serve: Serve) -> None:
    companion = serve("import time; child = os.fork(); child or time.sleep(0.001); return [event, os.getpid(), child]")
    answers = [companion.call(i, context()) for i in range(50)]
    assert [answer[0] for answer in answers] == list(range(50))
    assert len({answer[1] for answer in answers}) == 1
    assert all(answer[2] for answer in answers)


def test_nor_a_process_of_multiprocessing(serve: Serve) -> None:
    companion = serve(
        "import multiprocessing\n"
        "    with multiprocessing.get_context('fork').Pool(1) as pool: return pool.map(abs, [event])"
    )
    assert [companion.call(-i, context()) for i in range(2)] == [[0], [1]]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_nan_is_no_result(serve: Serve, value: str) -> None:
    companion = serve("return float(event) if event else 1")
    with pytest.raises(CompanionError) as caught:
        companion.call(value, context())
    assert caught.value.error_type == "Runtime.MarshalError"
    assert companion.call("", context()) == 1


def test_a_result_that_is_no_json_is_the_invocations_error(serve: Serve) -> None:
    companion = serve("return object() if event else event")
    with pytest.raises(CompanionError) as caught:
        companion.call(1)
    assert caught.value.error_type == "Runtime.MarshalError"
    assert caught.value.message.startswith("Unable to marshal response: ")
    assert companion.call(0) == 0


def test_sys_exit_ends_the_process_and_the_next_event_has_another(serve: Serve) -> None:
    companion = serve("if event == 'exit': sys.exit(7)\n    return event")
    with pytest.raises(CompanionError, match="exited with code 7"):
        companion.call("exit", context())
    assert companion.call(1, context()) == 1


def test_the_context_is_a_lambda_context(serve: Serve) -> None:
    companion = serve(
        "return [context.aws_request_id, context.function_name, context.function_version, context.log_group_name,"
        " context.log_stream_name, context.memory_limit_in_mb, context.invoked_function_arn, context.tenant_id,"
        " context.client_context, context.get_remaining_time_in_millis()]"
    )
    given = context()
    *told, left = companion.call(None, given)
    assert told == [
        given.aws_request_id,
        given.function_name,
        given.function_version,
        given.log_group_name,
        given.log_stream_name,
        given.memory_limit_in_mb,
        given.invoked_function_arn,
        given.tenant_id,
        None,
    ]
    assert given.get_remaining_time_in_millis() <= left <= 60_000


def test_in_json_mode_each_line_is_a_record_with_the_request_id(
    serve: Serve, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_LOG_FORMAT", "JSON")
    monkeypatch.setattr(environment, "log_ids", (context().aws_request_id, None))
    companion = serve("os.write(2, b'be'); os.write(2, b'gin\\r\\nend \\xff\\n\\nrest'); return event")
    companion.call(1)
    first = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    companion.close()
    rest = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [record["message"] for record in first + rest] == ["begin", "end \\xff", "", "rest"]
    assert {record["requestId"] for record in first + rest} == {context().aws_request_id}
    assert {record["level"] for record in first + rest} == {"INFO"}


def test_text_goes_to_standard_error_in_whole_lines(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    companion = serve("os.write(2, b'a line of ' if event else b'two calls\\n'); return event")
    companion.call(1)
    assert capfd.readouterr().err == ""
    companion.call(0)
    assert capfd.readouterr().err == "a line of two calls\n"


def test_a_line_of_log_without_end_is_not_kept_for_ever(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    companion = serve("os.write(2, b'x' * 400_000); return event")
    companion.call(1)
    assert 1 << 18 < len(capfd.readouterr().err) <= 400_001


def test_the_input_ends_and_so_does_the_program() -> None:
    source = "import samovar.companion; samovar.companion.serve(lambda event, context: event)"
    request = b'{"event":[1],"context":{"awsRequestId":"","functionName":"","functionVersion":"","logGroupName":"",'
    request += b'"logStreamName":"","memoryLimitInMB":""}}\n'
    done = subprocess.run(
        [sys.executable, "-c", source],
        input=b"\n" + request + b" \r\n\n" + request,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [b'{"proc_req_id":%d,"error":null,"data":[1]}' % i for i in range(2)]
    assert done.stderr == b""


def test_a_line_that_is_not_a_request_is_answered_as_that() -> None:
    source = "import samovar.companion; samovar.companion.serve(lambda event, context: event)"
    done = subprocess.run(
        [sys.executable, "-c", source], input=b'{"event":1}\n{"event":\n', capture_output=True, timeout=60, check=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["proc_req_id"] for answer in answers] == [0, 1]
    for answer in answers:
        assert answer["error"].startswith("Runtime.UnmarshalError: Unable to unmarshal input: ")


@pytest.mark.parametrize(
    ("name", "unwanted"),
    [
        ("Companion", ["subprocess", "threading", "signal", "selectors", "shlex", "json", "logging", "re", "os"]),
        (
            "serve",
            ["samovar.companion.supervisor", "samovar.companion.process", "samovar.hooks", "select", "json", "os"],
        ),
    ],
)
def test_what_is_not_imported(name: str, unwanted: list[str]) -> None:
    source = f"import sys, samovar.companion; samovar.companion.{name}; print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(Path(samovar.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-S", "-c", source], env=env, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "samovar.codec" in loaded
    assert [module for module in unwanted if module in loaded] == []
