"""What the loop does with invocations and keeps of them; tests/contract compares it with the official client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from samovar import loop
from samovar.invocation import Invocation
from samovar.local.testing.scripted_api import Answer, ScriptedRuntimeApi
from samovar.local.testing.scripted_api import invocation as event
from samovar.runtime_api import ApiError, RuntimeClient
from tests import invocations
from tests.contract.harness import OURS, Event, Run, execute, failed
from tests.contract.table import app

RESPONSE = "POST /2018-06-01/runtime/invocation/ID/response"
ERROR = "POST /2018-06-01/runtime/invocation/ID/error"
END = Answer(status=500)  # to /next: the environment ends


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "")  # put back afterwards
    yield
    invocations.forget()


def echo(invocation: Invocation) -> bytes:
    event = bytes(invocation.take_event())
    if event == b"null":
        raise ValueError("no event")
    return event


def test_every_event_gets_a_response_or_an_error(in_process: None, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedRuntimeApi(event(b"1", "first"), event(b"null", "second"), event(b"3", "third"), END) as api:
        with pytest.raises(ApiError, match="status 500"):
            loop.serve(RuntimeClient(api.address), echo)
        assert [(request.call, request.path.split("/")[4]) for request in api.posted()] == [
            (RESPONSE, "first"),
            (ERROR, "second"),
            (RESPONSE, "third"),
        ]
        assert [request.body for request in api.posted()][::2] == [b"1", b"3"]
    assert "[ERROR] ValueError: no event" in capsys.readouterr().out


@pytest.mark.parametrize(("call", "event_body", "kind"), [(RESPONSE, b"1", "response"), (ERROR, b"null", "error")])
def test_what_is_refused_is_logged_and_the_environment_goes_on(
    in_process: None, capsys: pytest.CaptureFixture[str], call: str, event_body: bytes, kind: str
) -> None:
    with ScriptedRuntimeApi(event(event_body, "first"), event(b"2", "second"), END) as api:
        api.override(call, Answer(b"no", 403))
        with pytest.raises(ApiError, match="status 500"):
            loop.serve(RuntimeClient(api.address), echo)
        assert api.posted()[-1].body == b"2"
    said = capsys.readouterr().out
    assert f"The {kind} of this invocation was not acknowledged: POST " in said
    assert "status 403" in said


@pytest.mark.parametrize(
    ("how", "gone"),
    [
        ("return 1", {"event", "context", "frame", "invocation"}),
        ("return [Held('result')]", {"event", "context", "frame", "invocation", "result"}),
        ("raise Failure()", {"event", "context", "frame", "invocation", "exception"}),
        ("raise Failure() from Failure()", {"event", "context", "frame", "invocation", "exception"}),
        ("raise asyncio.CancelledError", {"event", "context", "frame", "invocation"}),
        ("return wait(event)", {"event", "context", "frame", "invocation", "coroutine"}),
    ],
)
def test_nothing_of_an_invocation_is_kept_while_the_next_is_awaited(how: str, gone: set[str]) -> None:
    """What each `__del__` prints is in the outcome of its own invocation, as that ends when /next is asked."""
    source = app(f"""
        import asyncio, gc, sys, samovar
        gc.disable()

        class Held:
            def __init__(self, name):
                self.name = name
            def __del__(self):
                print("gone", self.name)

        class Failure(Exception):
            def __init__(self):
                self.held = Held("exception")

        async def wait(event):
            held = Held("coroutine")
            await asyncio.sleep(0)
            raise ValueError(event)

        def handler(event, context):
            held = Held("frame")
            event["held"] = Held("event")
            context.held = Held("context")
            caller = sys._getframe(1).f_locals
            caller["invocation"].identity = Held("invocation")
            if type(caller) is dict:  # before Python 3.13 it is a copy, which the frame keeps
                caller.clear()
            samovar.defer(print, "deferred for", context.aws_request_id)
            {how}
    """)
    _, *handled = execute(Run(source, (Event(),) * 3), OURS)
    for outcome in handled:
        assert {line[5:] for line in outcome.stdout.decode().splitlines() if line.startswith("gone")} == gone
        assert b"deferred for " in outcome.stdout


def test_a_thread_between_two_invocations_logs_with_the_id_of_the_last() -> None:
    source = app("""
        import logging, threading, samovar
        from samovar.environment import environment
        waiting = threading.Event()

        def late():
            first = environment.invocation
            waiting.wait()
            while environment.invocation is first:
                pass
            logging.error("late")

        def handler(event, context):
            if event == 1:
                threading.Thread(target=late).start()
                samovar.defer(waiting.set)
                return
            for thread in threading.enumerate():
                if thread is not threading.current_thread():
                    thread.join()
    """)
    _, *handled = execute(Run(source, (Event(b"1", "first"), Event(b"2", "second"))), OURS)
    log = b"".join(outcome.stdout for outcome in handled)
    assert b"\tfirst\tlate" in log or b"\tsecond\tlate" in log


def test_what_raises_out_of_the_event_loop_ends_the_tasks_of_its_event_only() -> None:
    source = app("""
        import asyncio, signal
        kept, said = [], []

        def over(*args):
            raise TimeoutError("over")

        async def beside(name):
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                print(name, "ended")

        async def handler(event, context):
            if event == "keep":
                kept.append(asyncio.create_task(beside("kept")))
            elif event == "fail":
                asyncio.create_task(beside("named"), name="mine")
                asyncio.create_task(beside("other"))
                signal.signal(signal.SIGALRM, over)
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                try:
                    await asyncio.sleep(60)
                finally:
                    print("handler ended")
            else:
                return [kept[0].done(), len(asyncio.all_tasks())]
    """)
    _, _, fail, after = execute(Run(source, (Event(b'"keep"'), Event(b'"fail"'), Event(b'"after"'))), OURS)
    assert failed(fail)["errorType"] == "TimeoutError"
    log = fail.stdout.decode()
    ended = log.partition("[ERROR]")[0].splitlines()
    assert sorted(ended) == ["handler ended", "named ended", "other ended"]
    assert after.value == [False, 2]
