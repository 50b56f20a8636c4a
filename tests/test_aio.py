"""One event loop for the life of the environment: what is kept between invocations, what is fresh, and what ends."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import posix
import socket
import textwrap
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from samovar import aio
from samovar.handler import function
from tests.contract.harness import OURS, Event, Run, execute
from tests.contract.table import app
from tests.invocations import begin, forget, invocation


@pytest.fixture(autouse=True)
def own_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(aio, "_event_loop", None)
    monkeypatch.setattr(aio, "_named", set())
    asyncio.set_event_loop(None)
    yield
    if aio._event_loop is not None:
        aio._event_loop.close()
    asyncio.set_event_loop(None)


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="of INIT")


def test_contextvars_are_fresh_for_each_invocation() -> None:
    async def handler(event: Any, context: Any) -> str:
        before = VARIABLE.get()
        VARIABLE.set("of the invocation")
        return before

    call = function.adapt(handler)
    assert [call(invocation()), call(invocation())] == [b'"of INIT"'] * 2
    assert VARIABLE.get() == "of INIT"


def test_a_stream_sees_the_contextvars_of_its_handler_and_leaves_none() -> None:
    async def items() -> AsyncIterator[str]:
        yield VARIABLE.get()
        VARIABLE.set("of the stream")
        yield VARIABLE.get()

    async def handler(event: Any, context: Any) -> Any:
        assert VARIABLE.get() == "of INIT"
        VARIABLE.set("of the handler")
        return items()

    for _ in range(2):
        response = function.adapt(handler)(invocation())
        assert list(response.body) == [b"of the handler", b"of the stream"]  # type: ignore[union-attr, arg-type]
    assert VARIABLE.get() == "of INIT"


def test_one_task_drives_an_async_iterator_and_closes_it() -> None:
    """What a generator enters, a time-out or a task group, may be left only in the task that entered it."""
    tasks: list[Any] = []

    async def items() -> AsyncIterator[str]:
        tasks.append(asyncio.current_task())
        try:
            async with asyncio.timeout(600):
                for _ in range(3):
                    yield "a"
                    tasks.append(asyncio.current_task())
        finally:
            tasks.append(asyncio.current_task())

    whole = aio.Pulled(items(), float("inf"))
    assert list(whole) == ["a"] * 3
    whole.close()
    assert (len(tasks), len(set(map(id, tasks)))) == (5, 1)
    tasks.clear()
    half = aio.Pulled(items(), float("inf"))
    assert next(half) == "a"
    half.close()
    assert (len(tasks), len(set(map(id, tasks)))) == (2, 1)


def test_a_source_that_fails_when_it_is_closed_raises_that() -> None:
    async def items() -> AsyncIterator[str]:
        try:
            yield "a"
        except GeneratorExit as exc:  # as asyncio.TaskGroup does, before Python 3.15
            raise BaseExceptionGroup("in a group", [exc]) from None

    pulled = aio.Pulled(items(), float("inf"))
    next(pulled)
    with pytest.raises(BaseExceptionGroup):
        pulled.close()
    late = aio.Pulled(items(), time.time())
    assert next(late) == "a"
    with pytest.raises(TimeoutError):
        next(late)
    late.close()


def test_a_source_that_was_never_asked_is_closed() -> None:
    async def items() -> AsyncIterator[str]:
        yield "a"

    source = items()
    aio.Pulled(source, float("inf")).close()
    with pytest.raises(StopAsyncIteration):
        aio.run(anext(source))


def test_other_tasks_go_on_while_the_socket_takes_no_more() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:

        async def drain() -> None:
            while not filled:
                await asyncio.sleep(0)
            theirs.setblocking(True)
            left = filled[0]
            while left:
                left -= len(theirs.recv(min(left, 65536)))
            filled.append(0)

        async def items() -> AsyncIterator[str]:
            task = asyncio.create_task(drain())
            yield "a"
            await task

        filled: list[int] = []
        pulled = aio.Pulled(items(), float("inf"))
        next(pulled)
        sent = 0
        try:
            while True:
                sent += ours.send(b"x" * 65536)
        except BlockingIOError:
            filled.append(sent)
        pulled.wait(ours.fileno())
        assert ours.send(b"x") == 1
        assert list(pulled) == []
        assert filled == [sent, 0]


def test_tasks_left_running_are_named_once_and_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    release: list[asyncio.Event] = []
    ended: list[int] = []

    async def heartbeat(number: int) -> None:
        await release[0].wait()
        ended.append(number)

    async def handler(event: Any, context: Any) -> None:
        if not release:
            release.append(asyncio.Event())
        if len(release) < 4:
            release.append(asyncio.create_task(heartbeat(len(release))))  # type: ignore[arg-type]
        else:
            release[0].set()
            await asyncio.gather(*release[1:])  # type: ignore[call-overload]

    call = function.adapt(handler)
    for _ in range(4):
        call(invocation())
    assert ended == [1, 2, 3]
    said = capsys.readouterr().out
    assert said.count("Tasks left running stand still until the next invocation: ") == 1
    assert "heartbeat\n" in said


def test_tasks_that_a_stream_leaves_running_are_named_too(capsys: pytest.CaptureFixture[str]) -> None:
    async def background() -> None:
        await asyncio.sleep(600)

    async def handler(event: Any, context: Any) -> AsyncIterator[str]:
        yield "a"
        handler.task = asyncio.create_task(background())  # type: ignore[attr-defined]
        yield "b"

    response = function.adapt(handler)(invocation())
    assert list(response.body) == [b"a", b"b"]  # type: ignore[union-attr, arg-type]
    assert "Tasks left running" not in capsys.readouterr().out
    response.body.close()  # type: ignore[union-attr]
    assert "background\n" in capsys.readouterr().out


def test_a_handler_is_cancelled_in_time_to_report_it() -> None:
    cleaned = []

    async def handler(event: Any, context: Any) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            cleaned.append(True)

    deadline = time.time() + 0.5
    started = begin(deadline_ms=str(int(deadline * 1000)))
    late = invocation()
    late.context = started
    try:
        with pytest.raises(TimeoutError, match="the invocation's time was nearly up") as caught:
            function.adapt(handler)(late)
        assert cleaned == [True]
        assert "sleep" in [frame.name for frame in caught.traceback]
    finally:
        forget()


def test_an_error_while_it_is_cancelled_is_reported_with_its_cause() -> None:
    async def handler(event: Any, context: Any) -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError as exc:
            raise ValueError("instead") from exc

    late = invocation()
    late.context = begin(deadline_ms=str(int(time.time() * 1000 + 300)))
    try:
        with pytest.raises(ValueError, match="instead") as caught:
            function.adapt(handler)(late)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    finally:
        forget()


def test_a_task_has_ended_when_something_raises_out_of_the_event_loop() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0)
            ended.append("waits")

    def interrupt() -> None:
        raise KeyboardInterrupt

    loop = aio.get_loop()
    task = loop.create_task(waits())
    loop.call_later(0.01, interrupt)
    with pytest.raises(KeyboardInterrupt):
        aio.drive(task, task.done, float("inf"))
    assert (ended, task.cancelled()) == (["waits"], True)


def test_a_handler_that_ends_itself_after_being_cancelled_has_its_result() -> None:
    async def handler(event: Any, context: Any) -> str:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            return "what there was"
        return ""

    late = invocation()
    late.context = begin(deadline_ms=str(int(time.time() * 1000 + 300)))
    try:
        assert function.adapt(handler)(late) == b'"what there was"'
    finally:
        forget()


@pytest.mark.parametrize("ends", ["returns", "raises", "late", "stream", "late stream"])
def test_nothing_of_an_async_invocation_stays_in_memory(ends: str) -> None:
    class Kept:
        pass

    async def waits(kept: Kept) -> str:
        if "late" in ends:
            await asyncio.sleep(600)
        if ends == "raises":
            raise ValueError("x")
        return "done"

    async def items(kept: Kept) -> AsyncIterator[str]:
        yield await waits(kept)

    async def handler(event: Any, context: Any) -> Any:
        kept = Kept()
        seen.append(weakref.ref(kept))
        return items(kept) if "stream" in ends else await waits(kept)

    def serve() -> None:
        late = invocation()
        late.context = begin(deadline_ms=str(int(time.time() * 1000 + 200)))
        try:
            response = function.adapt(handler)(late)
        except (ValueError, TimeoutError):
            return
        if ends == "stream":
            assert list(response.body) == [b"done"]  # type: ignore[union-attr, arg-type]
            response.body.close()  # type: ignore[union-attr]

    seen: list[weakref.ref[Kept]] = []
    serve()
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            serve()
    finally:
        gc.enable()
        forget()
    assert [ref() for ref in seen] == [None] * 3


ONE_LOOP = """
    import asyncio, samovar

    loops = []

    @samovar.warm
    async def connect():
        loops.append(asyncio.get_running_loop())

    async def handler(event, context):
        loops.append(asyncio.get_running_loop())
        samovar.defer(after)
        if event == "fail":
            raise ValueError("x")
        return [len(loops), len(set(map(id, loops))), type(loops[0]).__module__.split(".")[0]]

    async def after():
        loops.append(asyncio.get_running_loop())

    async def stream(event, context):
        loops.append(asyncio.get_running_loop())
        yield str(len(set(map(id, loops))))
"""


def test_warm_functions_handlers_and_deferred_calls_share_one_loop() -> None:
    source = app(textwrap.dedent(ONE_LOOP))
    outcomes = execute(Run(source, (Event(), Event(b'"fail"'), Event())), OURS)[1:]
    assert outcomes[0].value == [2, 1, "asyncio"]
    assert outcomes[2].value == [6, 1, "asyncio"]
    assert execute(Run(source, (Event(),), handler="app.stream"), OURS)[1].requests[0].body == b"1"


def test_uvloop_is_used_where_the_function_ships_it() -> None:
    pytest.importorskip("uvloop")
    source = app(textwrap.dedent(ONE_LOOP))
    env = {"SAMOVAR_LOOP": "uvloop"}
    outcomes = execute(Run(source, (Event(), Event()), env=env), OURS)[1:]
    assert [outcome.value for outcome in outcomes] == [[2, 1, "uvloop"], [4, 1, "uvloop"]]
    streamed = execute(Run(source, (Event(),), handler="app.stream", env=env), OURS)[1]
    assert streamed.requests[0].body == b"1"


@pytest.mark.parametrize(
    ("value", "hidden", "error_type", "message"),
    [
        ("trio", False, "ValueError", "SAMOVAR_LOOP='trio': want uvloop, or nothing for Python's own event loop"),
        ("uvloop", True, "ImportError", "add uvloop to the function's packages"),
    ],
)
def test_another_loop_ends_init(value: str, hidden: bool, error_type: str, message: str) -> None:
    files = {
        **app("def handler(event, context): return 1\n"),
        **({"uvloop.py": "raise ImportError('x')"} if hidden else {}),
    }
    (init,) = execute(Run(files, env={"SAMOVAR_LOOP": value}), OURS)
    assert init.value["errorType"] == error_type
    assert message in init.value["errorMessage"]


def test_without_the_variable_python_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(posix.environ, b"SAMOVAR_LOOP", raising=False)
    aio.set_up()
    assert type(aio._event_loop).__module__.startswith("asyncio")
