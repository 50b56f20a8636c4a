"""SAMOVAR_ERROR_STATUSES: the statuses with which an answer is a failure of the invocation."""

from __future__ import annotations

import asyncio
import json
import posix
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest

from samovar import aio, handler, loop
from samovar.environment import environment
from samovar.local.testing.scripted_api import Answer, Request, ScriptedRuntimeApi
from samovar.local.testing.scripted_api import invocation as event
from samovar.runtime_api import ApiError, RuntimeClient
from tests import invocations
from tests.handler import events

# The validator complains in __del__ of an answer that was not closed.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")

RESPONSE = "POST /2018-06-01/runtime/invocation/ID/response"
ERROR = "POST /2018-06-01/runtime/invocation/ID/error"
END = Answer(status=500)  # to /next: the environment ends

Serve = Callable[..., list[Request]]


class Applications:
    """Both kinds: they answer with the status that the path says, in two parts; /raises raises."""

    def __init__(self) -> None:
        self.left: list[str] = []

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        status = self.status(scope["path"])
        try:
            await send({"type": "http.response.start", "status": status})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
            await send({"type": "http.response.body", "body": b"b"})
        finally:
            self.left.append(str(status))

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        status = self.status(environ["PATH_INFO"])
        start_response(f"{status} As It Is", [("Content-Type", "text/plain")])
        left = self.left

        class Result:
            def __iter__(self) -> Iterator[bytes]:
                yield b"a"
                yield b"b"

            def close(self) -> None:
                left.append(str(status))

        return Result()

    def status(self, path: str) -> int:
        if path == "/raises":
            raise LookupError("no such order")
        return int(path[1:])


@pytest.fixture(params=["asgi buffered", "asgi stream", "wsgi buffered", "wsgi stream"])
def applications(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Applications, str]]:
    kind, mode = request.param.split()
    made = Applications()
    code: Any = types.ModuleType("status_code")
    code.app = made.asgi if kind == "asgi" else validator(made.wsgi)
    monkeypatch.setitem(sys.modules, "status_code", code)
    monkeypatch.setitem(posix.environ, b"SAMOVAR_RESPONSE_MODE", mode.encode())
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "")
    monkeypatch.setattr(aio, "_event_loop", None)
    for name in ("after_response", "at_fork", "shutdown_hooks"):
        monkeypatch.setattr(environment, name, list(getattr(environment, name)))
    event_loop = asyncio.new_event_loop()
    asyncio.set_event_loop(event_loop)
    yield made, f"{kind}:status_code:app"
    invocations.forget()
    assert not asyncio.all_tasks(event_loop)
    event_loop.close()
    asyncio.set_event_loop(None)


def serve(name: str, *paths: str) -> list[Request]:
    sent = [event(events.function_url(rawPath=path)) for path in paths]
    with ScriptedRuntimeApi(*sent, END) as api:
        with pytest.raises(ApiError, match="status 500"):
            loop.serve(RuntimeClient(api.address), handler.load(name))
        return api.posted()


def test_an_answer_with_such_a_status_fails_the_invocation_and_the_next_request_works(
    applications: tuple[Applications, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(posix.environ, b"SAMOVAR_ERROR_STATUSES", b"418, 500,502-504")
    made, name = applications
    paths = ("/500", "/501", "/503", "/504", "/505", "/418", "/200")
    requests = serve(name, *paths)
    assert [request.call == ERROR for request in requests] == [True, False, True, True, False, True, False]
    error = json.loads(requests[2].body)
    assert (error["errorType"], error["errorMessage"]) == (
        "Function.ErrorStatus",
        "The application answered with status 503, which SAMOVAR_ERROR_STATUSES makes a failure",
    )
    assert made.left == [path[1:] for path in paths]
    assert capfd.readouterr().out.count("[ERROR] Function.ErrorStatus: ") == 4


def test_an_exception_is_a_500_that_fails_the_invocation_and_its_stack_is_in_the_log(
    applications: tuple[Applications, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(posix.environ, b"SAMOVAR_ERROR_STATUSES", b"500-599")
    _, name = applications
    failed, whole = serve(name, "/raises", "/200")
    assert (failed.call, whole.call) == (ERROR, RESPONSE)
    said = capfd.readouterr().out
    assert "LookupError: The application failed" in said
    assert 'raise LookupError("no such order")' in said


@pytest.mark.parametrize("value", [b"", None])
def test_without_the_setting_every_answer_is_a_response(
    value: bytes | None, applications: tuple[Applications, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setitem(posix.environ, b"SAMOVAR_ERROR_STATUSES", value)
    _, name = applications
    assert [request.call for request in serve(name, "/500", "/raises", "/404")] == [RESPONSE] * 3


@pytest.mark.parametrize(
    "value", ["5xx", "500-", "-500", "599-500", "99", "600", "500;501", "500,", "500-1-599", "٥٠٠"]
)
def test_a_value_that_is_none_fails_init_in_one_line(
    value: str, applications: tuple[Applications, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(posix.environ, b"SAMOVAR_ERROR_STATUSES", value.encode())
    with pytest.raises(ValueError) as caught:
        handler.load(applications[1])
    assert str(caught.value) == (
        f"SAMOVAR_ERROR_STATUSES={value!r}: want statuses from 100 to 599 and ranges of them, as 500,502-504"
    )
