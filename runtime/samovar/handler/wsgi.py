"""`wsgi:module:application`: a WSGI application (PEP 3333) answers HTTP events.

It runs in the thread that serves the invocation. `close()` of what it returns is called once its response is posted.
Knows the event sources; knows neither the Runtime API nor the loop.
"""

import posix
import sys
from _io import BytesIO
from _thread import get_ident
from time import time

from samovar import logs
from samovar.deadline import stop_time
from samovar.environment import environment
from samovar.errors import is_failure
from samovar.handler import web
from samovar.handler.sources.http import Answer, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from samovar.handler import Handle
    from samovar.handler.sources.http import Request
    from samovar.handler.web import Prelude, Streamed
    from samovar.invocation import Invocation

_MULTIPROCESS = b"AWS_LAMBDA_MAX_CONCURRENCY" in posix.environ and (
    posix.environ.get(b"AWS_LAMBDA_CONCURRENCY_MODE") != b"thread"
)  # as `concurrency` has it


def load(rest: str) -> "Handle":
    """Return the application that `module:application` names, as a handler. Raises Fault as `function.find` does."""
    application, other = web.find("wsgi", rest)
    closing: dict[int, Callable[[], object]] = {}  # by thread: of the result whose response it is posting

    def call(request: "Request", event: "dict[str, Any]", invocation: "Invocation") -> Answer:
        answering = _Answering()
        end = stop_time(invocation)
        late = False
        try:
            result = application(_environ(request, event, invocation), answering.start_response)
            if close := getattr(result, "close", None):
                closing[get_ident()] = close
            for block in result:
                if late:
                    break
                answering.write(block)
                late = time() >= end
            else:
                return answering.whole()
        except BaseException as exc:
            if not is_failure(exc):
                raise
            logs.exception("The application failed", exc)
            return failed()
        raise TimeoutError("the application was still answering when the invocation's time was nearly up")

    def finish() -> None:
        if close := closing.pop(get_ident(), None):
            try:
                close()
            except BaseException as exc:
                if not is_failure(exc):
                    raise
                logs.exception("The application failed after its response", exc)

    environment.after_response.insert(0, finish)  # before deferred calls
    environment.at_fork.append(closing.clear)
    return web.adapt(call, _stream(application) if web.streams() else None, "wsgi", other)


def _stream(application: "Any") -> "Streamed":
    def begin(request: "Request", event: "dict[str, Any]", invocation: "Invocation", prelude: "Prelude") -> _Blocks:
        blocks = _Blocks(prelude, request.method == "HEAD")
        try:
            blocks.begin(application, _environ(request, event, invocation))
        except BaseException as exc:
            if not is_failure(exc):
                raise
            logs.exception("The application failed", exc)
            blocks.fail(failed())
        return blocks

    return begin


class _Blocks:
    """A streamed answer: the prelude, then the blocks as the application gives them."""

    wait: "Callable[[int], None] | None" = None  # nothing else goes on while the socket takes no more

    def __init__(self, prelude: "Prelude", silent: bool) -> None:
        self.status = 0
        self._prelude = prelude
        self._silent = silent
        self._answering = _Answering()
        self._ready: list[bytes] = []  # to be sent before more is asked for
        self._blocks: Iterator[bytes] = iter(())
        self._close: Callable[[], object] | None = None

    def begin(self, application: "Any", environ: "dict[str, Any]") -> None:
        """Call the application, up to its first block that is not empty or its end."""
        result = application(environ, self._answering.start_response)
        self._close = getattr(result, "close", None)
        self._blocks = iter(result)
        for block in self._blocks:
            self._answering.write(block)
            if block:
                break
        answer = self._answering.whole()
        self._begin(answer)
        body = self._answering.taken()
        if not self._silent:
            self._ready += body

    def fail(self, answer: Answer) -> None:
        """Send this answer, and nothing of the application."""
        self._begin(answer)
        if not self._silent:
            self._ready.append(answer.body)
        self._blocks = iter(())

    def _begin(self, answer: Answer) -> None:
        self._ready = [self._prelude(answer.status, answer.headers)]
        self.status = answer.status

    def __iter__(self) -> "_Blocks":
        return self

    def __next__(self) -> bytes:
        if not self._ready:
            block = next(self._blocks, None)
            self._ready = self._answering.taken()  # what it has written before that block, or at its end
            if self._silent:
                self._ready.clear()
            if block is None and not self._ready:
                raise StopIteration
            # An empty one is no chunk. It is passed on, as the sender looks at the time between two.
            self._ready.append(block if block and not self._silent else b"")
        return self._ready.pop(0)

    def close(self) -> None:
        if self._close is not None:
            close, self._close = self._close, None
            close()


def _environ(request: "Request", event: "dict[str, Any]", invocation: "Invocation") -> "dict[str, Any]":
    root = request.root_path
    environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": root.encode().decode("latin-1"),
        "PATH_INFO": request.path[len(root.encode()) :].decode("latin-1"),
        "QUERY_STRING": request.query.decode("latin-1"),
        "CONTENT_LENGTH": str(len(request.body)),
        "SERVER_NAME": request.host,
        "SERVER_PORT": str(request.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": request.client or "",
        "RAW_URI": (request.raw_path + (b"?" + request.query if request.query else b"")).decode("latin-1"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": environment.shared,
        "wsgi.multiprocess": _MULTIPROCESS,
        "wsgi.run_once": False,
        "aws.event": event,
        "aws.context": invocation.context,
    }
    for name, value in request.headers:
        if b"_" in name or name == b"content-length":  # x_user must not pass for X-User; the length is the body's
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        if key != "CONTENT_TYPE":
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


class _Answering:
    """What the application gives, until it is an answer."""

    __slots__ = ("_body", "_headers", "_sent", "_status")

    def __init__(self) -> None:
        self._status: str | None = None
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._sent = False  # status and headers

    def start_response(
        self, status: str, headers: "list[tuple[str, str]]", exc_info: "Any" = None
    ) -> "Callable[[bytes], None]":
        if exc_info:
            try:
                if self._body or self._sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # a circle with this frame
        elif self._status is not None:
            raise AssertionError("start_response was called twice without exc_info")
        self._status, self._headers = status, headers
        return self.write

    def write(self, block: bytes) -> None:
        if block:
            if self._status is None:
                raise AssertionError("the application gave a body before it called start_response")
            self._body.append(block)

    def taken(self) -> "list[bytes]":
        """Return the body so far that has not been taken."""
        body, self._body = self._body, []
        return body

    def whole(self) -> Answer:
        if self._status is None:
            raise AssertionError("the application did not call start_response")
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._headers]
        self._sent = True
        return Answer(int(self._status[:3]), headers, b"".join(self._body))
