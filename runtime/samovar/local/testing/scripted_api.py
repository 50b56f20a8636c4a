"""A scripted Runtime API on loopback, for tests of a function and of a runtime.

    with ScriptedRuntimeApi() as api:
        api.push(invocation({"name": "Ada"}))
        runtime = subprocess.Popen(
            [sys.executable, "-m", "samovar", "app.handler"],
            env={**os.environ, "AWS_LAMBDA_RUNTIME_API": api.address},
        )
        api.wait(lambda requests: len(api.posted()) == 1)
        runtime.kill()
    assert json.loads(api.posted()[0].body) == {"message": "Hello, Ada!"}

The script is a queue of answers to GET /invocation/next. Every other call has a default answer, which can be
overridden: to GET /restore/next the default is that the environment has been restored. Each request is recorded as it
came. Once the script is exhausted, /next stays open, as on Lambda, until
something is pushed or the server closes.

Sockets are raw, so that a test controls each byte on the wire and each boundary between two sends: an `Answer` can be
cut short, split, held back, chunked, or not HTTP at all.

Does not know which runtime talks to it: AWS's client and Samovar get the same bytes.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Literal

RUNTIME = "/2018-06-01/runtime"
NEXT = f"GET {RUNTIME}/invocation/next"
EXTENSION = "/2020-01-01/extension"

RESPONSE_LIMIT = 6_291_556  # bytes; above it the RIE answers 413 and then refuses a following /error with 403

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:contract"
TRACE_ID = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"

_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    403: "Forbidden",
    413: "Payload Too Large",
    500: "Server Error",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int
    """The number of its connection, counted from 1."""
    at: int
    """time.perf_counter_ns() after its last byte was read."""
    chunks: tuple[int, ...] = ()
    """The sizes of its chunks, with Transfer-Encoding: chunked."""
    trailers: tuple[tuple[str, str], ...] = ()
    chunk_times: tuple[int, ...] = ()
    """time.perf_counter_ns() after the last byte of each chunk was read."""
    raw: bytes = b""
    """All bytes of a chunked request, as they came."""
    complete: bool = True
    """Whether its body came to its end."""

    def header(self, name: str) -> str | None:
        """Return the first header with this name, in any case, or None."""
        name = name.lower()
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def call(self) -> str:
        """Method and path, with ID for the request id: `POST /2018-06-01/runtime/invocation/ID/response`."""
        parts = self.path.split("/")
        if self.path.startswith(f"{RUNTIME}/invocation/") and len(parts) > 5:
            parts[4:-1] = ["ID"]
        return f"{self.method} {'/'.join(parts)}"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer and how it is sent. By default it is well-formed and goes out in one send."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None
    """Send exactly these bytes instead of an HTTP answer, then close the connection."""
    keep: bool = False
    """Do not close the connection after `raw`."""
    chunk: int = 0
    """Send chunks of this many bytes, with Transfer-Encoding: chunked; 0 sends Content-Length."""
    piece: int = 0
    """Bytes in each send; 0 sends everything at once."""
    cut: int | None = None
    """Send only this many bytes (negative: all but this many) of the whole answer, then close the connection."""
    close: Literal["", "announced", "silent", "reset"] = ""
    """Close the connection after the answer: announced by `Connection: close`, silently, or by a reset."""
    early: int | None = None
    """Answer a chunked request after this many of its chunks; the rest is not read, and the connection is closed."""
    case: Callable[[str], str] = str
    """A function applied to each header name."""
    hold: threading.Event | None = None
    """Wait for this event before answering."""

    def wire(self) -> bytes:
        """Return the bytes of this answer."""
        if self.raw is not None:
            return self.raw
        head = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Whatever')}"]
        head += [f"{self.case(name)}: {value}" for name, value in self.headers]
        if self.close == "announced":
            head.append(f"{self.case('Connection')}: close")
        if self.chunk:
            head.append(f"{self.case('Transfer-Encoding')}: chunked")
            pieces = [self.body[i : i + self.chunk] for i in range(0, len(self.body), self.chunk)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        else:
            head.append(f"{self.case('Content-Length')}: {len(self.body)}")
            body = self.body
        # A header's value is the bytes on the wire, decoded as Latin-1.
        return "\r\n".join((*head, "", "")).encode("latin-1") + body


def invocation(
    event: bytes | object = b"{}",
    request_id: str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    *,
    timeout_ms: int = 60_000,
    content_type: str | None = "application/json",
    headers: Iterable[tuple[str, str | None]] = (),
    **wire: Any,
) -> Answer:
    """Create an answer to /next: an event, with the headers that Lambda sends.

    Args:
        event: Bytes, which are sent as they are, or anything that json.dumps takes.
        request_id: The invocation's id.
        timeout_ms: The time from now to the deadline.
        content_type: The Content-Type, or None to send none.
        headers: Headers that replace those of the same name, or are added; the value None removes one.
        wire: Arguments for `Answer`.

    Returns:
        The answer, to be pushed.
    """
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    sent: dict[str, tuple[str, str | None]] = {}
    defaults: tuple[tuple[str, str | None], ...] = (
        ("Content-Type", content_type),
        ("Lambda-Runtime-Aws-Request-Id", request_id),
        ("Lambda-Runtime-Deadline-Ms", str(time.time_ns() // 1_000_000 + timeout_ms)),
        ("Lambda-Runtime-Invoked-Function-Arn", ARN),
        ("Lambda-Runtime-Trace-Id", TRACE_ID),
    )
    for name, value in (*defaults, *headers):
        sent[name.lower()] = name, value
    kept = tuple((name, value) for name, value in sent.values() if value is not None)
    return Answer(body, headers=kept, **wire)


_ACCEPTED = Answer(b'{"status":"OK"}\n', 202, (("Content-Type", "application/json"),))
_TOO_LARGE = Answer(
    b'{"errorType":"RequestEntityTooLarge","errorMessage":"Exceeded maximum allowed payload size"}\n', 413
)
_REFUSED = Answer(b'{"errorType":"InvalidStateTransition","errorMessage":"State transition is not allowed"}\n', 403)
_REGISTERED = Answer(
    b'{"functionName":"contract","functionVersion":"$LATEST","handler":"app.handler"}',
    headers=(("Lambda-Extension-Identifier", "3f6b9f3c-5b0c-4bd8-a2f2-2e0f5ce1b8c4"),),
)


class Closed(Exception):
    """The peer closed the connection, or the server is closing."""


@dataclass(slots=True)
class _Connection:
    """The reading half of one connection, with the bytes received and not yet used."""

    sock: socket.socket
    number: int
    data: bytearray = field(default_factory=bytearray)
    received: bytearray | None = None
    """All bytes that came since the head of a chunked request began, while there is one."""

    def more(self) -> None:
        got = self.sock.recv(65536)
        if not got:
            raise Closed
        self.data += got
        if self.received is not None:
            self.received += got

    def until(self, mark: bytes) -> bytes:
        start = 0
        while (end := self.data.find(mark, start)) < 0:
            start = max(0, len(self.data) - len(mark) + 1)
            self.more()
        taken = bytes(self.data[:end])
        del self.data[: end + len(mark)]
        return taken

    def exactly(self, size: int) -> bytes:
        if len(self.data) >= size:
            taken = bytes(self.data[:size])
            del self.data[:size]
            return taken
        body = bytearray(size)
        have = len(self.data)
        body[:have] = self.data
        self.data.clear()
        with memoryview(body) as view:
            while have < size:
                got = self.sock.recv_into(view[have:])
                if not got:
                    raise Closed
                if self.received is not None:
                    self.received += view[have : have + got]
                have += got
        return bytes(body)


class ScriptedRuntimeApi:
    """A Runtime API on a free loopback port, used as a context manager. Each connection has a thread.

    Args:
        script: The first answers to /next; `push` adds more.
        on_request: Called with each request before it is answered, in a thread of the server.
        on_chunk: Called with each chunk of a chunked request when it has come; until it returns no more is read.
        on_idle: Called when /next finds nothing queued, in a thread of the server.

    Attributes:
        requests: All requests so far.
        sent: time.perf_counter_ns() just before each answer to /next was sent.
        connections: The number of connections so far.
    """

    def __init__(
        self,
        *script: Answer,
        on_request: Callable[[Request], None] | None = None,
        on_chunk: Callable[[bytes], None] | None = None,
        on_idle: Callable[[], None] | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self.sent: list[int] = []
        self.connections = 0
        self._on_request = on_request
        self._on_chunk = on_chunk
        self._on_idle = on_idle
        self._next: SimpleQueue[Answer | None] = SimpleQueue()
        self._overrides: dict[str, deque[Answer]] = {}
        self._events: SimpleQueue[Answer | None] = SimpleQueue()
        self._too_large: set[str] = set()
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._closing = False
        self.push(*script)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def address(self) -> str:
        """The value for AWS_LAMBDA_RUNTIME_API, host:port."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def push(self, *answers: Answer) -> None:
        """Queue answers to /next."""
        for answer in answers:
            self._next.put(answer)

    def override(self, call: str, *answers: Answer) -> None:
        """Answer the next requests for one call with these, then with the default again.

        Args:
            call: The call, as `Request.call` has it.
            answers: One answer for each request.
        """
        self._overrides.setdefault(call, deque()).extend(answers)

    def shutdown_event(self) -> None:
        """Answer an extension's /event/next with SHUTDOWN."""
        self._events.put(Answer(b'{"eventType":"SHUTDOWN","shutdownReason":"spindown","deadlineMs":0}'))

    def posted(self) -> list[Request]:
        """Return the requests so far other than GET /next."""
        return [request for request in list(self.requests) if request.call != NEXT]

    def wait(self, done: Callable[[Sequence[Request]], bool], timeout: float = 60.0) -> None:
        """Wait until `done(requests)` is true.

        Raises:
            TimeoutError: It is not, after `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: done(self.requests), timeout):
                calls = [request.call for request in self.requests]
                raise TimeoutError(f"the condition is not met after {timeout} s; calls so far: {calls}")

    def __enter__(self) -> ScriptedRuntimeApi:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the listener and all connections, which a runtime in /next notices, and join the threads."""
        self._closing = True
        self._next.put(None)
        self._events.put(None)
        for sock in (self._listener, *list(self._open)):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # already closed
        self._listener.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(sock)
            if self._closing:  # `close` may not have seen it
                sock.close()
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(_Connection(sock, self.connections),), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: _Connection) -> None:
        sock = connection.sock
        try:
            while self._exchange(connection):
                pass
        except (Closed, OSError):
            pass  # the runtime ended or the server is closing; the test judges by the recorded requests
        finally:
            self._open.discard(sock)
            sock.close()

    def _read(self, connection: _Connection) -> Request:
        while not connection.data:
            connection.more()
        connection.received = bytearray(connection.data)
        head = connection.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:]))
        lower = {name.lower(): value for name, value in headers}
        if lower.get("expect", "").lower() == "100-continue":
            connection.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = Request(method, path, headers, b"", connection.number, 0)
        if lower.get("transfer-encoding", "").lower() == "chunked":
            return self._read_chunks(connection, request)
        connection.received = None
        body = connection.exactly(int(lower.get("content-length", 0)))
        return replace(request, body=body, at=time.perf_counter_ns())

    def _read_chunks(self, connection: _Connection, request: Request) -> Request:
        """Read a chunked body, as far as its answer wants it."""
        override = self._overrides.get(request.call)
        early = override[0].early if override else None
        pieces: list[bytes] = []
        times: list[int] = []
        trailers: list[tuple[str, str]] = []
        complete = False
        try:
            while len(pieces) != early and (size := int(connection.until(b"\r\n").partition(b";")[0], 16)):
                pieces.append(connection.exactly(size + 2)[:-2])
                times.append(time.perf_counter_ns())
                if self._on_chunk is not None:
                    self._on_chunk(pieces[-1])
            if len(pieces) != early:
                while line := connection.until(b"\r\n").decode("latin-1"):
                    name, _, value = line.partition(":")
                    trailers.append((name, value.strip()))
                complete = True
        except (Closed, OSError):
            pass
        raw, connection.received = bytes(connection.received or b""), None
        return replace(
            request,
            body=b"".join(pieces),
            at=time.perf_counter_ns(),
            chunks=tuple(map(len, pieces)),
            trailers=tuple(trailers),
            chunk_times=tuple(times),
            raw=raw[: len(raw) - len(connection.data)] if complete else raw,
            complete=complete,
        )

    def _choose(self, request: Request) -> Answer:
        call = request.call
        override = self._overrides.get(call)
        if override:
            return override.popleft()
        if call == NEXT:
            if self._on_idle is not None and self._next.empty():
                self._on_idle()
            return self._from(self._next)
        if call == f"GET {EXTENSION}/event/next":
            return self._from(self._events)
        if call == f"POST {EXTENSION}/register":
            return _REGISTERED
        if call == f"GET {RUNTIME}/restore/next":
            return Answer()
        if call == f"POST {RUNTIME}/invocation/ID/response" and len(request.body) > RESPONSE_LIMIT:
            self._too_large.add(request.path.rpartition("/")[0])
            return _TOO_LARGE
        if call == f"POST {RUNTIME}/invocation/ID/error" and request.path.rpartition("/")[0] in self._too_large:
            return _REFUSED
        return _ACCEPTED

    def _from(self, queue: SimpleQueue[Answer | None]) -> Answer:
        answer = queue.get()
        if answer is None or self._closing:
            queue.put(None)  # for the next who waits: connections may have come while the server closes
            raise Closed
        return answer

    def _exchange(self, connection: _Connection) -> bool:
        """Read one request and answer it; return False if the connection is to be closed."""
        request = self._read(connection)
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
        if self._on_request is not None:
            self._on_request(request)
        answer = self._choose(request)
        if answer.hold is not None:
            answer.hold.wait()
        wire = answer.wire()
        if answer.cut is not None:
            wire = wire[: answer.cut]
        if request.call == NEXT:
            self.sent.append(time.perf_counter_ns())
        for start in range(0, len(wire), answer.piece or len(wire) or 1):
            connection.sock.sendall(wire[start : start + answer.piece] if answer.piece else wire)
        if answer.close == "reset":
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return not answer.close and answer.early is None and answer.cut is None and (answer.raw is None or answer.keep)
