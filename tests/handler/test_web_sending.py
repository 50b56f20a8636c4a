"""A web application's stream on its way: what a recording Runtime API gets and when, and that the application is left
and the next request works whatever became of it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import posix
import signal
import socket
import sys
import textwrap
import threading
import time
import types
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any
from wsgiref.validate import validator

import pytest

from samovar import aio, handler, loop, wire
from samovar.environment import environment
from samovar.local.testing.scripted_api import Answer, Request, ScriptedRuntimeApi, invocation
from samovar.runtime_api import ApiError, RuntimeClient
from tests import invocations
from tests.contract.harness import OURS, Event, Run, execute
from tests.contract.table import app as module
from tests.handler import events

# The validator complains in __del__ of an answer that was not closed.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")

RESPONSE = "POST /2018-06-01/runtime/invocation/ID/response"
TYPE, BODY = "Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body"
REQUEST_ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"  # the scripted API's own
END = Answer(status=500)  # to /next: the environment ends
KINDS = "asgi", "wsgi"
PRELUDE = b'{"statusCode":201,"headers":{"Content-Type":"text/plain"}}' + bytes(8)
PAGE = b"Internal Server Error"
FAILED = b'{"statusCode":500,"headers":{"content-type":"text/plain; charset=utf-8"}}' + bytes(8) + PAGE


def event(path: str = "/whole", method: str = "GET", **wire: Any) -> Answer:
    """An event of a Function URL, which asks the applications below for what its path says."""
    sent = events.function_url(rawPath=path, body=None)
    sent["requestContext"]["http"]["method"] = method
    return invocation(sent, **wire)


class Served:
    """An application of either kind, and the handler that serves it. Its paths say where it fails.

    log: "left" each time that it has been left. before_chunk: called before each chunk but the first, and at the end.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.log: list[str] = []
        self.before_chunk: Callable[[], object] = lambda: None

    def chunks(self, path: str) -> Iterator[bytes]:
        if path == "/start":
            raise LookupError("no such order")
        yield b"one"
        self.before_chunk()
        if path == "/midway":
            raise LookupError("no such order")
        while path == "/endless":
            yield b"x" * 1000
        yield b"two"
        self.before_chunk()

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        path = scope["path"]
        if path == "/before":
            raise LookupError("no such order")
        try:
            await send(
                {"type": "http.response.start", "status": 201, "headers": [(b"Content-Type", b"text/plain")]},
            )
            for chunk in self.chunks(path):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})
            if path == "/end":
                raise LookupError("no such order")
        finally:
            self.log.append("left")

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == "/before":
            raise LookupError("no such order")
        start_response("201 Created", [("Content-Type", "text/plain")])
        served = self

        class Result:
            def __iter__(self) -> Iterator[bytes]:
                return served.chunks(path)

            def close(self) -> None:
                served.log.append("left")
                if path == "/end":
                    raise LookupError("no such order")

        return Result()


@pytest.fixture(params=KINDS)
def served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    made = Served(request.param)
    code: Any = types.ModuleType("sent_code")
    code.app = made.asgi if made.kind == "asgi" else validator(made.wsgi)
    monkeypatch.setitem(sys.modules, "sent_code", code)
    monkeypatch.setitem(posix.environ, b"SAMOVAR_RESPONSE_MODE", b"stream")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "")  # put back afterwards
    monkeypatch.setattr(aio, "_event_loop", None)
    for name in ("after_response", "at_fork", "shutdown_hooks"):
        monkeypatch.setattr(environment, name, list(getattr(environment, name)))
    event_loop = asyncio.new_event_loop()
    asyncio.set_event_loop(event_loop)
    yield made
    invocations.forget()
    assert not asyncio.all_tasks(event_loop)
    event_loop.close()
    asyncio.set_event_loop(None)


def serve(api: ScriptedRuntimeApi, served: Served) -> list[Request]:
    """Serve what is scripted, which ends with END, and return what was posted."""
    handle = handler.load(f"{served.kind}:sent_code:app")
    with pytest.raises(ApiError, match="status 500"):
        loop.serve(RuntimeClient(api.address), handle)
    return api.posted()


def error_of(request: Request) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(base64.b64decode(dict(request.trailers)[BODY], validate=True))
    return error


# --- what is sent


def test_the_bytes_of_a_streamed_answer(served: Served) -> None:
    with ScriptedRuntimeApi(event(request_id="first"), END) as api:
        (request,) = serve(api, served)
    head, _, body = request.raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /2018-06-01/runtime/invocation/first/response HTTP/1.1"
    assert lines[3:] == [
        "Content-Type: application/vnd.awslambda.http-integration-response",
        "Lambda-Runtime-Function-Response-Mode: streaming",
        f"Trailer: {TYPE}, {BODY}",
        "Transfer-Encoding: chunked",
    ]
    assert body == b"%x\r\n%b\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n" % (len(PRELUDE), PRELUDE)


def test_every_chunk_has_arrived_before_the_application_makes_the_next(served: Served) -> None:
    arrived: list[bytes] = []
    came = threading.Semaphore(0)
    seen: list[list[bytes]] = []

    def on_chunk(chunk: bytes) -> None:
        arrived.append(chunk)
        came.release()

    def before_chunk() -> None:
        assert came.acquire(timeout=60)
        while len(arrived) < len(seen) + 2:
            assert came.acquire(timeout=60)
        seen.append(list(arrived))

    served.before_chunk = before_chunk
    with ScriptedRuntimeApi(event(), END, on_chunk=on_chunk) as api:
        (request,) = serve(api, served)
    assert seen == [[PRELUDE, b"one"], [PRELUDE, b"one", b"two"]]
    assert list(request.chunk_times) == sorted(request.chunk_times)


def test_the_prelude_is_one_send_and_the_first_chunk_another(served: Served) -> None:
    """API Gateway cannot parse a prelude in pieces, and one with body bytes behind it is held back."""
    pieces: list[bytes] = []

    class Recorded:
        """A socket that notes what each call sends."""

        def __init__(self, sock: Any) -> None:
            self.sock = sock

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

        def sendmsg(self, buffers: Any, *rest: Any) -> Any:
            pieces.append(b"".join(buffers))
            return self.sock.sendmsg(buffers, *rest)

        def sendall(self, data: Any) -> Any:
            pieces.append(bytes(data))
            return self.sock.sendall(data)

    class Connection(wire.Connection):
        def _connect(self) -> Any:
            sock: Any = Recorded(super()._connect())
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            self._sock = sock
            return sock

    with ScriptedRuntimeApi(event(), END) as api:
        client = RuntimeClient(api.address)
        client._transport = Connection(api.address)
        with pytest.raises(ApiError, match="status 500"):
            loop.serve(client, handler.load(f"{served.kind}:sent_code:app"))
    first = next(at for at, piece in enumerate(pieces) if piece.startswith(b"POST "))
    assert pieces[first].endswith(b"\r\n\r\n%x\r\n%b\r\n" % (len(PRELUDE), PRELUDE))
    assert pieces[first + 1 : first + 4] == [b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"]


@pytest.mark.parametrize("status", [200, 204, 302, 304])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_without_a_body_is_its_prelude_and_the_last_chunk(
    served: Served, status: int, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty streamed body hangs at a Function URL where nothing of it, or no end, is sent."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": status})
            await send({"type": "http.response.body", "body": b"x" if method == "HEAD" else b""})

    def wsgi(environ: Any, start_response: Any) -> Any:
        start_response(f"{status} As It Is", [] if status in (204, 304) else [("Content-Type", "text/plain")])
        return [b"x" if method == "HEAD" else b""]

    code = sys.modules["sent_code"]
    monkeypatch.setattr(code, "app", asgi if served.kind == "asgi" else validator(wsgi))
    with ScriptedRuntimeApi(event(method=method), event(method=method), END) as api:
        requests = serve(api, served)
    for request in requests:
        prelude, nuls, body = request.body.partition(bytes(8))
        assert (json.loads(prelude)["statusCode"], nuls, body) == (status, bytes(8), b"")
        assert (len(request.chunks), request.complete, request.trailers) == (1, True, ())


def test_work_after_the_last_chunk_delays_no_client(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    journal: list[str] = []
    came = threading.Event()

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"a"})
            assert came.wait(60)  # for the end of the body
            journal.append("work")

    class Result(list[bytes]):
        def close(self) -> None:
            assert came.wait(60)
            journal.append("work")

    def wsgi(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Result([b"a"])

    def on_request(request: Request) -> None:
        journal.append(request.call.rpartition("/")[2])
        if request.call == RESPONSE:
            came.set()

    monkeypatch.setattr(sys.modules["sent_code"], "app", asgi if served.kind == "asgi" else validator(wsgi))
    with ScriptedRuntimeApi(event(), END, on_request=on_request) as api:
        serve(api, served)
    assert journal == ["next", "response", "work", "next"]


FORGED = {
    "x-amzn-request-context": "{}",
    "x-amzn-lambda-context": "{}",
    "aws.context": "x",
    "lambda-runtime-trace-id": "x",
}


def test_a_header_cannot_pass_for_the_event_or_the_context(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append((scope["aws.event"], scope["aws.context"], dict(scope["headers"])))
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

    def wsgi(environ: Any, start_response: Any) -> Any:
        headers = {key.encode(): environ[f"HTTP_{key.upper().replace('-', '_')}"].encode() for key in FORGED}
        seen.append((environ["aws.event"], environ["aws.context"], headers))
        assert threading.current_thread() is threading.main_thread()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    monkeypatch.setattr(sys.modules["sent_code"], "app", asgi if served.kind == "asgi" else validator(wsgi))
    sent = events.function_url(headers=FORGED, cookies=None)
    with ScriptedRuntimeApi(invocation(sent, "first"), END) as api:
        serve(api, served)
    ((event, context, headers),) = seen
    assert (event, context.aws_request_id) == (sent, "first")
    assert headers == {name.encode(): value.encode() for name, value in FORGED.items()}


# --- failures


@pytest.mark.parametrize("path", ["/before", "/start"])
def test_an_error_before_the_first_chunk_is_a_500_and_the_next_request_works(
    served: Served, path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with ScriptedRuntimeApi(event(path), event(), END) as api:
        first, second = serve(api, served)
    assert (first.call, first.body, first.complete, first.trailers) == (RESPONSE, FAILED, True, ())
    assert (second.call, second.body) == (RESPONSE, PRELUDE + b"onetwo")
    logged = f"LookupError: The application failed (RequestId: {REQUEST_ID}): no such order"
    assert capfd.readouterr().out.count(logged) == 1
    assert served.log == ["left"] * (1 if path == "/before" else 2)


def test_an_error_midway_goes_into_the_trailers_and_the_log_and_the_next_request_works(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    with ScriptedRuntimeApi(event("/midway", request_id="first"), event(), END) as api:
        first, second = serve(api, served)
    assert (first.call, first.body, first.complete) == (RESPONSE, PRELUDE + b"one", True)
    assert first.raw.count(b"no such order") == 0  # the trailers are base64: a line break in one would cut the response
    assert dict(first.trailers)[TYPE] == "Function.LookupError"
    error = error_of(first)
    assert (error["errorType"], error["errorMessage"], error["requestId"]) == ("LookupError", "no such order", "first")
    assert 'raise LookupError("no such order")' in error["stackTrace"][-1]
    assert (second.body, second.trailers) == (PRELUDE + b"onetwo", ())
    assert capfd.readouterr().out.count("[ERROR] LookupError: no such order") == 1
    assert served.log == ["left", "left"]


def test_an_error_after_the_end_is_only_logged_and_the_next_request_works(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    """In WSGI that is one in close()."""
    with ScriptedRuntimeApi(event("/end", request_id="first"), event(), END) as api:
        first, second = serve(api, served)
    assert [request.call for request in (first, second)] == [RESPONSE] * 2
    assert [request.body for request in (first, second)] == [PRELUDE + b"onetwo"] * 2
    assert [(request.complete, request.trailers) for request in (first, second)] == [(True, ())] * 2
    (line,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("[ERROR]")]
    for said in ("LookupError", "no such order", "RequestId: first"):
        assert said in line
    assert served.log == ["left", "left"]


def test_an_error_that_wants_to_replace_what_has_been_sent_goes_into_the_trailers(monkeypatch: Any, capfd: Any) -> None:
    """PEP 3333: start_response with exc_info raises it again once the headers are sent."""

    def wsgi(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"half"
        try:
            raise LookupError("no such order")
        except LookupError:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")], sys.exc_info())
        yield b"never"

    code: Any = types.ModuleType("replacing_code")
    code.app = validator(wsgi)
    monkeypatch.setitem(sys.modules, "replacing_code", code)
    monkeypatch.setitem(posix.environ, b"SAMOVAR_RESPONSE_MODE", b"stream")
    monkeypatch.setattr(environment, "after_response", [])
    monkeypatch.setattr(environment, "at_fork", [])
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "")
    with ScriptedRuntimeApi(event(), END) as api:
        with pytest.raises(ApiError, match="status 500"):
            loop.serve(RuntimeClient(api.address), handler.load("wsgi:replacing_code:app"))
        (request,) = api.posted()
    invocations.forget()
    assert request.body.endswith(bytes(8) + b"half")
    assert error_of(request)["errorMessage"] == "no such order"
    assert "[ERROR] LookupError: no such order" in capfd.readouterr().out


REFUSED = {
    "413 midway": Answer(b"too large", 413, early=4),
    "413 at the end": Answer(b"too large", 413),
    "refused": Answer(b"no", 403),
    "refused at once": Answer(b"no", 403, early=1),
    "reset": Answer(raw=b"", close="reset", early=4),
    "closed": Answer(raw=b"", early=4),
    "no answer": Answer(raw=b""),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("transport", ["wire", "urllib3"])
def test_the_application_is_left_and_the_next_request_works_after(
    name: str, transport: str, served: Served, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(posix.environ, b"SAMOVAR_TRANSPORT", transport.encode())
    endless = REFUSED[name].early is not None
    with ScriptedRuntimeApi(event("/endless" if endless else "/whole"), event(), END) as api:
        api.override(RESPONSE, REFUSED[name])
        first, second = serve(api, served)
    assert first.call == second.call == RESPONSE  # and no /error between them
    assert second.body == PRELUDE + b"onetwo"
    assert served.log == ["left", "left"]
    said = capfd.readouterr().out
    assert "The streamed response ended after " in said
    if REFUSED[name].status != 200 and transport == "wire":
        assert f"status {REFUSED[name].status}" in said


def test_an_answer_over_the_limit_of_a_caller_that_does_not_stream_is_refused_and_the_next_request_works(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    large = iter([b"x" * 7_000_000])
    served.chunks = lambda path: (next(large, b"one") for _ in range(1))  # type: ignore[method-assign]
    with ScriptedRuntimeApi(event(), event(), END) as api:
        first, second = serve(api, served)
    assert (len(first.body), second.body) == (len(PRELUDE) + 7_000_000, PRELUDE + b"one")
    assert "status 413" in capfd.readouterr().out


def test_an_application_that_never_ends_is_ended_before_the_time_out_and_the_next_request_works(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    with ScriptedRuntimeApi(event("/endless", timeout_ms=1000), event(), END) as api:
        first, second = serve(api, served)
    assert dict(first.trailers)[TYPE] == "Function.TimeoutError"
    assert "time was nearly up" in error_of(first)["errorMessage"]
    assert (first.complete, second.body, served.log) == (True, PRELUDE + b"onetwo", ["left", "left"])
    assert capfd.readouterr().out.count("[ERROR] TimeoutError: ") == 1


@pytest.mark.parametrize("served", ["wsgi"], indirect=True)
def test_an_application_whose_blocks_are_empty_without_end_is_ended_before_the_time_out(served: Served) -> None:
    served.chunks = lambda path: chain([b"one"], repeat(b"")) if path == "/empty" else iter([b"two"])  # type: ignore[method-assign]
    with ScriptedRuntimeApi(event("/empty", timeout_ms=1000), event(), END) as api:
        first, second = serve(api, served)
    assert (first.body, dict(first.trailers)[TYPE]) == (PRELUDE + b"one", "Function.TimeoutError")
    assert (second.body, served.log) == (PRELUDE + b"two", ["left", "left"])


def test_a_buffered_answer_that_never_ends_fails_the_invocation_before_the_time_out_and_the_next_request_works(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it never waits, so that nothing can be cancelled."""

    def slowly(path: str) -> Iterator[bytes]:
        for chunk in chunks(path):
            time.sleep(0.001)  # or it would fill the memory
            yield chunk

    monkeypatch.setitem(posix.environ, b"SAMOVAR_RESPONSE_MODE", b"")
    chunks, served.chunks = served.chunks, slowly  # type: ignore[method-assign]
    with ScriptedRuntimeApi(event("/endless", timeout_ms=500), event(), END) as api:
        first, second = serve(api, served)
    error = json.loads(first.body)
    assert (first.call.rpartition("/")[2], error["errorType"]) == ("error", "TimeoutError")
    assert "time was nearly up" in error["errorMessage"]
    assert (json.loads(second.body)["body"], served.log) == ("onetwo", ["left", "left"])


def test_the_answer_to_head_of_an_application_that_never_ends_has_its_prelude_and_ends_before_the_time_out(
    served: Served,
) -> None:
    with ScriptedRuntimeApi(event("/endless", "HEAD", timeout_ms=1000), event(), END) as api:
        first, second = serve(api, served)
    assert (first.body, dict(first.trailers)[TYPE]) == (PRELUDE, "Function.TimeoutError")
    assert (second.body, served.log) == (PRELUDE + b"onetwo", ["left", "left"])


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("served", ["asgi"], indirect=True)
def test_an_application_that_waits_for_ever_is_cancelled_before_the_time_out_and_the_next_request_works(
    served: Served, begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] == "/whole":
            return await served.asgi(scope, receive, send)
        try:
            if begun:
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": b"a", "more_body": True})
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0)
            served.log.append("cleaned")

    monkeypatch.setattr(sys.modules["sent_code"], "app", asgi)
    with ScriptedRuntimeApi(event("/waits", timeout_ms=1000), event(), END) as api:
        first, second = serve(api, served)
    assert first.call.rpartition("/")[2] == ("response" if begun else "error")
    error = error_of(first) if begun else json.loads(first.body)
    assert (error["errorType"], "time was nearly up" in error["errorMessage"]) == ("TimeoutError", True)
    assert (second.body, served.log) == (PRELUDE + b"onetwo", ["cleaned", "left"])


@pytest.mark.parametrize("served", ["asgi"], indirect=True)
@pytest.mark.parametrize("mode", [b"stream", b"buffered"])
@pytest.mark.parametrize("begun", [False, True])
def test_an_application_that_answers_its_cancellation_ends_too(
    served: Served, begun: bool, mode: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] == "/whole":
            return await served.asgi(scope, receive, send)
        await send({"type": "http.response.start", "status": 200})
        if begun:
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            try:
                await send({"type": "http.response.body", "body": b"out of time", "more_body": True})
                await send({"type": "http.response.body"})
            finally:
                served.log.append("left")

    monkeypatch.setattr(sys.modules["sent_code"], "app", asgi)
    monkeypatch.setitem(posix.environ, b"SAMOVAR_RESPONSE_MODE", mode)
    with ScriptedRuntimeApi(event("/waits", timeout_ms=500), event(), END) as api:
        first, second = serve(api, served)
    error = error_of(first) if begun and mode == b"stream" else json.loads(first.body)
    assert error["errorType"] == "TimeoutError"
    assert (second.call, served.log) == (RESPONSE, ["left", "left"])


# --- SIGTERM

TERMINATED = """
    import asyncio, os, signal, time
    from wsgiref.validate import validator

    import samovar


    if "HOOKS" in os.environ and os.environ["_HANDLER"].startswith("wsgi"):
        samovar.on_shutdown(lambda: print("shutdown"))


    def terminate():
        os.kill(os.getpid(), signal.SIGTERM)


    def later():
        import threading

        threading.Timer(0.2, terminate).start()


    def http(application):
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                if "HOOKS" not in os.environ:
                    raise NotImplementedError
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                print("shutdown")
                await send({"type": "lifespan.shutdown.complete"})
                return

            async def chunk(data):
                await send({"type": "http.response.body", "body": data, "more_body": True})

            await send({"type": "http.response.start", "status": 200})
            await chunk(b"a")
            try:
                await application(chunk)
            finally:
                print("closed")

        return app


    @http
    async def waits(chunk):
        asyncio.get_running_loop().call_soon(terminate)
        await asyncio.sleep(600)


    @http
    async def computes(chunk):
        terminate()
        time.sleep(600)


    @http
    async def in_a_task(chunk):
        async def other():
            terminate()
            await asyncio.sleep(600)

        async with asyncio.TaskGroup() as group:
            group.create_task(other())
            await asyncio.sleep(600)


    @http
    async def sends(chunk):
        later()
        while True:
            await chunk(b"x" * 1000)


    @http
    async def catches(chunk):
        asyncio.get_running_loop().call_soon(terminate)
        try:
            await asyncio.sleep(600)
        except BaseException:
            while True:
                await chunk(b"b")


    def wsgi(blocks):
        class Result:
            def __iter__(self):
                yield b"a"
                yield from blocks()

            def close(self):
                print("closed")

        def app(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return Result()

        return validator(app)


    @wsgi
    def blocks_wait():
        terminate()
        time.sleep(600)
        yield b"never"


    @wsgi
    def blocks_are_sent():
        later()
        while True:
            yield b"x" * 1000


    @wsgi
    def blocks_catch():
        try:
            terminate()
            time.sleep(600)
        except BaseException:
            yield b"b"
"""


@pytest.mark.parametrize("hooks_too", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "asgi:app:waits",
        "asgi:app:computes",
        "asgi:app:in_a_task",
        "asgi:app:sends",
        "asgi:app:catches",
        "wsgi:app:blocks_wait",
        "wsgi:app:blocks_are_sent",
        "wsgi:app:blocks_catch",
    ],
)
def test_sigterm_midway_ends_the_application_and_then_the_environment(name: str, hooks_too: bool) -> None:
    env = {"SAMOVAR_RESPONSE_MODE": "stream", **({"HOOKS": "1"} if hooks_too else {})}
    sent = events.function_url(body=None)
    run = Run(module(textwrap.dedent(TERMINATED)), (Event(json.dumps(sent).encode()),), handler=name, env=env)
    last = execute(run, OURS)[-1]
    assert last.exit == -signal.SIGTERM
    assert last.stdout.decode().split() == ["closed", *["shutdown"] * hooks_too]
    (request,) = [each for each in last.requests if each.call == RESPONSE]
    assert request.body.startswith(b'{"statusCode":200')
    assert not request.complete
