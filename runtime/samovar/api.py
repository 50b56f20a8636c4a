"""The Runtime API and the one call of the Extensions API that a runtime makes: a method an endpoint, nothing else.

Knows the wire. Raises `ApiError` naming the call and what came; never retries what was answered.
"""

import posix
from sys import version_info

from samovar import __version__
from samovar.wire import Connection, WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from samovar.wire import Answer, Body, Transport

_RUNTIME = "/2018-06-01/runtime"
_EXTENSION = "/2020-01-01/extension"
_AGENT = "samovar/{}-python/{}.{}.{}".format(__version__, *version_info[:3])


class ApiError(Exception):
    """A call to the Runtime API that did not end as it must. status: the HTTP status, 0 where none came."""

    def __init__(self, call: str, status: int, what: str) -> None:
        super().__init__(f"{call}: {what}")
        self.status = status


class NotTaken(ApiError):
    """A result or an error that was refused, or of which it is not known whether it was taken. The environment can go
    on; after a 5xx, which is a plain ApiError, it cannot ("Container error. Non-recoverable state. Runtime should exit
    promptly.").
    """


class RuntimeApi:
    """One client over one connection. address: host:port, from AWS_LAMBDA_RUNTIME_API."""

    def __init__(self, address: str) -> None:
        self._address = address
        choice = posix.environ.get(b"SAMOVAR_TRANSPORT", b"")
        self._exchange = None
        if choice == b"urllib3":
            from samovar.transport_urllib3 import Urllib3Transport

            self._transport: Transport = Urllib3Transport(address)
        elif choice in (b"", b"wire"):
            self._transport = connection = Connection(address)
            self._exchange = connection.exchange
            common = f" HTTP/1.1\r\nHost: {address}\r\nUser-Agent: {_AGENT}\r\n"
            self._next_head = f"GET {_RUNTIME}/invocation/next{common}\r\n".encode()
            self._response_end = f"{common}Content-Type: application/json\r\nContent-Length: "
        else:
            raise ValueError(
                f"SAMOVAR_TRANSPORT={choice.decode()!r}: want urllib3, or nothing for the built-in transport"
            )

    def next(self) -> "tuple[str, dict[str, str], Body]":
        """Waits for the next event. Returns request id, headers (lower-case names) and event; the event lives until
        the next call.
        """
        try:
            if self._exchange is not None:
                status, headers, body = self._exchange(self._next_head, None)
            else:
                status, headers, body = self._transport.request(
                    "GET", f"{_RUNTIME}/invocation/next", {"User-Agent": _AGENT}, None
                )
        except WireError as exc:
            raise ApiError(f"GET {_RUNTIME}/invocation/next", 0, str(exc)) from None
        if status != 200:
            raise ApiError(f"GET {_RUNTIME}/invocation/next", status, _unexpected(status, 200, body))
        request_id = headers.get("lambda-runtime-aws-request-id", "")
        if not request_id:
            raise ApiError(f"GET {_RUNTIME}/invocation/next", status, "the answer has no request id")
        return request_id, headers, body

    def respond(self, request_id: str, body: bytes, content_type: str, invocation_id: "str | None") -> None:
        """Posts a result. Raises NotTaken, with status 413 when it is over 6,291,556 bytes; ApiError at a 5xx."""
        if not (request_id.isascii() and request_id.replace("-", "").isalnum()):
            request_id = _quote(request_id)
        path = f"{_RUNTIME}/invocation/{request_id}/response"
        if self._exchange is not None and invocation_id is None and content_type == "application/json":
            head = f"POST {path}{self._response_end}{len(body)}\r\n\r\n".encode()
            try:
                status, _, answer = self._exchange(head, body)
            except WireError as exc:
                raise NotTaken(f"POST {path}", 0, str(exc)) from None
            if not 200 <= status < 300:
                raise _refusal(path, status, answer)
            return
        headers = {"Content-Type": content_type}
        if invocation_id is not None:
            headers["Lambda-Runtime-Invocation-Id"] = invocation_id
        self._post(path, headers, body)

    def fail(
        self, request_id: str, body: bytes, error_type: str, xray_cause: bytes, invocation_id: "str | None"
    ) -> None:
        """Posts the error of an invocation. body: the error JSON."""
        headers = {"Content-Type": "application/json", "Lambda-Runtime-Function-Error-Type": _header(error_type)}
        if xray_cause:
            headers["Lambda-Runtime-Function-XRay-Error-Cause"] = xray_cause.decode("ascii")
        if invocation_id is not None:
            headers["Lambda-Runtime-Invocation-Id"] = invocation_id
        self._post(f"{_RUNTIME}/invocation/{_quote(request_id)}/error", headers, body)

    def fail_init(self, body: bytes, error_type: str) -> None:
        """Posts the error that ended INIT. body: the error JSON."""
        headers = {"Content-Type": "application/json", "Lambda-Runtime-Function-Error-Type": _header(error_type)}
        self._post(f"{_RUNTIME}/init/error", headers, body)

    def register_extension(self) -> None:
        """Registers as an internal extension for no event, which makes Lambda send SIGTERM before SIGKILL.

        The connection on which the extension waits for ever stays open. ("Extensions API": an extension is ready once
        it has asked for its next event.)
        """
        path = f"{_EXTENSION}/register"
        self._extension = connection = Connection(self._address)
        headers = {"Lambda-Extension-Name": "samovar", "Content-Type": "application/json"}
        try:
            status, answer, body = connection.request("POST", path, headers, b'{"events":[]}')
            if not 200 <= status < 300:
                raise ApiError(f"POST {path}", status, _unexpected(status, 200, body))
            identifier = answer.get("lambda-extension-identifier")
            if not identifier:
                raise ApiError(f"POST {path}", status, "the answer has no Lambda-Extension-Identifier")
            connection.send_only("GET", f"{_EXTENSION}/event/next", {"Lambda-Extension-Identifier": identifier})
        except WireError as exc:
            raise ApiError(f"POST {path}", 0, str(exc)) from None

    def disown(self) -> None:
        """Lets go of the connection, which is the parent's, in a child that the function forked: every call fails."""
        self._exchange = None
        self._transport = _Disowned()

    def _post(self, path: str, headers: "dict[str, str]", body: bytes) -> None:
        headers["User-Agent"] = _AGENT
        try:
            status, _, answer = self._transport.request("POST", path, headers, body)
        except WireError as exc:
            raise NotTaken(f"POST {path}", 0, str(exc)) from None
        if not 200 <= status < 300:
            raise _refusal(path, status, answer)


class _Disowned:
    """No transport."""

    def request(self, method: str, path: str, headers: "dict[str, str]", body: "bytes | None") -> "Answer":
        raise WireError("this is a process that the function forked: events and answers are its parent's")


def _quote(request_id: str) -> str:
    """A request id as one segment of a path, percent-encoded."""
    segment = ""
    for byte in request_id.encode("utf-8", "surrogateescape"):
        char = chr(byte)
        segment += char if char.isascii() and (char.isalnum() or char in "-._~") else f"%{byte:02X}"
    return segment if segment.strip(".") else segment.replace(".", "%2E")


def _header(value: str) -> str:
    """A class name may be any identifier: what is not printable ASCII goes as '?'."""
    return "".join(c if " " <= c <= "~" else "?" for c in value)


def _refusal(path: str, status: int, body: "Body") -> ApiError:
    return (ApiError if status >= 500 else NotTaken)(f"POST {path}", status, _unexpected(status, 202, body))


def _unexpected(status: int, wanted: int, body: "Body") -> str:
    return f"status {status} where {wanted} was expected: {bytes(body[:200])!r}"
