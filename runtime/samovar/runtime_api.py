"""The Runtime API, and the part of the Extensions API that a runtime needs: one method for each endpoint.

Knows the transports, and alone knows the names of the headers. Raises `ApiError`, which names the call and says what
came; never repeats a call that was answered. Knows nothing of handlers or the loop.
"""

import posix
from sys import version_info

from samovar import __version__
from samovar.invocation import Invocation
from samovar.wire import Connection, Gone, WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    from samovar.wire import Answer, Body

    StreamFailure = tuple[str, bytes] | None

    class Transport(Protocol):
        """Requests over one connection, one at a time. headers: lines that end in CRLF."""

        def request(self, method: str, path: str, headers: str, body: "bytes | None") -> "Answer": ...

        def stream(
            self,
            method: str,
            path: str,
            headers: str,
            chunks: Iterable[bytes],
            trailers: Callable[[], str],
            wait: Callable[[int], None] | None,
        ) -> Answer: ...

        def interrupt(self) -> None: ...


_RUNTIME = "/2018-06-01/runtime"
_NEXT = f"{_RUNTIME}/invocation/next"
_RESTORE = f"{_RUNTIME}/restore"
_EXTENSION = "/2020-01-01/extension"

# Headers of answers, in lower case as the transports give them.
_ID = "lambda-runtime-aws-request-id"
_ARN = "lambda-runtime-invoked-function-arn"
_CLIENT_CONTEXT = "lambda-runtime-client-context"
_DEADLINE = "lambda-runtime-deadline-ms"
_IDENTITY = "lambda-runtime-cognito-identity"
_INVOCATION_ID = "lambda-runtime-invocation-id"
_TENANT = "lambda-runtime-aws-tenant-id"
_TRACE = "lambda-runtime-trace-id"
_EXTENSION_ID = "lambda-extension-identifier"
# Header lines of requests.
_AGENT = "User-Agent: samovar/{}-python/{}.{}.{}\r\n".format(__version__, *version_info[:3])
_JSON = f"{_AGENT}Content-Type: application/json\r\n"
_CONTENT_TYPE = f"{_AGENT}Content-Type: %s\r\n"
_INVOCATION = "Lambda-Runtime-Invocation-Id: %s\r\n"
_ERROR_TYPE = "Lambda-Runtime-Function-Error-Type: %s\r\n"
_XRAY_CAUSE = "Lambda-Runtime-Function-XRay-Error-Cause: %s\r\n"
_ERROR_BODY = "Lambda-Runtime-Function-Error-Body: %s\r\n"
_STREAMED = (
    "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
    "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n"
)
_EXTENSION_NAME = "Lambda-Extension-Name: samovar\r\n"
_EXTENSION_IDENTIFIER = "Lambda-Extension-Identifier: %s\r\n"


class ApiError(Exception):
    """A call to the Runtime API that failed. status: the HTTP status, 0 where none came."""

    def __init__(self, call: str, status: int, reason: str) -> None:
        super().__init__(f"{call}: {reason}")
        self.status = status


class NotTaken(ApiError):
    """A response or an error that the Runtime API refused, or may not have taken.

    The environment goes on. A 5xx, which is a plain ApiError, ends it: "Container error. Non-recoverable state. Runtime
    should exit promptly." (developer guide, "Using the Lambda runtime API")
    """


class Ended(ApiError):
    """The Runtime API is gone while the environment waits for an event: whatever ran the environment has ended."""


class RuntimeClient:
    """A client of the Runtime API over one connection. address: host:port, from AWS_LAMBDA_RUNTIME_API."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._transport = _transport(address)

    def next(self) -> Invocation:
        """Wait for the next event and return its invocation. The event may be overwritten by the next call.

        Raises Ended where the Runtime API has gone.
        """
        try:
            status, headers, body = self._transport.request("GET", _NEXT, _AGENT, None)
        except Gone as exc:
            raise Ended(f"GET {_NEXT}", 0, str(exc)) from None
        except WireError as exc:
            raise ApiError(f"GET {_NEXT}", 0, str(exc)) from None
        if status != 200:
            raise ApiError(f"GET {_NEXT}", status, _unexpected(status, 200, body))
        get = headers.get
        invocation = Invocation()
        invocation.id = get(_ID, "")
        if not invocation.id:
            raise ApiError(f"GET {_NEXT}", status, "the answer has no request id")
        invocation.event = body
        invocation.content_type = get("content-type")
        invocation.deadline_ms = get(_DEADLINE)
        invocation.arn = get(_ARN)
        invocation.trace_id = get(_TRACE)
        invocation.client_context = get(_CLIENT_CONTEXT)
        invocation.identity = get(_IDENTITY)
        invocation.tenant_id = get(_TENANT)
        invocation.invocation_id = get(_INVOCATION_ID)
        invocation.context = None
        return invocation

    def respond(self, invocation: Invocation, body: bytes, content_type: "str | None" = None) -> None:
        """Post a response. content_type: None where the body is JSON.

        Raises NotTaken, with status 413 when the body is over 6,291,556 bytes; ApiError at a 5xx.
        """
        headers = _JSON if content_type is None else _CONTENT_TYPE % content_type
        if invocation.invocation_id:
            headers += _INVOCATION % invocation.invocation_id
        self._post(f"{_RUNTIME}/invocation/{_segment(invocation.id)}/response", headers, body)

    def stream(
        self,
        invocation: Invocation,
        chunks: "Iterable[bytes]",
        content_type: str,
        failed: "Callable[[], StreamFailure]",
        wait: "Callable[[int], None] | None",
    ) -> None:
        """Post a response a chunk at a time; the connection is closed after it ("Building a custom runtime").

        failed: called after the last chunk; the error type and the error JSON where the body has failed, which go into
        the trailers. wait: as for `Connection.stream`.

        Raises NotTaken, also in the middle; ApiError at a 5xx.
        """

        def trailers() -> str:
            failure = failed()
            if failure is None:
                return ""
            from binascii import b2a_base64

            error_type, error = failure
            encoded = b2a_base64(error, newline=False).decode("ascii")
            return _ERROR_TYPE % _printable(error_type) + _ERROR_BODY % encoded

        headers = _CONTENT_TYPE % content_type + _STREAMED
        if invocation.invocation_id:
            headers += _INVOCATION % invocation.invocation_id
        path = f"{_RUNTIME}/invocation/{_segment(invocation.id)}/response"
        try:
            status, _, answer = self._transport.stream("POST", path, headers, chunks, trailers, wait)
        except WireError as exc:
            raise NotTaken(f"POST {path}", 0, str(exc)) from None
        _check_taken(path, status, answer)

    def fail(self, invocation: Invocation, body: bytes, error_type: str, xray_cause: bytes) -> None:
        """Post the error of an invocation. body: the error JSON; xray_cause: JSON in ASCII, or empty."""
        headers = _JSON + _ERROR_TYPE % _printable(error_type)
        if xray_cause:
            headers += _XRAY_CAUSE % xray_cause.decode("ascii")
        if invocation.invocation_id:
            headers += _INVOCATION % invocation.invocation_id
        self._post(f"{_RUNTIME}/invocation/{_segment(invocation.id)}/error", headers, body)

    def fail_init(self, body: bytes, error_type: str) -> None:
        """Post the error that ended INIT. body: the error JSON."""
        self._post(f"{_RUNTIME}/init/error", _JSON + _ERROR_TYPE % _printable(error_type), body)

    def restore_next(self) -> None:
        """Say that a snapshot may be taken, and return in an environment that was restored from it.

        Over a connection of its own: none that was open at the snapshot is used after it. Raises Ended where the
        Runtime API has gone.
        """
        call = f"GET {_RESTORE}/next"
        connection = Connection(self._address)
        try:
            status, _, body = connection.request("GET", f"{_RESTORE}/next", _AGENT, None)
        except Gone as exc:
            raise Ended(call, 0, str(exc)) from None
        except WireError as exc:
            raise ApiError(call, 0, str(exc)) from None
        finally:
            connection.close()
        if status != 200:
            raise ApiError(call, status, _unexpected(status, 200, body))

    def fail_restore(self, body: bytes, error_type: str) -> None:
        """Post the error that ended an environment after its restore. body: the error JSON."""
        self._post(f"{_RESTORE}/error", _JSON + _ERROR_TYPE % _printable(error_type), body)

    def register_extension(self) -> None:
        """Register as an internal extension without events, which makes Lambda send SIGTERM before SIGKILL.

        An extension is ready only once it has asked for its next event ("Extensions API"). The connection on which it
        waits for that stays open until the environment ends, over a snapshot too: an extension asks once.
        """
        path = f"{_EXTENSION}/register"
        self._extension = connection = Connection(self._address)
        try:
            status, headers, body = connection.request("POST", path, _JSON + _EXTENSION_NAME, b'{"events":[]}')
            if not 200 <= status < 300:
                raise ApiError(f"POST {path}", status, _unexpected(status, 200, body))
            identifier = headers.get(_EXTENSION_ID)
            if not identifier:
                raise ApiError(f"POST {path}", status, "the answer has no Lambda-Extension-Identifier")
            connection.send_only("GET", f"{_EXTENSION}/event/next", _AGENT + _EXTENSION_IDENTIFIER % identifier)
        except WireError as exc:
            raise ApiError(f"POST {path}", 0, str(exc)) from None

    def stop_waiting(self) -> None:
        """Have the call of `next` fail that waits in another thread."""
        self._transport.interrupt()

    def disown(self) -> None:
        """Give up the connection in a child that the function forked: it is the parent's, and every call fails here."""
        self._transport = _Disowned()

    def _post(self, path: str, headers: str, body: bytes) -> None:
        try:
            status, _, answer = self._transport.request("POST", path, headers, body)
        except WireError as exc:
            raise NotTaken(f"POST {path}", 0, str(exc)) from None
        _check_taken(path, status, answer)


def _check_taken(path: str, status: int, answer: "Body") -> None:
    if not 200 <= status < 300:
        refusal = ApiError if status >= 500 else NotTaken
        raise refusal(f"POST {path}", status, _unexpected(status, 202, answer))


def _transport(address: str) -> "Transport":
    """Return the transport that `SAMOVAR_TRANSPORT` chooses. Raises ValueError, which names the variable."""
    choice = posix.environ.get(b"SAMOVAR_TRANSPORT", b"")
    if choice not in (b"", b"wire", b"urllib3"):
        raise ValueError(f"SAMOVAR_TRANSPORT={choice.decode()!r}: want urllib3, or nothing for the built-in transport")
    transport: Callable[[str], Transport] = Connection
    if choice == b"urllib3":
        try:
            from samovar.transport_urllib3 import Urllib3Transport as transport
        except ImportError as exc:
            raise ValueError(f"SAMOVAR_TRANSPORT=urllib3: {exc}") from None
    try:
        return transport(address)
    except ValueError as exc:
        raise ValueError(f"AWS_LAMBDA_RUNTIME_API: {exc}") from None


class _Disowned:
    """The transport of a forked child: refuses every request."""

    def request(self, *request: object) -> "Answer":
        raise WireError("this is a process that the function forked; events and responses belong to its parent")

    stream = request

    def interrupt(self) -> None:
        pass


def _segment(request_id: str) -> str:
    """Return a request id as one segment of a path, percent-encoded where necessary."""
    if request_id.isascii() and request_id.replace("-", "").isalnum():
        return request_id
    segment = ""
    for byte in request_id.encode("utf-8", "surrogateescape"):
        char = chr(byte)
        segment += char if char.isascii() and (char.isalnum() or char in "-._~") else f"%{byte:02X}"
    return segment if segment.strip(".") else segment.replace(".", "%2E")


def _printable(value: str) -> str:
    """Return value for a header, with '?' for characters that are not printable ASCII: class names may have them."""
    return "".join(c if " " <= c <= "~" else "?" for c in value)


def _unexpected(status: int, wanted: int, body: "Body") -> str:
    return f"status {status} where {wanted} was expected: {bytes(body[:200])!r}"
