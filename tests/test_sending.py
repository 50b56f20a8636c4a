"""A streamed response on its way: what a recording Runtime API gets and when, and that the generator is closed and the
next invocation works whatever became of it. On both transports where no trailers are meant.
"""

from __future__ import annotations

import base64
import gc
import json
import posix
import signal
import socket
import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from samovar import loop, sending
from samovar.environment import environment
from samovar.handler import function
from samovar.local.testing.scripted_api import Answer, Request, ScriptedRuntimeApi
from samovar.local.testing.scripted_api import invocation as event
from samovar.runtime_api import ApiError, RuntimeClient
from samovar.streaming import Head, stream
from tests import invocations
from tests.contract.harness import OURS, Event, Run, execute
from tests.contract.table import app

RESPONSE = "POST /2018-06-01/runtime/invocation/ID/response"
ERROR = "POST /2018-06-01/runtime/invocation/ID/error"
END = Answer(status=500)  # to /next: the environment ends
TYPE, BODY = "Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body"
PRELUDE = b'{"statusCode":201,"headers":{"X-A":"b"},"cookies":["c=1"]}' + bytes(8)


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "")  # put back afterwards
    yield
    invocations.forget()


@pytest.fixture(params=["wire", "urllib3"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the test's clients use each transport in turn."""
    monkeypatch.setitem(posix.environ, b"SAMOVAR_TRANSPORT", request.param.encode())


def serve(api: ScriptedRuntimeApi, handler: Callable[[Any, Any], Any]) -> list[Request]:
    """Serve what is scripted, which ends with END, and return what was posted."""
    with pytest.raises(ApiError, match="status 500"):
        loop.serve(RuntimeClient(api.address), function.adapt(handler))
    return api.posted()


class Closing:
    """A handler that streams in the form named, and remembers how often its generator was left.

    Its items are those of the event; "raise" raises, "forever" goes on without an end.
    """

    def __init__(self, form: str = "generator") -> None:
        self.form = form
        self.closed = 0

    def __call__(self, event: Any, context: Any) -> Any:
        return getattr(self, self.form)(event)

    def generator(self, event: Any) -> Iterator[bytes]:
        try:
            for item in event:
                if item == "raise":
                    raise ValueError("midway")
                while item == "forever":
                    yield b"x" * 1000
                yield item.encode()
        finally:
            self.closed += 1

    async def async_generator(self, event: Any) -> Any:
        import asyncio

        try:
            for item in event:
                await asyncio.sleep(0)
                if item == "raise":
                    raise ValueError("midway")
                while item == "forever":
                    yield b"x" * 1000
                yield item.encode()
        finally:
            await asyncio.sleep(0)
            self.closed += 1

    async def coroutine(self, event: Any) -> Any:
        return self.async_generator(event)


FORMS = "generator", "async_generator", "coroutine"


@pytest.fixture(params=FORMS)
def closing(request: pytest.FixtureRequest) -> Closing:
    return Closing(request.param)


def error_of(request: Request) -> dict[str, Any]:
    trailers = dict(request.trailers)
    error: dict[str, Any] = json.loads(base64.b64decode(trailers[BODY], validate=True))
    return error


# --- what is sent


def test_the_bytes_of_a_streamed_response() -> None:
    def handler(event: Any, context: Any) -> Iterator[Any]:
        yield Head(201, {"X-A": "b"}, ["c=1"])
        yield "h\xe9"
        yield b""
        yield b"\0" * 20

    with ScriptedRuntimeApi(event(b"1", "first"), END) as api:
        (request,) = serve(api, handler)
    head, _, body = request.raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /2018-06-01/runtime/invocation/first/response HTTP/1.1"
    assert lines[3:] == [
        "Content-Type: application/vnd.awslambda.http-integration-response",
        "Lambda-Runtime-Function-Response-Mode: streaming",
        f"Trailer: {TYPE}, {BODY}",
        "Transfer-Encoding: chunked",
    ]
    assert body == b"42\r\n" + PRELUDE + b"\r\n3\r\nh\xc3\xa9\r\n14\r\n" + b"\0" * 20 + b"\r\n0\r\n\r\n"


def test_without_a_head_a_stream_is_pure_bytes() -> None:
    with ScriptedRuntimeApi(event(["a", "b"], headers=[("Lambda-Runtime-Invocation-Id", "id")]), END) as api:
        (request,) = serve(api, Closing())
    assert request.header("Content-Type") == "application/octet-stream"
    assert request.header("Lambda-Runtime-Invocation-Id") == "id"
    assert (request.body, request.chunks, request.trailers) == (b"ab", (1, 1), ())


def test_every_chunk_is_sent_before_the_next_item_is_asked_for() -> None:
    arrived: list[bytes] = []
    came = threading.Semaphore(0)

    def on_chunk(chunk: bytes) -> None:
        arrived.append(chunk)
        came.release()

    def handler(event: Any, context: Any) -> Iterator[Any]:
        yield Head(201, {"X-A": "b"}, ["c=1"])
        for count in range(3):
            assert came.acquire(timeout=60)
            assert len(arrived) == count + 1
            yield str(count)

    with ScriptedRuntimeApi(event(), END, on_chunk=on_chunk) as api:
        (request,) = serve(api, handler)
    assert arrived == [PRELUDE, b"0", b"1", b"2"]
    assert request.complete
    assert not request.trailers


def test_head_and_prelude_are_one_send_and_each_chunk_another() -> None:
    """API Gateway cannot parse a prelude in pieces, and one with body bytes behind it is held back."""
    pieces: list[bytes] = []
    came = threading.Semaphore(0)

    def play(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer:
            while not pieces or not pieces[-1].endswith(b"0\r\n\r\n"):
                pieces.append(peer.recv(65536))
                came.release()
            peer.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")

    def items() -> Iterator[bytes]:
        yield b"a"
        assert came.acquire(timeout=60)
        yield b"b"
        assert came.acquire(timeout=60)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=play, args=(server,))
        thread.start()
        client = RuntimeClient(f"127.0.0.1:{server.getsockname()[1]}")
        response = function.adapt(lambda event, context: items())(invocations.invocation())
        sending.send(client, invocations.invocation(), response.body, "a/b")  # type: ignore[union-attr, arg-type]
        thread.join()
    assert pieces[0].startswith(b"POST ")
    assert pieces[0].endswith(b"\r\n\r\n1\r\na\r\n")
    assert pieces[1:] == [b"1\r\nb\r\n", b"0\r\n\r\n"]


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("status", [200, 204, 302, 304])
@pytest.mark.parametrize("form", ["head", "stream", "pure"])
def test_an_empty_body_sends_its_prelude_and_ends_at_once(status: int, form: str) -> None:
    def generator(event: Any, context: Any) -> Iterator[Any]:
        if form == "head":
            yield Head(status)

    handler = generator if form != "stream" else lambda event, context: stream([], status=status)
    with ScriptedRuntimeApi(event(), event(), END) as api:
        requests = serve(api, handler)
    expected = b"" if form == "pure" else b'{"statusCode":%d,"headers":{}}' % status + bytes(8)
    assert [(each.body, each.complete, each.trailers) for each in requests] == [(expected, True, ())] * 2


def test_the_connection_is_closed_after_the_response() -> None:
    with ScriptedRuntimeApi(event(["a"]), event(["b"]), END) as api:
        serve(api, Closing())
        assert [each.connection for each in api.requests] == [1, 1, 2, 2, 3]


@pytest.mark.usefixtures("transport")
def test_a_large_item_is_one_chunk() -> None:
    with ScriptedRuntimeApi(event(), END) as api:
        (request,) = serve(api, lambda event, context: iter([b"a" * 5_000_000, b"b"]))
    assert request.chunks == (5_000_000, 1)


def test_an_item_is_asked_for_only_when_the_socket_takes_it() -> None:
    """What is sent and not read is in the sockets' buffers, a few MB at most."""
    ahead: list[int] = []
    asked = 0

    def handler(event: Any, context: Any) -> Iterator[bytes]:
        nonlocal asked
        for asked in range(1, 101):  # noqa: B007
            yield b"x" * (1 << 20)

    with ScriptedRuntimeApi(event(), END, on_chunk=lambda chunk: ahead.append(asked - len(ahead))) as api:
        serve(api, handler)
    assert len(ahead) == 100
    assert max(ahead) < 50


def test_other_tasks_go_on_while_a_slow_reader_makes_an_async_stream_wait() -> None:
    release = threading.Event()

    async def handler(event: Any, context: Any) -> Any:
        import asyncio

        async def tick() -> None:
            for _ in range(100):
                await asyncio.sleep(0.001)
            release.set()  # only now the reader goes on, which the stream waits for

        task = asyncio.create_task(tick())
        for _ in range(40):
            yield b"x" * (1 << 20)
        await task

    def on_chunk(chunk: bytes) -> None:
        assert release.wait(60)

    with ScriptedRuntimeApi(event(), END, on_chunk=on_chunk) as api:
        (request,) = serve(api, handler)
    assert (len(request.body), request.complete) == (40 << 20, True)


# --- failures


@pytest.mark.usefixtures("transport")
def test_an_error_before_the_first_item_is_an_ordinary_one(
    closing: Closing, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedRuntimeApi(event(["raise"]), event(["b"]), END) as api:
        first, second = serve(api, closing)
    error = json.loads(first.body)
    assert (first.call, error["errorType"], error["errorMessage"]) == (ERROR, "ValueError", "midway")
    assert 'raise ValueError("midway")' in error["stackTrace"][-1]
    assert (second.call, second.body, closing.closed) == (RESPONSE, b"b", 2)
    assert capsys.readouterr().out.count("[ERROR] ValueError: midway") == 1


def test_an_error_after_it_goes_into_the_trailers_and_the_log(
    closing: Closing, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedRuntimeApi(event(["a", "raise"], "first"), event(["b"]), END) as api:
        first, second = serve(api, closing)
    assert (first.call, first.body, first.complete) == (RESPONSE, b"a", True)
    assert [name for name, _ in first.trailers] == [TYPE, BODY]
    assert dict(first.trailers)[TYPE] == "Function.ValueError"
    error = error_of(first)
    assert (error["errorType"], error["errorMessage"], error["requestId"]) == ("ValueError", "midway", "first")
    assert 'raise ValueError("midway")' in error["stackTrace"][-1]
    assert (second.body, second.trailers, closing.closed) == (b"b", (), 2)
    assert "[ERROR] ValueError: midway" in capsys.readouterr().out


def test_over_urllib3_the_response_ends_without_trailers(
    closing: Closing, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(posix.environ, b"SAMOVAR_TRANSPORT", b"urllib3")
    with ScriptedRuntimeApi(event(["a", "raise"]), event(["b"]), END) as api:
        first, second = serve(api, closing)
    assert (first.body, first.complete, first.trailers, first.header("Trailer")) == (b"a", True, (), None)
    assert (second.body, closing.closed) == (b"b", 2)
    assert "[ERROR] ValueError: midway" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"a": 1}, 'made of bytes and str, not of dict: to stream JSON, yield json.dumps(item) + "\\n"'),
        (bytearray(b"a"), "not of bytearray"),
        (None, "not of NoneType"),
        (1, "not of int"),
        (Head(), "a Head after the first item"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_item_of_another_kind_is_an_error_that_says_what_to_do(item: Any, message: str) -> None:
    with ScriptedRuntimeApi(event(), END) as api:
        (late,) = serve(api, lambda event, context: iter(["a", item]))
    assert message in error_of(late)["errorMessage"]
    if not isinstance(item, Head):
        with ScriptedRuntimeApi(event(), END) as api:
            (early,) = serve(api, lambda event, context: iter([item]))
        assert early.call == ERROR
        assert message in json.loads(early.body)["errorMessage"]


@pytest.mark.parametrize("message", ["x" * 100_000, "\U0001f600" * 20_000, "\ud800" * 20_000, "\r\n\r\n"])
@pytest.mark.parametrize("depth", [0, 400])
def test_trailers_fit_into_what_lambda_reads_of_them(message: str, depth: int) -> None:
    def fail(left: int) -> None:
        if left % 2:
            fail(left - 1)
        elif left:
            return fail(left - 1)
        raise ValueError(message)

    def handler(event: Any, context: Any) -> Iterator[bytes]:
        yield b"a"
        fail(depth)

    with ScriptedRuntimeApi(event(), END) as api:
        (request,) = serve(api, handler)
    assert len(b"".join(request.raw.rpartition(b"\r\n0\r\n")[2:])) < 4096
    error = error_of(request)
    assert error["errorType"] == "ValueError"
    assert error["errorMessage"].startswith(message[:10])


def test_a_type_that_is_no_ascii_stays_on_one_line() -> None:
    kind = type("Caf\xe9\r\nX", (Exception,), {})

    def handler(event: Any, context: Any) -> Iterator[bytes]:
        yield b"a"
        raise kind("x")

    with ScriptedRuntimeApi(event(), END) as api:
        (request,) = serve(api, handler)
    assert dict(request.trailers)[TYPE] == "Function.Caf???X"


# --- what the Runtime API does


REFUSED = {
    "413 midway": Answer(b"too large", 413, early=3),
    "413 at the end": Answer(b"too large", 413),
    "refused": Answer(b"no", 403),
    "refused at once": Answer(b"no", 403, early=1),
    "reset": Answer(raw=b"", close="reset", early=3),
    "closed": Answer(raw=b"", early=3),
    "no answer": Answer(raw=b""),
}


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("name", REFUSED)
def test_the_generator_is_closed_and_the_next_invocation_works_after(
    name: str, closing: Closing, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = REFUSED[name].early is not None
    with ScriptedRuntimeApi(event(["a", "b", "c", *["forever"] * endless]), event(["next"]), END) as api:
        api.override(RESPONSE, REFUSED[name])
        first, second = serve(api, closing)
    assert first.call == second.call == RESPONSE  # and no /error between them
    assert second.body == b"next"
    assert closing.closed == 2
    said = capsys.readouterr().out
    assert "The streamed response ended after " in said
    if REFUSED[name].status != 200 and posix.environ.get(b"SAMOVAR_TRANSPORT") == b"wire":
        assert f"status {REFUSED[name].status}" in said


def test_a_response_over_the_limit_of_a_buffered_one_is_refused_and_the_environment_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ScriptedRuntimeApi(event(), event(), END) as api:
        requests = serve(api, lambda event, context: iter([b"x" * 1_000_000] * 7))
    assert [each.call for each in requests] == [RESPONSE] * 2
    assert "after 7000000 bytes of its body" in (said := capsys.readouterr().out)
    assert "status 413" in said


def test_a_server_error_ends_the_environment_and_closes_the_generator(closing: Closing) -> None:
    with ScriptedRuntimeApi(event(["a", "forever"])) as api:
        api.override(RESPONSE, Answer(status=500, early=2))
        with pytest.raises(ApiError, match="/response: status 500"):
            loop.serve(RuntimeClient(api.address), function.adapt(closing))
    assert closing.closed == 1


@pytest.mark.usefixtures("transport")
def test_a_stream_without_end_ends_when_its_time_is_nearly_up(
    closing: Closing, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedRuntimeApi(event(["a", "forever"], timeout_ms=1000), event(["next"]), END) as api:
        first, second = serve(api, closing)
    if first.trailers:
        assert dict(first.trailers)[TYPE] == "Function.TimeoutError"
        assert "time was nearly up" in error_of(first)["errorMessage"]
    assert (first.complete, second.body, closing.closed) == (True, b"next", 2)
    assert "[ERROR] TimeoutError: " in capsys.readouterr().out


def test_a_stream_that_waits_is_cancelled_when_its_time_is_nearly_up() -> None:
    cleaned = []

    async def handler(event: Any, context: Any) -> Any:
        import asyncio

        try:
            yield b"a"
            await asyncio.sleep(600)
        finally:
            cleaned.append(True)

    with ScriptedRuntimeApi(event(timeout_ms=500), event(timeout_ms=500), END) as api:
        requests = serve(api, handler)
    for request in requests:
        assert "await asyncio.sleep(600)" in "".join(error_of(request)["stackTrace"])
        assert error_of(request)["errorType"] == "TimeoutError"
    assert cleaned == [True, True]


@pytest.mark.parametrize("hooks", [False, True])
@pytest.mark.parametrize("busy", ["generator", "async_generator", "sending", "caught"])
def test_sigterm_closes_the_generator_and_ends_the_process_as_before(busy: str, hooks: bool) -> None:
    source = f"""
        import asyncio, os, signal, sys, time
        import samovar

        if {hooks}:
            samovar.on_shutdown(lambda: print("hook"))

        def generator(event, context):
            try:
                yield b"a"
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(600)
            finally:
                print("closed")

        async def async_generator(event, context):
            try:
                yield b"a"
                asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
                await asyncio.sleep(600)
            finally:
                print("closed")

        def caught(event, context):
            while True:
                try:
                    yield b"a"
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(600)
                except BaseException:
                    print("closed")
                    yield b"b"
                    return

        def sending(event, context):
            def kill():
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGTERM)
            import threading
            threading.Thread(target=kill).start()
            try:
                while True:
                    yield b"x" * 1000
            finally:
                print("closed")
    """
    outcomes = execute(Run(app(textwrap.dedent(source)), (Event(),), handler=f"app.{busy}"), OURS)
    last = outcomes[-1]
    assert last.exit == -signal.SIGTERM
    assert last.stdout.decode().split() == ["closed", *["hook"] * hooks]
    (request,) = [each for each in last.requests if each.call == RESPONSE]
    assert not request.complete


def test_a_sigterm_handler_of_the_functions_own_is_left_alone() -> None:
    seen = []

    def handler(event: Any, context: Any) -> Iterator[bytes]:
        yield b"a"
        signal.raise_signal(signal.SIGTERM)
        yield b"b"

    before = signal.signal(signal.SIGTERM, lambda *args: seen.append(args))
    try:
        with ScriptedRuntimeApi(event(), END) as api:
            (request,) = serve(api, handler)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (request.body, request.complete, len(seen)) == (b"ab", True, 1)


def test_a_shutdown_hook_that_a_generator_adds_is_run() -> None:
    source = """
        import os, signal, samovar

        def handler(event, context):
            if event:
                os.kill(os.getpid(), signal.SIGTERM)
            samovar.on_shutdown(lambda: print("hook"))
            yield b"a"
    """
    last = execute(Run(app(textwrap.dedent(source)), (Event(b"0"), Event(b"1"))), OURS)[-1]
    assert (last.exit, last.stdout) == (-signal.SIGTERM, b"hook\n")


def test_after_a_stream_sigterm_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedRuntimeApi(event(["a"]), END) as api:
        before = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(environment, "sigterm", None)
        serve(api, Closing())
        assert signal.getsignal(signal.SIGTERM) == before


# --- what is left


@pytest.mark.parametrize("ends", ["whole", "raise"])
def test_nothing_of_a_streamed_invocation_stays_in_memory(ends: str, closing: Closing) -> None:
    class Kept(list[str]):
        pass

    seen: list[weakref.ref[Any]] = []
    alive: list[bool] = []

    def handler(event: Any, context: Any) -> Any:
        alive.extend(ref() is not None for ref in seen)
        kept = Kept(event)
        seen.append(weakref.ref(kept))
        return closing(kept, context)

    items = ["a", "b"] if ends == "whole" else ["a", "raise"]
    gc.collect()
    gc.disable()
    try:
        with ScriptedRuntimeApi(event(items), event(items), END) as api:
            serve(api, handler)
    finally:
        gc.enable()
    assert alive == [False]


def test_a_close_that_fails_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    def handler(event: Any, context: Any) -> Iterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            raise KeyError("in close")

    with ScriptedRuntimeApi(event(), event(), END) as api:
        api.override(RESPONSE, Answer(status=413, early=1))
        api.override(RESPONSE, Answer(status=413, early=1))
        assert len(serve(api, handler)) == 2
    assert capsys.readouterr().out.count("Closing what the response was streamed from failed") == 2


def test_a_child_that_a_generator_forks_sends_nothing() -> None:
    source = """
        import os

        def handler(event, context):
            yield b"a"
            if os.fork() == 0:
                yield b"child"
                os._exit(3)
            os.wait()
            yield b"parent"
    """
    outcome = execute(Run(app(textwrap.dedent(source))), OURS)[1]
    (request,) = outcome.requests
    assert request.body == b"aparent"


# --- agents


ATTACHED = """
    from awslambdaric.lambda_runtime_client import LambdaRuntimeClient

    original = LambdaRuntimeClient.post_invocation_result

    def replaced(self, invoke_id, result_data, content_type, *rest):
        print("before", result_data, content_type)
        if {fails}:
            raise ValueError("the agent")
        original(self, invoke_id, result_data, content_type, *rest)
        print("after")

    LambdaRuntimeClient.post_invocation_result = replaced

    def handler(event, context):
        yield b"a"
        print("streaming")
        yield b"b"
"""


@pytest.mark.parametrize("fails", [False, True])
def test_what_replaces_the_post_of_a_result_is_called_around_a_stream(fails: bool) -> None:
    source = textwrap.dedent(ATTACHED.format(fails=fails))
    outcomes = execute(Run(app(source), (Event(), Event())), OURS)[1:]
    assert [outcome.requests[0].chunks for outcome in outcomes] == [(1, 1), (1, 1)]
    for outcome in outcomes:
        lines = outcome.stdout.decode().splitlines()
        assert lines[0] == "before b'' application/octet-stream"
        if fails:
            logged = next(line for line in lines if line.startswith("[ERROR]"))
            assert "What replaces LambdaRuntimeClient.post_invocation_result failed" in logged
            assert lines.index("streaming") < lines.index(logged)
        else:
            assert lines[-2:] == ["streaming", "after"]


def test_what_replaces_the_event_handling_is_left_when_the_stream_has_ended() -> None:
    source = """
        from awslambdaric import bootstrap

        original = bootstrap.handle_event_request

        def replaced(*args, **kwargs):
            original(*args, **kwargs)
            print("after")

        bootstrap.handle_event_request = replaced

        def handler(event, context):
            yield b"a"
            print("streaming")
            if event:
                raise ValueError("midway")
    """
    whole, failed = execute(Run(app(textwrap.dedent(source)), (Event(b"0"), Event(b"1"))), OURS)[1:]
    assert whole.stdout.decode().split() == ["streaming", "after"]
    assert dict(failed.requests[0].trailers)[TYPE] == "Function.ValueError"
    assert failed.stdout.decode().splitlines()[-1] == "after"
