"""With SAMOVAR_RESPONSE_MODE=stream an answer leaves as the application makes it."""

from __future__ import annotations

import asyncio
import json
import posix
import sys
import types
from collections.abc import Callable, Iterator
from time import time
from typing import Any
from wsgiref.validate import validator

import pytest

from samovar import aio, handler
from samovar.environment import environment
from samovar.response import Response
from tests.handler import events
from tests.invocations import begin, forget, invocation

# The validator complains in __del__ of an answer that was not closed.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")

Load = Callable[..., Callable[..., Any]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    module: Any = types.ModuleType("stream_code")
    monkeypatch.setitem(sys.modules, "stream_code", module)
    monkeypatch.setitem(posix.environ, b"SAMOVAR_RESPONSE_MODE", b"stream")
    monkeypatch.setattr(aio, "_event_loop", None)
    for name in ("after_response", "at_fork", "shutdown_hooks"):
        monkeypatch.setattr(environment, name, list(getattr(environment, name)))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def made(kind: str, app: Any) -> Callable[..., Any]:
        module.app = validator(app) if kind == "wsgi" else app
        handle = handler.load(f"{kind}:stream_code:app")

        def call(event: Any, context: Any = None) -> Any:
            given = invocation(event=json.dumps(event).encode())
            given.context = context
            return handle(given)

        return call

    yield made
    loop.close()
    asyncio.set_event_loop(None)


def after() -> None:
    for work in environment.after_response:
        work()


def head(chunk: bytes) -> Any:
    assert chunk.endswith(bytes(8))
    return json.loads(chunk[:-8])


def asgi(*parts: bytes, headers: Any = (), log: list[Any] | None = None, fails: bool = False) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            if log is not None:
                log.append(part)
        if fails:
            raise LookupError("no such order")
        await send({"type": "http.response.body"})
        if log is not None:
            log.append("after")

    return app


def test_each_message_is_a_chunk_and_the_application_waits_for_it_to_be_taken(load: Load) -> None:
    log: list[Any] = []
    response = load("asgi", asgi(b"a", b"", b"b", log=log))(events.function_url())
    assert isinstance(response, Response)
    assert response.content_type == "application/vnd.awslambda.http-integration-response"
    body: Any = response.body
    assert head(next(body)) == {"statusCode": 201, "headers": {}}
    assert (next(body), log) == (b"a", [])
    assert (next(body), log) == (b"b", [b"a", b""])
    assert list(body) == []
    assert log == [b"a", b"", b"b"]
    body.close()
    after()
    assert log[3:] == ["after"]


def test_every_chunk_is_bytes(load: Load) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        chunk = bytearray(b"one")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        chunk[:] = b"two"
        await send({"type": "http.response.body", "body": memoryview(b"abcd").cast("H")})

    _, *chunks = load("asgi", app_of_http(app))(events.function_url()).body
    assert [(type(chunk), chunk) for chunk in chunks] == [(bytes, b"one"), (bytes, b"abcd")]
    after()


HEADERS = [
    (b"Set-Cookie", b"a=1"),
    (b"set-cookie", b"b=2"),
    (b"Vary", b"a"),
    (b"vary", b"b"),
    (b"Content-Length", b"2"),
]


def test_the_prelude_has_the_form_of_its_source_without_what_is_the_platforms(load: Load) -> None:
    call = load("asgi", asgi(b"ab", headers=HEADERS))
    url, rest = (list(call(make()).body) for make in (events.function_url, events.rest_api))
    assert head(url[0]) == {"statusCode": 201, "headers": {"Vary": "a, b"}, "cookies": ["a=1", "b=2"]}
    assert head(rest[0]) == {
        "statusCode": 201,
        "headers": {},
        "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"], "Vary": ["a", "b"]},
    }
    after()


@pytest.mark.parametrize("name", ["http_api", "http_api_1", "alb", "alb_single", "lattice_v1", "lattice_v2"])
def test_a_source_that_cannot_stream_gets_a_buffered_answer(load: Load, name: str) -> None:
    for kind, app in (("asgi", asgi(b"a", b"b")), ("wsgi", wsgi(b"a", b"b"))):
        answer = load(kind, app)(events.EVENTS[name])
        assert json.loads(answer)["body"] == "ab"
        after()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_without_a_body_is_a_prelude_and_ends_at_once(load: Load, method: str) -> None:
    event = events.function_url()
    event["requestContext"]["http"]["method"] = method
    parts = (b"a", b"b") if method == "HEAD" else ()
    for kind, app in (("asgi", asgi(*parts)), ("wsgi", wsgi(*parts))):
        body = load(kind, app)(event).body
        (prelude,) = (chunk for chunk in body if chunk)
        assert head(prelude)["statusCode"] == 201
        body.close()
        after()


@pytest.mark.parametrize("headers", [[(b"x", b"a\r\nb: c")], [(b"x\n", b"a")], [(b"x", b"a" * 17000)]])
def test_a_header_that_could_split_the_prelude_is_a_500(load: Load, headers: Any) -> None:
    prelude, body = load("asgi", asgi(b"a", headers=headers))(events.function_url()).body
    assert (head(prelude)["statusCode"], body) == (500, b"Internal Server Error")
    after()


def test_a_failure_before_the_first_chunk_is_a_500(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    for kind, app in (("asgi", asgi(fails=True)), ("wsgi", wsgi(fails=True))):
        body = load(kind, app)(events.function_url()).body
        prelude, page = body
        assert (head(prelude)["statusCode"], page) == (500, b"Internal Server Error")
        body.close()
        after()
        assert "LookupError: The application failed: no such order" in capfd.readouterr().out


def test_a_failure_after_the_first_chunk_is_raised_to_the_sender(load: Load) -> None:
    for kind, app in (("asgi", asgi(b"a", fails=True)), ("wsgi", wsgi(b"a", fails=True))):
        body = load(kind, app)(events.function_url()).body
        assert [next(body)[-8:], next(body)] == [bytes(8), b"a"]
        with pytest.raises(LookupError, match="no such order"):
            next(body)
        body.close()
        after()


def test_an_application_whose_answer_is_taken_no_longer_gets_an_oserror(load: Load) -> None:
    raised: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"a", "more_body": True})
        except OSError as exc:
            raised.append(exc)
            assert scope["type"] == "http"
            await receive()
            assert (await receive())["type"] == "http.disconnect"
            raise

    body = load("asgi", app_of_http(app))(events.function_url()).body
    assert [next(body)[-8:], next(body), next(body)] == [bytes(8), b"a", b"a"]
    body.close()
    after()
    assert len(raised) == 1


def app_of_http(app: Any) -> Any:
    async def only(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await app(scope, receive, send)

    return only


def test_a_stream_that_stands_still_is_cancelled_before_the_time_out(load: Load) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await asyncio.sleep(3600)

    call = load("asgi", app_of_http(app))
    try:
        body = call(events.function_url(), begin(deadline_ms=str(int(time() * 1000) + 2000))).body
        assert [next(body)[-8:], next(body)] == [bytes(8), b"a"]
        with pytest.raises(TimeoutError, match="the invocation's time was nearly up"):
            next(body)
        body.close()
        after()
    finally:
        forget()


def wsgi(*parts: bytes, log: list[str] | None = None, fails: bool = False) -> Any:
    class Result:
        def __iter__(self) -> Iterator[bytes]:
            yield from parts
            if fails:
                raise LookupError("no such order")

        def close(self) -> None:
            if log is not None:
                log.append("closed")

    def app(environ: Any, start_response: Any) -> Any:
        start_response("201 Created", [("Content-Type", "text/plain")])(b"")
        return Result()

    return app


def test_a_wsgi_application_streams_its_blocks_and_is_closed(load: Load) -> None:
    log: list[str] = []
    body = load("wsgi", wsgi(b"", b"a", b"", b"b", log=log))(events.function_url()).body
    assert head(next(body)) == {"statusCode": 201, "headers": {"Content-Type": "text/plain"}}
    assert [chunk for chunk in body if chunk] == [b"a", b"b"]  # an empty one is not sent
    assert log == []
    body.close()
    assert log == ["closed"]


def test_what_is_written_comes_before_the_blocks_that_follow_it(load: Load) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"a")

        def blocks() -> Iterator[bytes]:
            yield b"b"
            write(b"c")
            write(b"d")
            yield b"e"
            write(b"f")

        return blocks()

    body = load("wsgi", app)(events.function_url()).body
    assert [chunk for chunk in body if chunk][1:] == [b"a", b"b", b"c", b"d", b"e", b"f"]
    body.close()
