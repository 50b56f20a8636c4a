"""Work after the response, at the end of INIT and at shutdown; the deadline is moved, never waited for."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from samovar import context, fault, hooks, loop


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loop, "running", True)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    hooks.forget()
    context._current = None


def invocation(milliseconds: int) -> context.LambdaContext:
    """Begins an invocation that ends so far from an arbitrary now."""
    begun = context.factory()({"lambda-runtime-deadline-ms": str(1_000_000 + milliseconds)}, "request-1")
    return begun


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(context, "time", lambda: clock[0])
    return clock


def test_deferred_work_runs_in_order_and_may_defer_more() -> None:
    done: list[object] = []
    hooks.defer(done.append, 1)
    hooks.defer(lambda *, x: hooks.defer(done.append, x), x=3)
    hooks.defer(done.append, 2)
    assert done == []
    hooks.after_response()
    assert done == [1, 2, 3]


def test_a_coroutine_function_is_run_to_its_end() -> None:
    done: list[int] = []

    async def refresh(value: int) -> None:
        done.append(value)

    hooks.defer(refresh, 1)
    hooks.after_response()
    assert done == [1]


def test_a_failure_is_logged_with_the_request_id_and_stops_nothing(
    now: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_LOG_FORMAT", "JSON")
    invocation(1000)
    done: list[int] = []

    def broken() -> None:
        raise ValueError("no database")

    hooks.defer(broken)
    hooks.defer(done.append, 1)
    hooks.each_invocation(broken)
    hooks.each_invocation(lambda: done.append(2))
    hooks.after_response()
    assert done == [1, 2]
    first, second = capsys.readouterr().out.splitlines()
    assert "request-1" in first
    assert "broken failed: no database" in first
    assert "test_hooks.py" in first
    assert "hooks.py" not in first.replace("test_hooks.py", "")
    assert "failed after the response: no database" in second


def test_what_the_time_does_not_reach_waits_for_the_next_response(
    now: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    invocation(2000)
    done: list[float] = []

    def slow() -> None:
        done.append(hooks.remaining())
        now[0] += 2.5

    hooks.defer(slow)
    hooks.defer(lambda: done.append(hooks.remaining()))
    hooks.after_response()
    assert done == [2.0]
    assert "The time is up: deferred calls that wait for the next response: 1 (" in capsys.readouterr().out
    now[0] += 60
    context._current = None
    context.factory()({"lambda-runtime-deadline-ms": str(int(now[0] * 1000) + 500)}, "request-2")
    hooks.after_response()
    assert done == [2.0, 0.5]


def test_no_invocation_has_no_end() -> None:
    assert hooks.remaining() == float("inf")


def test_outside_the_runtime_deferred_work_runs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "running", False)
    done: list[int] = []
    hooks.defer(done.append, 1)
    assert done == [1]


def test_outside_the_runtime_a_coroutine_is_a_task_of_the_callers_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "running", False)
    done: list[object] = []

    async def deferred() -> None:
        done.append(asyncio.get_running_loop())

    async def main() -> None:
        hooks.defer(deferred)
        assert done == []
        while not done:
            await asyncio.sleep(0)
        assert done == [asyncio.get_running_loop()]

    asyncio.run(asyncio.wait_for(main(), 60))


def test_defer_wants_a_function() -> None:
    with pytest.raises(TypeError, match="is not callable: give the function"):
        hooks.defer(print("x"))  # type: ignore[arg-type, func-returns-value]


def test_what_is_dropped_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    hooks.defer(test_no_invocation_has_no_end)
    hooks.defer(len, "x")
    hooks.shut_down()
    assert "deferred calls dropped: 2 (test_no_invocation_has_no_end, len)" in capsys.readouterr().out
    assert hooks.dropped() == 0


def test_sigterm_during_deferred_work_names_what_is_not_finished() -> None:
    program = """
import os, signal
from samovar import hooks, loop
loop.running = True
def refresh():
    os.kill(os.getpid(), signal.SIGTERM)
hooks.defer(refresh)
hooks.defer(print, "never")
hooks.after_response()
"""
    done = subprocess.run([sys.executable, "-u", "-c", program], capture_output=True, text=True, env=os.environ)
    assert done.returncode == -signal.SIGTERM
    first, second = done.stdout.splitlines()
    assert "deferred calls dropped: 1 (print)" in first
    assert "deferred refresh is not finished" in second


def test_deferred_work_that_ended_is_not_named(capsys: pytest.CaptureFixture[str]) -> None:
    hooks.defer(int, "no number")
    hooks.after_response()
    assert "int failed" in capsys.readouterr().out
    assert hooks.dropped() == 0
    assert capsys.readouterr().out == ""


def test_a_cancelled_coroutine_is_a_failure_like_others(capsys: pytest.CaptureFixture[str]) -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    done: list[int] = []
    hooks.warm(cancelled)
    hooks.run_warm()
    hooks.defer(cancelled)
    hooks.defer(done.append, 1)
    hooks.after_response()
    assert done == [1]
    said = capsys.readouterr().out
    assert said.count("CancelledError: Warming") == said.count("CancelledError: Deferred") == 1


def test_what_is_to_end_the_process_does(capsys: pytest.CaptureFixture[str]) -> None:
    hooks.defer(sys.exit, 3)
    with pytest.raises(SystemExit):
        hooks.after_response()
    assert hooks.dropped() == 0
    assert "deferred exit is not finished" in capsys.readouterr().out


def test_a_result_with_any_attribute_is_no_coroutine(capsys: pytest.CaptureFixture[str]) -> None:
    class Proxy:
        def __getattr__(self, name: str) -> object:
            return self

    hooks.defer(Proxy)
    hooks.after_response()
    assert capsys.readouterr().out == ""


def test_shutdown_hooks_run_once_last_first_and_survive_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[int] = []
    hooks.on_shutdown(lambda: done.append(1))

    @hooks.on_shutdown
    def broken() -> None:
        raise ValueError("already gone")

    hooks.on_shutdown(lambda: done.append(2))
    assert hooks.wants_shutdown()
    hooks.shut_down()
    hooks.shut_down()
    assert done == [2, 1]
    assert "broken failed: already gone" in capsys.readouterr().out


def test_warm_runs_at_the_end_of_init_and_a_failure_is_the_first_callers(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[int] = []

    @hooks.warm
    def fails() -> None:
        raise OSError("no network yet")

    @hooks.warm
    async def coroutine() -> None:
        done.append(1)

    hooks.warm(lambda: done.append(2))
    hooks.run_warm()
    hooks.run_warm()
    assert done == [1, 2]
    assert "fails failed: no network yet" in capsys.readouterr().out


def test_a_required_warming_fails_init() -> None:
    @hooks.warm(required=True)
    def fails() -> None:
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        hooks.run_warm()


def test_warm_wants_a_function() -> None:
    with pytest.raises(TypeError, match="use @warm"):
        hooks.warm(5)  # type: ignore[call-overload]


def test_sigterm_runs_the_hooks_and_still_ends_the_process_by_the_signal() -> None:
    program = """
import os, signal
from samovar import hooks, loop
loop.running = True
hooks.on_shutdown(lambda: print("closed", flush=True))
hooks.defer(print, "never")
os.kill(os.getpid(), signal.SIGTERM)
print("not reached")
"""
    done = subprocess.run([sys.executable, "-u", "-c", program], capture_output=True, text=True, env=os.environ)
    assert done.returncode == -signal.SIGTERM
    lines = done.stdout.splitlines()
    assert lines[0] == "closed"
    assert "deferred calls dropped: 1 (print)" in lines[1]
    assert len(lines) == 2


def test_a_users_own_sigterm_handler_stays() -> None:
    def own(signum: int, frame: object) -> None: ...

    signal.signal(signal.SIGTERM, own)
    hooks.on_shutdown(lambda: None)
    assert signal.getsignal(signal.SIGTERM) is own


def test_a_fault_is_reported_as_it_says() -> None:
    report = fault.Report(fault.Fault("Companion.Error", "message", ["line"]), "id")
    assert report.error == {
        "errorMessage": "message",
        "errorType": "Companion.Error",
        "requestId": "id",
        "stackTrace": ["line"],
    }
