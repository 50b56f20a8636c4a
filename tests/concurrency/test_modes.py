"""What docs/concurrency.md says of the modes, and nothing else tests."""

from __future__ import annotations

import signal
import sys
import textwrap
from pathlib import Path

import pytest

from samovar.concurrency import settings
from samovar.local.testing.scripted_api import RUNTIME, TRACE_ID, Answer
from tests.concurrency.pool import APP, pool
from tests.concurrency.serving import event, serving

MODES = pytest.mark.parametrize("mode", ["process", "thread", "hybrid"])
SHARED = pytest.mark.parametrize("mode", ["thread", "hybrid"])  # memory, that is
RESPONSE, ERROR = "invocation/ID/response", "invocation/ID/error"


def script(source: str) -> str:
    return textwrap.dedent(source)


# --- what runs


def test_thread_mode_is_one_process_one_init_and_n_threads(tmp_path: Path) -> None:
    source = script("""
        import os, threading
        all_here = threading.Barrier(4)
        print("INIT")

        def handler(event, context):
            all_here.wait(20)
            return [os.getpid(), threading.current_thread().name]
    """)
    with pool(tmp_path, source, mode="thread", count=4) as started:
        answers = started.invoke(*[{}] * 4)
        assert sorted(answers) == [[started.pid, f"samovar-{number}"] for number in range(4)]
        assert started.members() == [started.pid]
        assert started.log == "INIT\n"


@pytest.mark.parametrize("mode", ["process", "hybrid"])
def test_an_asgi_application_has_one_process_in_every_mode(tmp_path: Path, mode: str) -> None:
    with pool(tmp_path, "async def app(scope, receive, send): pass\n", mode=mode, handler="asgi:app:app") as started:
        started.wait_for_polls(3)
        assert started.members() == [started.pid]


@MODES
def test_exec_has_a_process_of_the_program_for_each_invocation(tmp_path: Path, mode: str) -> None:
    program = script("""
        import json, os, sys

        for number, line in enumerate(sys.stdin):
            open(str(os.getpid()), "w").close()
            while len([name for name in os.listdir() if name.isdecimal()]) < 3:
                pass
            print(json.dumps({"proc_req_id": number, "error": None, "data": os.getpid()}), flush=True)
    """)
    with pool(tmp_path, program, mode=mode, handler=f"exec:{sys.executable} app.py") as started:
        assert len(set(started.invoke({}, {}, {}))) == 3


def test_without_a_number_the_mode_is_not_looked_at_and_nothing_of_this_is_imported() -> None:
    source = """
        import sys

        def handler(event, context):
            wanted = "samovar.concurrency", "threading", "asyncio", "contextvars", "mmap"
            return [name for name in sys.modules if name.startswith(wanted)]
    """
    env = {"AWS_LAMBDA_CONCURRENCY_MODE": "fibre"}
    with serving(source, event({}, "id-0"), event({}, "id-1"), one_at_a_time=True, env=env) as served:
        assert served.answers(2) == {"id-0": [], "id-1": []}


@MODES
def test_managed_instances_ask_for_no_restore(tmp_path: Path, mode: str) -> None:
    with pool(tmp_path, mode=mode) as started:  # AWS_LAMBDA_INITIALIZATION_TYPE=lambda-managed-instances
        started.wait_for_polls(3)
        assert not started.calls()


# --- what a function must not do


@SHARED
def test_signals_and_event_loops_of_its_own_are_refused_outside_the_main_thread(tmp_path: Path, mode: str) -> None:
    source = script("""
        import asyncio, signal

        def handler(event, context):
            if event == "signal":
                signal.signal(signal.SIGALRM, print)
            return asyncio.get_event_loop().time()
    """)
    with pool(tmp_path, source, mode=mode) as started:
        assert [error["errorType"] for error in started.invoke("signal", "loop")] == ["ValueError", "RuntimeError"]


@MODES
def test_contextvars_start_from_init_where_invocations_share_a_process(tmp_path: Path, mode: str) -> None:
    source = script("""
        from contextvars import ContextVar
        variable = ContextVar("variable")
        variable.set("INIT")

        def handler(event, context):
            before = variable.get()
            variable.set(event)
            return before
    """)
    with pool(tmp_path, source, mode=mode, count=1) as started:
        assert started.invoke(1, 2, 3) == (["INIT", 1, 2] if mode == "process" else ["INIT"] * 3)


@MODES
def test_a_child_inherits_the_trace_id_where_the_process_has_one_invocation(tmp_path: Path, mode: str) -> None:
    source = script("""
        import os, subprocess

        def handler(event, context):
            return [
                subprocess.run(["sh", "-c", "echo $_X_AMZN_TRACE_ID"], stdout=-1, env=env).stdout.decode().strip()
                for env in (None, os.environ)
            ]
    """)
    with pool(tmp_path, source, mode=mode, count=1) as started:
        assert started.invoke({}) == [[TRACE_ID if mode == "process" else "", TRACE_ID]]


# --- async handlers


def test_a_deferred_coroutine_runs_on_the_event_loop_and_a_plain_function_in_another_thread(tmp_path: Path) -> None:
    source = script("""
        import samovar, threading

        async def coroutine():
            print(f"coroutine in {threading.current_thread().name}")

        def plain():
            print(f"plain in {threading.current_thread().name[:8]}")

        async def handler(event, context):
            samovar.defer(coroutine)
            samovar.defer(plain)
    """)
    with pool(tmp_path, source) as started:
        started.invoke({})
        started.wait_for_log("plain in samovar-\n")
        assert "coroutine in MainThread\n" in started.log


# --- when something fails


@MODES
@pytest.mark.parametrize("name", ["GeneratorExit", "KeyboardInterrupt", "ValueError"])
def test_any_exception_fails_its_own_invocation(tmp_path: Path, mode: str, name: str) -> None:
    source = f"def handler(event, context):\n    if event: raise {name}\n    return 1\n"
    with pool(tmp_path, source, mode=mode) as started:
        started.wait_for_polls(3)
        *others, failed = started.invoke(0, 0, 0, 1)
        assert others == [1, 1, 1]
        ends = mode == "process" and name != "ValueError"
        assert failed["errorType"] == ("Runtime.ExitError" if ends else name)
        assert started.invoke(0, 0, 0) == [1, 1, 1]
        assert started.process.poll() is None


def test_sys_exit_ends_the_process_with_its_code_once_the_others_are_done(tmp_path: Path) -> None:
    source = script("""
        import sys, threading, time
        both = threading.Barrier(2)

        def handler(event, context):
            both.wait(20)
            if event:
                sys.exit(7)
            time.sleep(0.3)
            return "done"
    """)
    with pool(tmp_path, source, mode="thread") as started:
        _, other = started.push(1, 0)
        assert started.end() == 7
        assert started.results([other]) == ["done"]
        assert started.calls() == {RESPONSE: 1}


@SHARED
def test_an_invocation_whose_thread_is_ended_from_below_python_fails_and_a_new_thread_serves(
    tmp_path: Path, mode: str
) -> None:
    source = script("""
        import ctypes, threading

        def handler(event, context):
            if event:
                ctypes.CDLL(None).pthread_exit(None)
            return threading.current_thread().name
    """)
    with pool(tmp_path, source, mode=mode, count=1) as started:
        (error,) = started.invoke(1)
        assert (error["errorType"], error["errorMessage"]) == ("Runtime.ExitError", "The handler has ended its thread")
        assert started.invoke(0, 0) == ["samovar-0"] * 2


@MODES
def test_a_failure_in_init_is_posted_once_and_ends_the_environment(tmp_path: Path, mode: str) -> None:
    with pool(tmp_path, "print('INIT')\nraise ValueError('no')\n", mode=mode) as started:
        assert started.end() == 1
        assert started.calls() == {"init/error": 1}
        assert started.log.count("INIT\n") == 1


@SHARED
@pytest.mark.parametrize("status", [403, 500])
def test_pollers_repeat_a_poll_that_is_refused(tmp_path: Path, mode: str, status: int) -> None:
    refused = Answer(b"{}", status)
    with pool(tmp_path, mode=mode, count=2, script=(refused, refused)) as started:
        assert len(started.invoke({}, {}, {})) == 3
        assert started.log.count("Asking for an event failed, and is repeated in ") == 2
        assert started.polls() >= 5


@SHARED
@pytest.mark.parametrize(("event", "call", "status"), [({}, RESPONSE, 500), ({"fail": "x"}, ERROR, 403)])
def test_pollers_go_on_where_a_post_is_refused(
    tmp_path: Path, mode: str, event: object, call: str, status: int
) -> None:
    refused = (f"POST {RUNTIME}/{call}", Answer(b"{}", status))
    with pool(tmp_path, mode=mode, count=1, answers=(refused,)) as started:
        started.invoke(event)
        assert started.invoke({})[0]["number"] == 2
        assert started.log.count(f"status {status} where 202 was expected") == 1


@SHARED
def test_at_sigterm_hooks_run_once_in_each_process(tmp_path: Path, mode: str) -> None:
    source = APP + "\nimport samovar\nsamovar.on_shutdown(lambda: print(f'hook of {os.getpid()}'))\n"
    with pool(tmp_path, source, mode=mode) as started:
        started.wait_for_polls(3)
        started.process.terminate()
        started.process.terminate()
        assert started.end() == -signal.SIGTERM
        hooks = [line for line in started.log.splitlines() if line.startswith("hook of ")]
        processes = 1 if mode == "thread" else min(3, settings.processors())
        assert (len(hooks), len(set(hooks))) == (processes, processes)
