"""What the loop makes of a failure, whatever the function has done to the interpreter, and what of an invocation it
keeps.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.harness import OURS, Event, Outcome, Run, execute
from tests.contract.table import app

WRECK = "sys.path.clear(); sys.meta_path.clear(); sys.modules.clear()"


def failed(outcome: Outcome) -> dict[str, Any]:
    """The error JSON of the one failure, which the log must have too."""
    (request,) = outcome.requests
    assert request.call.endswith("/error")
    error: dict[str, Any] = json.loads(request.body)
    assert f"[ERROR] {error['errorType']}" in outcome.stdout.decode()
    return error


@pytest.mark.parametrize(
    ("wreck", "frames"),
    [
        ("sys.path[:] = ['/tmp/deps']", 1),
        ("sys.path = None", 1),
        ("sys.meta_path.clear()", 0),
        ("builtins.__import__ = None", 0),
        ("builtins.open = None", 1),
        ("import _io; _io.open_code = None", 0),
        (WRECK, 0),
    ],
)
def test_a_failure_is_posted_whatever_became_of_the_interpreter(wreck: str, frames: int) -> None:
    source = app(f"""
        import builtins, sys

        def handler(event, context):
            if event == "wreck":
                {wreck}
            elif event == "fail":
                raise ValueError("why")
            return event
    """)
    _, _, *failures, after = execute(
        Run(source, (Event(b'"wreck"'), Event(b'"fail"'), Event(b'"fail"'), Event(b'"after"'))), OURS
    )
    for outcome in failures:
        error = failed(outcome)
        assert (error["errorType"], error["errorMessage"]) == ("ValueError", "why")
        assert len(error["stackTrace"]) == frames
    assert after.value == "after"


def test_a_failure_of_init_is_posted_whatever_became_of_the_interpreter() -> None:
    (outcome,) = execute(Run(app(f"import sys\n{WRECK}\nraise ValueError('why')\n")), OURS)
    error = failed(outcome)
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "why")
    assert outcome.exit == 1


def test_deferred_work_fails_in_a_wrecked_interpreter() -> None:
    source = app("""
        import sys, samovar

        def fail():
            raise ValueError("why")

        def handler(event, context):
            samovar.defer(fail)
            sys.path.clear()
            sys.meta_path.clear()
            return event
    """)
    _, first, second = execute(Run(source, (Event(b"1"), Event(b"2"))), OURS)
    assert (first.value, second.value) == (1, 2)
    assert b"[ERROR] ValueError: Deferred fail failed: why" in first.stdout


@pytest.mark.parametrize("piece", ["bytearray(100_000)", "bytearray(1000)", "[]"])
def test_no_memory_is_left_in_init(piece: str) -> None:
    source = app(f"""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (100 << 20, 100 << 20))
        held = []
        while True:
            held.append({piece})
    """)
    (outcome,) = execute(Run(source), OURS)
    assert failed(outcome)["errorType"] == "MemoryError"
    assert outcome.exit == 1


@pytest.mark.parametrize("piece", ["bytearray(100_000)", "bytearray(1000)", "[]"])
def test_no_memory_is_left_in_an_invocation(piece: str) -> None:
    source = app(f"""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (100 << 20, 100 << 20))
        held = []

        def handler(event, context):
            if event == "free":
                held.clear()
                return "freed"
            while True:
                held.append({piece})
    """)
    _, *failures, free = execute(Run(source, (*[Event(b'"hold"')] * 3, Event(b'"free"'))), OURS)
    assert [failed(outcome)["errorType"] for outcome in failures] == ["MemoryError"] * 3
    assert free.value == "freed"


def test_descriptors_are_used_up_again_and_again() -> None:
    source = app("""
        import resource, sys
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []

        def handler(event, context):
            for name in ("samovar.fault", "linecache"):  # so that each report has to read a file
                sys.modules.pop(name, None)
            vars(sys.modules["samovar"]).pop("fault", None)
            while True:
                held.append(open("/dev/null"))
    """)
    _, *failures = execute(Run(source, (Event(),) * 4), OURS)
    for outcome in failures:
        error = failed(outcome)
        assert error["errorType"] == "OSError"
        assert len(error["stackTrace"]) == 1


@pytest.mark.parametrize("name", ["traceback", "types", "linecache", "signal"])
def test_a_module_of_the_functions_own_is_not_the_runtimes(name: str) -> None:
    files = {
        "app.py": f"import {name}\n\ndef handler(event, context):\n    raise ValueError({name}.MINE)\n",
        f"{name}.py": "MINE = 'mine'\n",
    }
    _, *failures = execute(Run(files, (Event(), Event())), OURS)
    for outcome in failures:
        error = failed(outcome)
        assert (error["errorType"], error["errorMessage"]) == ("ValueError", "mine")
        assert '/app.py", line 4, in handler' in error["stackTrace"][0]


@pytest.mark.parametrize(
    ("how", "gone"),
    [
        ("return 1", {"event", "context", "frame", "headers"}),
        ("return [Held('result')]", {"event", "context", "frame", "headers", "result"}),
        ("raise Failure()", {"event", "context", "frame", "headers", "exception"}),
        ("raise Failure() from Failure()", {"event", "context", "frame", "headers", "exception"}),
        ("raise asyncio.CancelledError", {"event", "context", "frame", "headers"}),
        ("return wait(event)", {"event", "context", "frame", "headers", "coroutine"}),
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
            caller["headers"]["held"] = Held("headers")
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
        waiting = threading.Event()

        def late():
            waiting.wait()
            while samovar.context.current() is not None:
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
