"""What a function, the Runtime API or a signal may do to many invocations at once, in each mode that it concerns."""

from __future__ import annotations

import signal
import textwrap
from pathlib import Path

import pytest

from samovar.local.testing.scripted_api import RUNTIME, Answer
from tests.concurrency.pool import APP, pool

BOTH_TRANSPORTS = pytest.mark.parametrize("transport", ["wire", "urllib3"])

# A hook that names the pollers that are still there.
NAMES_POLLERS = textwrap.dedent("""
    import samovar, threading

    @samovar.on_shutdown
    def name_pollers():
        names = sorted(each.name for each in threading.enumerate() if each.name.startswith("samovar-"))
        print(f"pollers at the end: {names}")
""")


def script(source: str) -> str:
    return textwrap.dedent(source)


# --- the end of a process


def test_a_process_whose_threads_have_all_exited_is_replaced(tmp_path: Path) -> None:
    source = "import sys\ndef handler(event, context):\n    sys.exit(5)\n"
    with pool(tmp_path, source, count=2, mode="hybrid") as started:
        started.wait_for_polls(2)
        started.push({}, {}, {})
        started.wait_for_log('"Worker ', 3)
        assert started.log.count("It is replaced") == 3


def test_sys_exit_ends_the_process_also_where_the_function_has_left_threads_running(tmp_path: Path) -> None:
    source = script("""
        import concurrent.futures, sys, threading, time
        threading.Thread(target=time.sleep, args=(600,)).start()
        pool = concurrent.futures.ThreadPoolExecutor()

        def handler(event, context):
            pool.submit(time.sleep, 600)
            sys.exit(5)
    """)
    with pool(tmp_path, source, mode="thread") as started:
        started.push({})
        assert started.end() == 5


def test_a_keyboard_interrupt_costs_the_invocation_of_an_async_handler_that_raises_it(tmp_path: Path) -> None:
    source = script("""
        async def handler(event, context):
            if event:
                raise KeyboardInterrupt
    """)
    with pool(tmp_path, source, mode="thread") as started:
        started.wait_for_polls(3)
        assert started.invoke(1)[0]["errorType"] == "KeyboardInterrupt"
        assert started.invoke(*[0] * 6) == [None] * 6
        assert started.process.poll() is None


# --- the Runtime API


def test_a_poller_that_gets_no_event_for_long_goes_on_where_another_has_one(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with pool(tmp_path, mode="thread", count=2) as started:
        started.wait_for_polls(2)
        (waits,) = started.push({"wait_for": str(go)})
        started.api.push(*[Answer(raw=b"")] * 5)
        started.wait_for_polls(7)
        assert started.invoke({})[0]["number"] == 2
        go.touch()
        assert started.results([waits])[0]["number"] == 2
        assert started.process.poll() is None


def test_a_worker_that_gets_no_event_for_long_is_replaced_where_another_has_one(tmp_path: Path) -> None:
    with pool(tmp_path, count=2) as started:
        started.wait_for_polls(2)
        started.push({"wait_for": "/never"})
        started.api.push(*[Answer(raw=b"")] * 5)
        started.wait_for_log("The Runtime API gave it no event: it is replaced in 10 s")
        assert started.process.poll() is None


@pytest.mark.parametrize("mode", ["process", "thread", "hybrid"])
def test_an_event_for_which_there_is_no_memory_costs_no_environment(tmp_path: Path, mode: str) -> None:
    source = script("""
        import os
        from samovar.runtime_api import RuntimeClient
        inner = RuntimeClient.next

        def next_but_once(self):
            invocation = inner(self)
            if not os.path.exists("failed"):
                os.mkdir("failed")
                raise MemoryError
            return invocation

        RuntimeClient.next = next_but_once

        def handler(event, context):
            return event
    """)
    with pool(tmp_path, source, mode=mode, count=1) as started:
        started.push({})
        started.wait_for_log("MemoryError")
        assert started.invoke(1, 2) == [1, 2]


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_a_poll_for_which_there_is_no_descriptor_is_repeated(tmp_path: Path, mode: str) -> None:
    source = script("""
        import resource
        from threading import Timer
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)

        def handler(event, context):
            return event

        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        Timer(0.2, resource.setrlimit, (resource.RLIMIT_NOFILE, limits)).start()
    """)
    with pool(tmp_path, source, mode=mode, count=2) as started:
        assert started.invoke(*range(6)) == list(range(6))
        started.wait_for_log("repeated in 0.1 s: GET /2018-06-01/runtime/invocation/next: no socket: [Errno 24]", 2)
        assert "Traceback" not in started.log


def test_a_supervisor_without_descriptors_goes_on_with_the_workers_that_there_are(tmp_path: Path) -> None:
    limited = script("""
        import os, resource
        resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (12, 12))
    """)
    with pool(tmp_path, limited + APP, count=16) as started:
        started.wait_for_log("cannot be started: [Errno 24] Too many open files")
        assert started.invoke({})[0]["parent"] == started.pid


# --- threads


def test_pollers_that_cannot_be_started_leave_the_others(tmp_path: Path) -> None:
    source = script("""
        import threading
        start = threading.Thread.start

        def start_some(self):
            if self.name.startswith("samovar-") and int(self.name[8:]) % 2:
                raise RuntimeError("can't start new thread")
            start(self)

        threading.Thread.start = start_some

        def handler(event, context):
            return threading.current_thread().name
    """)
    with pool(tmp_path, source, mode="thread", count=4) as started:
        started.wait_for_log("cannot be started: can't start new thread", 2)
        assert set(started.invoke(*[{}] * 8)) <= {"samovar-0", "samovar-2"}


def test_an_environment_none_of_whose_pollers_can_be_started_ends(tmp_path: Path) -> None:
    source = script("""
        import threading

        def start_none(self):
            raise RuntimeError("can't start new thread")

        threading.Thread.start = start_none
        handler = len
    """)
    with pool(tmp_path, source, mode="thread", count=2) as started:
        assert started.end() == 1
        assert started.log.count("cannot be started") == 2
        assert not started.polls()


# --- signals


@pytest.mark.parametrize(
    ("statement", "code"), [("1 / 0", None), ("sys.exit(5)", 5), ("raise KeyboardInterrupt", -signal.SIGINT)]
)
def test_a_signal_handler_that_raises_ends_nothing_in_flight(tmp_path: Path, statement: str, code: int | None) -> None:
    source = script(f"""
        import os, signal, sys, time

        def on_signal(*_):
            {statement}

        signal.signal(signal.SIGUSR1, on_signal)

        def handler(event, context):
            if event:
                os.kill(os.getpid(), signal.SIGUSR1)
                time.sleep(0.1)
            return 1
    """)
    with pool(tmp_path, source, mode="thread") as started:
        started.wait_for_polls(3)
        assert started.invoke(1) == [1]
        if code is None:
            assert started.invoke(0, 0, 0, 0) == [1] * 4
            assert "The main thread was interrupted: division by zero" in started.log
        else:
            assert started.end() == code


# --- SIGTERM


@BOTH_TRANSPORTS
def test_at_sigterm_pollers_that_wait_for_an_event_end_and_ask_for_no_more(tmp_path: Path, transport: str) -> None:
    source = f"{NAMES_POLLERS}\ndef handler(event, context): return 1\n"
    with pool(tmp_path, source, mode="thread", env={"SAMOVAR_TRANSPORT": transport}) as started:
        started.invoke({}, {}, {})
        started.wait_for_polls(6)
        started.process.terminate()
        assert started.end() == -signal.SIGTERM
        assert "pollers at the end: []" in started.log
        assert started.polls() == 6


def test_at_sigterm_a_poller_ends_that_has_just_begun_to_ask(tmp_path: Path) -> None:
    source = NAMES_POLLERS + script("""
        import os, signal, time
        from samovar import wire
        connect = wire.Connection._connect

        def connect_late(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            return connect(self)

        def handler(event, context):
            wire.Connection._connect = connect_late
    """)
    closed = (f"POST {RUNTIME}/invocation/ID/response", Answer(b"{}", 202, close="announced"))
    with pool(tmp_path, source, mode="thread", count=1, answers=(closed,)) as started:
        started.push({})
        assert started.end() == -signal.SIGTERM
        assert "pollers at the end: []" in started.log


def test_at_sigterm_a_poller_ends_that_pauses_after_a_failure(tmp_path: Path) -> None:
    source = f"{NAMES_POLLERS}\ndef handler(event, context): return 1\n"
    with pool(tmp_path, source, mode="thread", count=1) as started:
        started.wait_for_polls(1)
        started.api.close()
        started.wait_for_log("repeated in 0.8 s")
        started.process.terminate()
        assert started.end() == -signal.SIGTERM
        assert "pollers at the end: []" in started.log


def test_what_is_in_flight_at_sigterm_may_run_its_first_coroutine(tmp_path: Path) -> None:
    go = tmp_path / "go"
    source = script(f"""
        import os, samovar, threading, time

        async def later():
            print("deferred")

        def handler(event, context):
            while not os.path.exists({str(go)!r}):
                time.sleep(0.002)
            samovar.defer(later)

        @samovar.on_shutdown
        def begin():
            # After the hooks: what is deferred until then is dropped, and named.
            threading.Timer(0.3, lambda: open({str(go)!r}, "w").close()).start()
    """)
    with pool(tmp_path, source, mode="thread", count=2) as started:
        started.push({})
        started.wait_for_events(1)
        started.process.terminate()
        assert started.end() == -signal.SIGTERM
        assert "deferred\n" in started.log
