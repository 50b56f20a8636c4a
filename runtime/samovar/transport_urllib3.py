"""The second transport: the same requests over urllib3's pool. Chosen by `SAMOVAR_TRANSPORT=urllib3`; the tests compare
the wire with it.

Not imported otherwise: `make bench` has a row for its cost. Knows nothing of Lambda.
"""

import logging
import sys
from collections.abc import Callable, Iterable
from http.client import HTTPResponse, IncompleteRead
from io import BufferedReader
from socket import SHUT_RD

from samovar.wire import Gone, WireError, merge, parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OLDEST = 1, 26
try:
    import urllib3
    from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError

    _version: str = vars(urllib3)["__version__"]
    if tuple(int(number) for number in _version.split(".")[:2]) < _OLDEST:
        raise ImportError(f"{_version} is too old")
    from urllib3.connection import HTTPConnection
except Exception as exc:  # the function's own urllib3, or another module of that name, comes first
    _found = getattr(sys.modules.get("urllib3"), "__file__", None) or "none"
    raise ImportError(f"urllib3 1.26 or later is needed; found {_found}: {exc}") from None


class Urllib3Transport:
    """One kept-alive connection in a pool of one."""

    def __init__(self, address: str) -> None:
        host, port = parse_address(address)
        self._host, self._port = host, port
        self._connection: HTTPConnection | None = None  # the newest
        self._pool = self._new_pool()
        self._answered = False  # since the last failure
        self._reached = False
        self._busy = False
        for name in ("urllib3.connectionpool", "urllib3.util.retry"):  # at DEBUG they log every request
            logging.getLogger(name).addFilter(lambda record: not self._busy)

    def _new_pool(self) -> urllib3.HTTPConnectionPool:
        pool = urllib3.HTTPConnectionPool(self._host, self._port, maxsize=1, block=True, timeout=None, retries=False)
        pool.ConnectionCls = self._new_connection  # type: ignore[assignment]
        return pool

    def _new_connection(self, **arguments: "Any") -> HTTPConnection:
        self._connection = HTTPConnection(**arguments)
        self._connection.response_class = _Response
        return self._connection

    def request(
        self, method: str, path: str, headers: str, body: "bytes | None"
    ) -> "tuple[int, dict[str, str], bytes]":
        """Send one request and return status, headers (names in lower case) and body of its answer. headers: lines that
        end in CRLF. There is no time-out.
        """
        self._busy = True
        try:
            return self._request(method, path, _fields(headers), body)
        finally:
            self._busy = False

    def stream(
        self,
        method: str,
        path: str,
        headers: str,
        chunks: "Iterable[bytes]",
        trailers: "Callable[[], str]",
        wait: "Callable[[int], None] | None" = None,
    ) -> "tuple[int, dict[str, str], bytes]":
        """Send one request with a chunked body over a connection of its own. urllib3 has no trailers: they are made,
        and not sent.
        """

        def body() -> "Iterable[bytes]":
            yield from chunks
            trailers()

        fields = _fields(headers)
        del fields[b"Trailer"]
        self._busy = True
        try:
            with self._new_pool() as pool:
                response = pool.request(method, path, body=body(), headers=fields)  # type: ignore[arg-type]
                return response.status, _decoded(response), response.data
        except HTTPError as exc:
            raise WireError(f"{exc}; it is not known how much was taken") from None
        finally:
            self._busy = False

    def interrupt(self) -> None:
        """Have the request fail that waits for its answer in another thread."""
        if (sock := getattr(self._connection, "sock", None)) is not None:
            self._answered = False  # no other connection is tried
            try:
                sock.shutdown(SHUT_RD)
            except OSError:
                pass  # it is not connected any more

    def _request(
        self, method: str, path: str, headers: "dict[bytes, bytes]", body: "bytes | None"
    ) -> "tuple[int, dict[str, str], bytes]":
        try:
            response = self._pool.request(method, path, body=body, headers=headers)  # type: ignore[arg-type]
        except ProtocolError as exc:
            # "Connection aborted.": no answer has begun, so a GET of /next has taken no event.
            aborted = exc.args[0] == "Connection aborted." and isinstance(exc.args[-1], ConnectionError)
            again = body is None and self._answered and aborted
            self._answered, self._reached = False, True
            if again:
                return self._request(method, path, headers, body)
            if body is not None:
                raise WireError(f"{exc}; it is not known whether it was taken") from None
            failed = Gone if aborted else WireError
            raise failed(str(exc)) from None
        except HTTPError as exc:
            failed = Gone if self._reached and isinstance(exc, NewConnectionError) else WireError
            raise failed(str(exc)) from None
        self._answered = self._reached = True
        return response.status, _decoded(response), response.data


class _Response(HTTPResponse):
    """An answer whose head ends where the connection does is cut off. http.client takes it for the whole head."""

    def __init__(self, sock: "Any", *arguments: "Any", **options: "Any") -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = _Lines(sock.makefile("rb", 0))


class _Lines(BufferedReader):
    _begun = False

    def readline(self, size: "int | None" = -1, /) -> bytes:
        line = super().readline(size)
        if not line and self._begun:
            raise IncompleteRead(b"")
        self._begun = True
        return line


def _fields(headers: str) -> "dict[bytes, bytes]":
    return dict(line.split(b": ", 1) for line in headers.encode("utf-8", "surrogateescape").split(b"\r\n")[:-1])


def _decoded(response: "urllib3.BaseHTTPResponse") -> "dict[str, str]":
    return merge(
        (name.lower(), value.encode("latin-1").decode("utf-8", "surrogateescape"))
        for name, value in response.headers.iteritems()
    )
