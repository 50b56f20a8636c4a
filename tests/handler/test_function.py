"""A handler string becomes one callable; a coroutine function keeps one event loop for the life of the environment."""

import asyncio
import functools
import json
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from samovar import aio, handler
from samovar.errors import Fault, is_failure
from samovar.report import Report
from tests.invocations import invocation


@pytest.fixture
def module() -> Iterator[Any]:
    module = types.ModuleType("user_code")
    sys.modules["user_code"] = module
    yield module
    del sys.modules["user_code"]


def called(name: str) -> Any:
    """The handler as the loop calls it, with values for JSON."""
    handle = handler.load(name)

    def call(event: Any) -> Any:
        response = handle(invocation(event=json.dumps(event).encode()))
        assert isinstance(response, bytes)
        return json.loads(response)

    return call


def test_a_function_is_called_directly(module: Any) -> None:
    module.handler = lambda event, context: [event, context, sys._getframe(1).f_code.co_name]
    assert called("user_code.handler")("event") == ["event", None, "handle"]


class Service:
    async def __call__(self, event: Any, context: Any) -> Any:
        return [event, id(asyncio.get_running_loop())]

    async def method(self, event: Any, context: Any) -> Any:
        return await self(event, context)


@pytest.mark.parametrize("name", ["function", "instance", "method", "partial", "nested_partial", "decorated"])
def test_coroutine_functions_of_all_kinds_share_one_loop(module: Any, name: str) -> None:
    service = Service()

    async def function(event: Any, context: Any) -> Any:
        return await service(event, context)

    module.function = function
    module.instance = service
    module.method = service.method
    module.partial = functools.partial(lambda f, event, context: f(event, context), function)
    module.nested_partial = functools.partial(functools.partial(service.method))
    module.decorated = lambda *args: function(*args)
    call = called(f"user_code.{name}")
    first, second = call(1), call(2)
    assert (first[0], second[0]) == (1, 2)
    assert first[1] == second[1]


def test_a_loop_of_the_functions_own_is_used_while_it_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def running() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    monkeypatch.setattr(aio, "_event_loop", None)
    theirs = asyncio.new_event_loop()
    asyncio.set_event_loop(theirs)
    try:
        assert aio.run(running()) is theirs
        theirs.close()
        ours = aio.run(running())
        assert ours is not theirs
        assert aio.run(running()) is ours
        ours.close()
    finally:
        theirs.close()
        asyncio.set_event_loop(None)


def test_a_cancelled_handler_has_failed_like_any_other(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def function(event: Any, context: Any) -> Any:
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel("because")
        await task

    monkeypatch.setattr(aio, "_event_loop", None)
    module.handler = function
    with pytest.raises(asyncio.CancelledError, match="because") as caught:
        called("user_code.handler")({})
    assert is_failure(caught.value)
    trace = caught.tb
    while trace.tb_frame.f_code.co_filename == __file__ and trace.tb_next is not None:  # this file's own frames
        trace = trace.tb_next
    report = Report(caught.value.with_traceback(trace), "id").error
    assert report["errorType"] == "CancelledError"
    assert "in function" in report["stackTrace"][0]
    assert aio._event_loop is not None
    aio._event_loop.close()


def test_what_a_coroutine_started_lives_on(module: Any) -> None:
    state: dict[str, Any] = {}

    async def function(event: Any, context: Any) -> Any:
        if "task" not in state:
            state["event"] = asyncio.Event()
            state["task"] = asyncio.create_task(state["event"].wait())
            return "started"
        state["event"].set()
        return await state["task"]

    module.handler = function
    call = called("user_code.handler")
    assert [call({}), call({})] == ["started", True]


@pytest.mark.parametrize(
    ("name", "error_type", "message"),
    [
        (
            "nodot",
            "Runtime.MalformedHandlerName",
            "Bad handler 'nodot': not enough values to unpack (expected 2, got 1)",
        ),
        ("sys.exit", "Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"),
        ("no_such.f", "Runtime.ImportModuleError", "Unable to import module 'no_such': No module named 'no_such'"),
        ("user_code.f", "Runtime.HandlerNotFound", "Handler 'f' missing on module 'user_code'"),
    ],
)
def test_what_cannot_be_found(module: Any, name: str, error_type: str, message: str) -> None:
    with pytest.raises(Fault) as caught:
        handler.load(name)
    assert (caught.value.error_type, caught.value.message) == (error_type, message)
