"""asgi-lifespan and sse-starlette as they are. tests/attach/test_starlette.py runs this where they are installed."""

from __future__ import annotations

import asyncio
import base64
import json
import posix
import sys
import types
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgi_lifespan import LifespanManager, LifespanNotSupported
from event_client import lambda_environment  # noqa: F401, an autouse fixture
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from samovar import handler, hooks, loop
from samovar.environment import environment
from samovar.errors import Fault
from samovar.local.testing.scripted_api import Answer, ScriptedRuntimeApi, invocation
from samovar.runtime_api import ApiError, RuntimeClient

RESPONSE = "POST /2018-06-01/runtime/invocation/ID/response"
END = Answer(status=500)  # to /next: the environment ends
EVENT = {
    "rawPath": "/events",
    "requestContext": {"domainName": "abc.lambda-url.eu-west-1.on.aws", "http": {"method": "GET"}},
}
HEAD = {**EVENT, "requestContext": {**EVENT["requestContext"], "http": {"method": "HEAD"}}}  # type: ignore[dict-item]


# --- asgi-lifespan


async def refuses(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"


async def answers_anything(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})


def starlette(fails: str) -> Starlette:
    class Lifespan:
        def __init__(self, app: Any) -> None:
            pass

        async def __aenter__(self) -> dict[str, Any]:
            if fails == "start-up":
                raise LookupError
            return {"pool": "open"}

        async def __aexit__(self, *exc_info: object) -> None:
            if fails == "shutdown":
                raise LookupError

    return Starlette(lifespan=Lifespan)


APPLICATIONS = {
    "whole": starlette(""),
    "start-up fails": starlette("start-up"),
    "shutdown fails": starlette("shutdown"),
    "refuses": refuses,
    "answers anything": answers_anything,
}


class Spied:
    """An application, and the messages of its lifespan."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.journal: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def received() -> Any:
            message = await receive()
            self.journal.append(message["type"])
            return message

        async def sent(message: Any) -> None:
            await send(message)
            self.journal.append(message["type"])

        await self.app(scope, received, sent)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_lifespan_has_the_order_that_asgi_lifespan_gives_it(
    name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = Spied(APPLICATIONS[name]), Spied(APPLICATIONS[name])

    async def managed() -> None:
        try:
            async with LifespanManager(theirs):
                theirs.journal.append("serving")
        except LifespanNotSupported:
            theirs.journal.append("serving")
        except LookupError:
            theirs.journal.append("failed")

    with asyncio.Runner() as runner:
        runner.run(managed())
    asyncio.set_event_loop(asyncio.new_event_loop())
    try:
        load(ours, monkeypatch)
        ours.journal.append("serving")
        hooks.shut_down()
    except (LookupError, Fault):
        ours.journal.append("failed")
    if "The application's shutdown failed" in capfd.readouterr().out:
        ours.journal.append("failed")
    assert ours.journal == theirs.journal
    assert "serving" in ours.journal or name == "start-up fails"


# --- sse-starlette


def load(app: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    code: Any = types.ModuleType("packages_code")
    code.app = app
    monkeypatch.setitem(sys.modules, "packages_code", code)
    monkeypatch.setitem(posix.environ, b"SAMOVAR_RESPONSE_MODE", b"stream")
    return handler.load("asgi:packages_code:app")


class Source:
    """Server-sent events: three, or without an end. left: how often the generator has been left."""

    def __init__(self, *, endless: bool) -> None:
        self.endless = endless
        self.begun = self.left = 0
        self.app = Starlette(routes=[Route("/events", self.respond)])

    async def respond(self, request: Request) -> EventSourceResponse:
        return EventSourceResponse(self.events())

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        self.begun += 1
        try:
            number = 0
            while self.endless or number < 3:
                await asyncio.sleep(0)
                yield {"data": number}
                number += 1
        finally:
            self.left += 1


def serve(
    source: Source, monkeypatch: pytest.MonkeyPatch, *script: Answer, override: Answer | None = None
) -> list[Any]:
    with ScriptedRuntimeApi(*script, END) as api:
        if override is not None:
            api.override(RESPONSE, override)
        runtime = RuntimeClient(api.address)
        with pytest.raises(ApiError, match="/next: status 500"):
            loop.serve(runtime, load(source.app, monkeypatch))
        runtime._transport.close()  # type: ignore[attr-defined]
        environment.invocation = None
        return api.posted()


def test_each_event_is_a_chunk_and_none_is_lost_to_a_disconnect_that_has_not_come(monkeypatch: Any) -> None:
    source = Source(endless=False)
    for request in serve(source, monkeypatch, invocation(EVENT), invocation(EVENT)):
        head, _, body = request.body.partition(bytes(8))
        assert json.loads(head)["headers"]["content-type"].startswith("text/event-stream")
        assert body == b"data: 0\r\n\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n"
        assert (request.chunks[1:], request.complete, request.trailers) == ((11, 11, 11), True, ())
    assert (source.begun, source.left) == (2, 2)


def test_head_of_an_endless_source_is_answered_and_starts_nothing(monkeypatch: Any) -> None:
    source = Source(endless=True)
    for request in serve(source, monkeypatch, invocation(HEAD), invocation(HEAD)):
        assert request.body.endswith(bytes(8))
        assert (len(request.chunks), request.complete) == (1, True)
    assert source.begun == 0


@pytest.mark.parametrize("kind", ["reset", "closed", "413"])
def test_an_endless_source_is_left_when_its_stream_is_taken_no_longer(kind: str, monkeypatch: Any, capfd: Any) -> None:
    override = {
        "reset": Answer(raw=b"", close="reset", early=5),
        "closed": Answer(raw=b"", early=5),
        "413": Answer(b"too large", 413, early=5),
    }[kind]
    source = Source(endless=True)
    first, head = serve(source, monkeypatch, invocation(EVENT), invocation(HEAD), override=override)
    assert b"data: 3\r\n\r\n" in first.body
    assert (head.complete, source.begun, source.left) == (True, 1, 1)
    assert "The streamed response ended after " in capfd.readouterr().out


def test_an_endless_source_ends_before_the_time_out(monkeypatch: Any) -> None:
    source = Source(endless=True)
    first, head = serve(source, monkeypatch, invocation(EVENT, timeout_ms=1000), invocation(HEAD))
    trailers = dict(first.trailers)
    assert trailers["Lambda-Runtime-Function-Error-Type"] == "Function.TimeoutError"
    assert b"time was nearly up" in base64.b64decode(trailers["Lambda-Runtime-Function-Error-Body"])
    assert (first.complete, head.complete, source.begun, source.left) == (True, True, 1, 1)
