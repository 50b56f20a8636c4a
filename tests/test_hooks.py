"""Work after the response, at the end of INIT and at shutdown; the deadline is moved, never waited for."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from samovar import context, hooks
from samovar.environment import Environment, environment
from samovar.local.testing.scripted_api import NEXT, ScriptedRuntimeApi
from samovar.local.testing.scripted_api import invocation as event
from tests import invocations
from tests.contract.harness import OURS, command
from tests.contract.harness import environment as variables
from tests.contract.table import app


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(environment, "running", True)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    hooks.forget()
    invocations.forget()


def invocation(milliseconds: int) -> context.LambdaContext:
    """Begins an invocation that ends so far from an arbitrary now."""
    return invocations.begin(deadline_ms=str(1_000_000 + milliseconds))


def after_response() -> None:
    """As the loop does it."""
    for work in environment.after_response:
        work()


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
    after_response()
    assert done == [1, 2, 3]


def test_a_coroutine_function_is_run_to_its_end() -> None:
    done: list[int] = []

    async def refresh(value: int) -> None:
        done.append(value)

    hooks.defer(refresh, 1)
    after_response()
    assert done == [1]


@pytest.mark.parametrize("form", ["JSON", "Text"])
def test_a_failure_is_logged_with_the_request_id_and_stops_nothing(
    now: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_LOG_FORMAT", form)
    invocation(1000)
    done: list[int] = []

    def broken() -> None:
        raise ValueError("no database")

    hooks.defer(broken)
    hooks.defer(done.append, 1)
    after_response()
    assert done == [1]
    (line,) = capsys.readouterr().out.rstrip("\n").split("\n")
    assert "request-1" in line
    if form == "Text":
        line = line.replace(" (RequestId: request-1)", "")
    assert "broken failed: no database" in line
    assert "test_hooks.py" in line
    assert "hooks.py" not in line.replace("test_hooks.py", "")


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
    after_response()
    assert done == [2.0]
    assert "Out of time: deferred calls postponed to the next response: 1 (" in capsys.readouterr().out
    now[0] += 60
    invocations.begin("request-2", deadline_ms=str(int(now[0] * 1000) + 500))
    after_response()
    assert done == [2.0, 0.5]


@pytest.mark.parametrize("deadline", [None, "", "0"])
def test_no_deadline_is_no_end(deadline: str | None) -> None:
    done: list[int] = []
    invocations.begin(deadline_ms=deadline)
    assert hooks.remaining() == float("inf")
    hooks.defer(done.append, 1)
    after_response()
    assert done == [1]


def test_the_first_millisecond_is_a_deadline(now: list[float]) -> None:
    invocations.begin(deadline_ms="1")
    assert hooks.remaining() == 0


def test_a_deadline_far_away_is_one(now: list[float]) -> None:
    invocations.begin(deadline_ms="3228130696703")
    assert hooks.remaining() == 3228130696.703 - 1000
    done: list[int] = []
    hooks.defer(done.append, 1)
    after_response()
    assert done == [1]


def test_many_deferred_calls_from_many_threads_are_all_run() -> None:
    done: list[tuple[int, int]] = []

    def defer_many(thread: int) -> None:
        for number in range(20_000):
            hooks.defer(done.append, (thread, number))

    threads = [threading.Thread(target=defer_many, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        after_response()
    after_response()
    for n in range(5):
        assert [number for thread, number in done if thread == n] == list(range(20_000))


def test_outside_the_runtime_deferred_work_is_its_threads_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "running", False)
    failed: list[BaseException] = []

    def defer_many() -> None:
        ran_in: list[int] = []
        try:
            for number in range(5_000):
                hooks.defer(lambda: ran_in.append(threading.get_ident()))
                assert len(ran_in) == number + 1
            assert set(ran_in) == {threading.get_ident()}
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=defer_many) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_no_invocation_has_no_end() -> None:
    assert hooks.remaining() == float("inf")


def test_outside_the_runtime_deferred_work_runs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "running", False)
    done: list[int] = []
    hooks.defer(done.append, 1)
    assert done == [1]


def test_outside_the_runtime_a_coroutine_is_a_task_of_the_callers_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "running", False)
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


def test_a_process_is_outside_the_runtime_until_that_runs() -> None:
    assert not Environment().running


def test_defer_wants_a_function() -> None:
    with pytest.raises(TypeError, match="is not callable: give the function"):
        hooks.defer(print("x"))  # type: ignore[arg-type, func-returns-value]


def test_what_is_dropped_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    hooks.defer(test_no_invocation_has_no_end)
    hooks.defer(len, "x")
    hooks.shut_down()
    assert "deferred calls dropped: 2 (test_no_invocation_has_no_end, len)" in capsys.readouterr().out
    assert hooks.dropped() == 0
    for _ in range(6):
        hooks.defer(len, "x")
    assert hooks.dropped() == 6
    assert "deferred calls dropped: 6 (len, len, len, len, len)" in capsys.readouterr().out


def test_sigterm_during_deferred_work_names_what_is_not_finished() -> None:
    program = """
import os, signal
from samovar import hooks
from samovar.environment import environment
environment.running = True
def refresh():
    os.kill(os.getpid(), signal.SIGTERM)
hooks.defer(refresh)
hooks.defer(print, "never")
hooks.run_deferred()
"""
    done = subprocess.run([sys.executable, "-u", "-c", program], capture_output=True, text=True, env=os.environ)
    assert done.returncode == -signal.SIGTERM
    first, second = done.stdout.splitlines()
    assert "deferred calls dropped: 1 (print)" in first
    assert "deferred refresh is not finished" in second


def test_deferred_work_that_ended_is_not_named(capsys: pytest.CaptureFixture[str]) -> None:
    hooks.defer(int, "no number")
    after_response()
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
    after_response()
    assert done == [1]
    said = capsys.readouterr().out
    assert said.count("CancelledError: Warming") == said.count("CancelledError: Deferred") == 1


def test_what_is_to_end_the_process_does(capsys: pytest.CaptureFixture[str]) -> None:
    hooks.defer(sys.exit, 3)
    with pytest.raises(SystemExit):
        after_response()
    assert hooks.dropped() == 0
    assert "deferred exit is not finished" in capsys.readouterr().out


def test_a_result_with_any_attribute_is_no_coroutine(capsys: pytest.CaptureFixture[str]) -> None:
    class Proxy:
        def __getattr__(self, name: str) -> object:
            return self

    hooks.defer(Proxy)
    after_response()
    assert capsys.readouterr().out == ""


def test_shutdown_hooks_run_once_last_first_and_survive_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[int] = []
    hooks.on_shutdown(lambda: done.append(1))

    @hooks.on_shutdown
    def broken() -> None:
        raise ValueError("already gone")

    hooks.on_shutdown(lambda: done.append(2))
    assert environment.shutdown_hooks
    hooks.shut_down()
    hooks.shut_down()
    assert done == [2, 1]
    assert "broken failed: already gone" in capsys.readouterr().out


def test_a_shutdown_hook_that_was_removed_does_not_run() -> None:
    done: list[int] = []
    hook = hooks.on_shutdown(lambda: done.append(1))
    hooks.not_on_shutdown(hook)
    hooks.not_on_shutdown(hook)
    hooks.shut_down()
    assert done == []


def test_a_child_process_forgets_the_work_of_its_parent() -> None:
    done: list[int] = []
    hooks.defer(done.append, 1)
    hooks.on_shutdown(lambda: done.append(2))
    hooks.warm(lambda: done.append(3))
    hooks.forget()
    hooks.run_deferred()
    hooks.run_warm()
    hooks.shut_down()
    assert done == []


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
from samovar import hooks
from samovar.environment import environment
environment.running = True
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


def ended(program: str) -> subprocess.CompletedProcess[str]:
    prelude = (
        "import os, signal, sys\nfrom samovar import hooks\nfrom samovar.environment import environment\n"
        "environment.running = True\n"
    )
    return subprocess.run([sys.executable, "-c", prelude + program], capture_output=True, text=True, check=False)


def test_sigterm_during_a_shutdown_hook_neither_ends_it_nor_begins_another() -> None:
    done = ended("""
def first():
    print("first begins", flush=True)
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    print("first ends", flush=True)
hooks.on_shutdown(lambda: print("second", flush=True))
hooks.on_shutdown(first)
os.kill(os.getpid(), signal.SIGTERM)
print("not reached")
""")
    assert done.stdout.splitlines() == ["first begins", "first ends", "second"]
    assert done.returncode == -signal.SIGTERM


def test_sys_exit_in_a_shutdown_hook_is_not_the_interrupted_codes_to_catch() -> None:
    done = ended("""
hooks.on_shutdown(lambda: print("second", flush=True))
hooks.on_shutdown(lambda: sys.exit(3))
try:
    os.kill(os.getpid(), signal.SIGTERM)
except BaseException:
    print("caught")
print("not reached")
""")
    assert done.stdout.splitlines() == ["second"]
    assert done.returncode == -signal.SIGTERM


def test_a_child_forked_by_a_shutdown_hook_still_ends_by_sigterm() -> None:
    done = ended("""
def forks():
    ready, tell = os.pipe()
    if not (child := os.fork()):
        os.write(tell, b"1")
        os.close(tell)
        while True:
            signal.sigtimedwait([], 0.01)
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
hooks.on_shutdown(forks)
os.kill(os.getpid(), signal.SIGTERM)
""")
    assert done.stdout == "-15\n"


def environment_to_its_end(tmp_path: Path, source: str, *, sigterm: bool) -> subprocess.CompletedProcess[str]:
    """Runs a function as an environment for one event and, where asked, sends SIGTERM while it waits for the next."""
    for name, text in app(textwrap.dedent(source)).items():
        (tmp_path / name).write_text(text)
    idle = threading.Event()
    with ScriptedRuntimeApi(event(b"1"), on_idle=idle.set) as api:
        env = variables(OURS, "app.handler", str(tmp_path), api.address, {})
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command(OURS, "app.handler"), env=env, text=True, **pipes) as process:
            if sigterm:
                api.wait(lambda requests: [request.call for request in requests].count(NEXT) == 2)
                idle.wait()
                process.terminate()
            out, err = process.communicate()
        calls = [request.call.rpartition("/")[2] for request in api.posted() if "/extension/" not in request.path]
    assert calls == ["response"]
    return subprocess.CompletedProcess([], process.returncode, out, err)


def test_sys_exit_in_deferred_work_ends_the_environment_after_the_response(tmp_path: Path) -> None:
    done = environment_to_its_end(
        tmp_path,
        """
        import sys, samovar
        samovar.on_shutdown(lambda: print("closed"))

        def handler(event, context):
            samovar.defer(sys.exit, 3)
            return event
        """,
        sigterm=False,
    )
    assert done.returncode == 3
    assert done.stdout.startswith("closed\n")


def test_sigterm_while_the_environment_ends_by_itself_lets_every_hook_run(tmp_path: Path) -> None:
    done = environment_to_its_end(
        tmp_path,
        """
        import os, signal, sys, samovar
        samovar.on_shutdown(lambda: print("second"))

        @samovar.on_shutdown
        def first():
            print("first begins")
            os.kill(os.getpid(), signal.SIGTERM)
            print("first ends")

        def handler(event, context):
            samovar.defer(sys.exit, 3)
            return event
        """,
        sigterm=False,
    )
    assert done.stdout.splitlines()[:3] == ["first begins", "first ends", "second"]
    assert done.returncode == 3


@pytest.mark.parametrize(("own", "code", "said"), [("sys.exit(5)", 5, "own, closed"), ("os._exit(6)", 6, "own")])
def test_the_functions_own_sigterm_handler_decides_whether_the_hooks_run(
    tmp_path: Path, own: str, code: int, said: str
) -> None:
    done = environment_to_its_end(
        tmp_path,
        f"""
        import os, signal, sys, samovar

        def own(signum, frame):
            print("own")
            {own}

        signal.signal(signal.SIGTERM, own)
        samovar.on_shutdown(lambda: print("closed"))

        def handler(event, context):
            return event
        """,
        sigterm=True,
    )
    assert (done.returncode, ", ".join(done.stdout.splitlines())) == (code, said)


def test_a_users_own_sigterm_handler_stays() -> None:
    def own(signum: int, frame: object) -> None: ...

    signal.signal(signal.SIGTERM, own)
    hooks.on_shutdown(lambda: None)
    assert signal.getsignal(signal.SIGTERM) is own


def test_hooks_may_be_registered_in_any_thread() -> None:
    def register() -> None:
        try:
            hooks.on_shutdown(lambda: done.append(1))
            hooks.defer(done.append, 2)
        except Exception as exc:
            done.append(exc)

    done: list[object] = []
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    thread = threading.Thread(target=register)
    thread.start()
    thread.join()
    after_response()
    hooks.shut_down()
    assert done == [2, 1]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    hooks.on_shutdown(lambda: None)  # in the main thread, where it can be set
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
