"""HTTP/1.1 as far as the Runtime API needs it, over one kept-alive socket.

The parse functions are pure, bytes to values, and raise `WireError`; `Connection` moves the bytes: a request leaves
in one system call where it can, an answer arrives in a buffer that is kept. Knows nothing of Lambda. A call that
cannot be finished raises `WireError` with what came.
"""

from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    MSG_WAITALL,
    SO_ERROR,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    socket,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap

    Body = bytes | bytearray | memoryview | mmap
    Answer = tuple[int, dict[str, str], Body]  # status, headers with names in lower case, body

_FIRST = 16384  # bytes: a whole ordinary event with its head, in one read
_JOINED = 65536  # bytes: up to here copying a body behind its head costs less than a second buffer in the system call
_HEAD_LIMIT = 1 << 21  # bytes; a client context and a W3C baggage are a few KB

_MAPPED = 1 << 21  # bytes from which on a body lies in a mapping of its own: freed, it leaves no hole in the heap

_names: "dict[str, str]" = {}  # header names as the server writes them -> lower case


class WireError(Exception):
    """The other side did not speak HTTP/1.1 as it must, or is gone."""


def parse_address(address: str) -> "tuple[str, int]":
    """Host and port of "host", "host:port" or "[v6]:port"; the port is 80 where none is given. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        host, port = address, "80"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is not an address: want host:port")
    return host, int(port)


def parse_head(head: str) -> "tuple[int, dict[str, str]]":
    """Status and headers (names in lower case) of an answer's head, given without its final empty line."""
    lines = head.split("\r\n")
    status = lines[0]
    if not status.startswith("HTTP/1.") or not status[9:12].isdecimal() or status[8:9] != " ":
        raise WireError(f"not HTTP: {status[:80]!r}")
    del lines[0]
    headers = {}
    known = _names
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise WireError(f"not a header: {line[:80]!r}")
        if name not in known and len(known) < 64:
            known[name] = name.lower()
        headers[known.get(name) or name.lower()] = value.strip(" \t")
    return int(status[9:12]), headers


def parse_length(headers: "dict[str, str]") -> "int | None":
    """The length in bytes of the body that follows; None when it is chunked, -1 when only the end of the connection
    ends it.
    """
    encoding = headers.get("transfer-encoding")
    if encoding is not None:
        if encoding.lower() != "chunked":
            raise WireError(f"unknown Transfer-Encoding {encoding[:80]!r}")
        return None
    length = headers.get("content-length")
    if length is None:
        return -1
    if not (length.isascii() and length.isdecimal()):
        raise WireError(f"bad Content-Length {length[:80]!r}")
    return int(length)


def _map(length: int) -> "mmap":
    import mmap

    populate = getattr(mmap, "MAP_POPULATE", 0)  # in one go, not page by page as the bytes come
    return mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | populate)


def _refused(sock: socket) -> bool:
    """Whether the server closed its socket before it had read all of what was sent.

    Only then is there a reset: on data that reaches a closed socket, or on a close with data unread. After the server's
    end of stream it is EPIPE and may come a moment after that end has been read, which it follows.
    """
    from time import sleep

    for _ in range(20):
        if sock.getsockopt(SOL_SOCKET, SO_ERROR):
            return True
        sleep(0.001)
    return False


class Chunks:
    """A chunked body, fed as it comes: `feed` returns whether it is complete; then `.body` is the content, `.rest`
    what came after it.
    """

    def __init__(self) -> None:
        self.body = bytearray()
        self.rest = bytearray()
        self._left = -1  # bytes of the chunk still to come with its CRLF; -1 at a size line, -2 in the trailers

    def feed(self, data: "bytes | bytearray | memoryview") -> bool:
        self.rest += data
        rest = self.rest
        at = 0
        while True:
            if self._left >= 0:
                take = min(self._left, len(rest) - at)
                content = min(take, max(self._left - 2, 0))
                self.body += memoryview(rest)[at : at + content]
                ending = rest[at + content : at + take]
                if ending and not b"\r\n".endswith(ending) and not b"\r\n".startswith(ending):
                    raise WireError(f"a chunk does not end where its size says: {bytes(ending)!r}")
                at += take
                self._left -= take
                if self._left:
                    break
                self._left = -1
            end = rest.find(b"\r\n", at)
            if end < 0:
                if len(rest) - at > 4096:
                    raise WireError(f"no chunk size: {bytes(rest[at : at + 80])!r}")
                break
            line = bytes(rest[at:end])
            at = end + 2
            if self._left == -2:
                if not line:
                    del self.rest[:at]
                    return True
                continue
            digits = line.partition(b";")[0].strip()
            try:
                if digits[:1] in b"+-" or b"_" in digits:
                    raise ValueError
                size = int(digits, 16)
            except ValueError:
                raise WireError(f"bad chunk size {line[:80]!r}") from None
            self._left = size + 2 if size else -2
        del self.rest[:at]
        return False


class Connection:
    """One kept-alive connection to one server. Not for use by two threads at once."""

    def __init__(self, address: str) -> None:
        self._host, self._port = parse_address(address)
        self._authority = address
        self._sock: socket | None = None
        self._fresh = True  # nothing has been answered on this socket yet
        self._buffer = bytearray(_FIRST)

    def request(self, method: str, path: str, headers: str, body: "bytes | None") -> "Answer":
        """Send one request and return status, headers and body of its answer. headers: lines that end in CRLF.

        The body may be a view of a buffer that the next request overwrites. There is no time-out: /next waits as long
        as there is no event.
        """
        return self._exchange(self._head(method, path, headers, body), body)

    def send_only(self, method: str, path: str, headers: str) -> None:
        """Send a request whose answer nobody reads."""
        self._send(self._sock or self._connect(), self._head(method, path, headers, None), None)

    def _head(self, method: str, path: str, headers: str, body: "bytes | None") -> bytes:
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._authority}\r\n{headers}{length}\r\n"
        return head.encode("utf-8", "surrogateescape")

    def _exchange(self, head: bytes, body: "bytes | None") -> "Answer":
        sock = self._sock or self._connect()
        unread = False  # whether the server cannot have read this request whole
        got = 0
        failure = "the connection was closed without an answer"
        try:
            unread = True
            self._send(sock, head, body)
            unread = False
            got = sock.recv_into(self._buffer)
        except OSError as exc:
            failure = str(exc)
            unread = unread or isinstance(exc, (BrokenPipeError, ConnectionResetError))
        if not got:
            # Closed between requests: asked again, once. A POST only where it cannot have been taken.
            again = not self._fresh and (body is None or unread or _refused(sock))
            self.close()
            if not again:
                raise WireError(failure)
            return self._exchange(head, body)
        try:
            return self._answer(sock, got)
        except OSError as exc:
            self.close()
            raise WireError(f"truncated answer: {exc}") from None
        except WireError:
            self.close()
            raise

    def close(self) -> None:
        """Closes the socket; the next request opens another."""
        if self._sock is not None:
            sock, self._sock = self._sock, None
            try:
                sock.close()
            except OSError:
                pass  # the function has closed its descriptor

    def _connect(self) -> socket:
        self.close()
        sock = socket(AF_INET6 if ":" in self._host else AF_INET, SOCK_STREAM)
        try:
            sock.setblocking(True)  # whatever a function gave to socket.setdefaulttimeout
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            sock.connect((self._host, self._port))
        except OSError as exc:
            sock.close()
            raise WireError(f"cannot connect to {self._authority}: {exc}") from None
        self._sock = sock
        self._fresh = True
        return sock

    def _send(self, sock: socket, head: bytes, body: "bytes | None") -> None:
        if not body:
            sock.sendall(head)
        elif len(body) <= _JOINED:
            sock.sendall(head + body)
        else:
            sent = sock.sendmsg((head, body))
            if sent < len(head):
                sock.sendall(head[sent:])
                sent = len(head)
            sock.sendall(memoryview(body)[sent - len(head) :])

    def _answer(self, sock: socket, got: int) -> "Answer":
        end = self._buffer.find(b"\r\n\r\n", 0, got)
        while end < 0:
            if self._buffer[:7] != b"HTTP/1."[:got] and got >= 7:
                raise WireError(f"not HTTP: {bytes(self._buffer[:80])!r}")
            if got == len(self._buffer):
                if got >= _HEAD_LIMIT:
                    raise WireError(f"headers of more than {_HEAD_LIMIT} bytes")
                self._buffer = self._buffer + bytes(got)  # the last body may still be a view of the old one
            more = sock.recv_into(memoryview(self._buffer)[got:])
            if not more:
                raise WireError(
                    f"truncated answer: the connection was closed after {bytes(self._buffer[: min(got, 80)])!r}"
                )
            end = self._buffer.find(b"\r\n\r\n", max(got - 3, 0), got + more)
            got += more
        view = memoryview(self._buffer)
        body: Body
        status, headers = parse_head(str(view[:end], "utf-8", "surrogateescape"))
        self._fresh = False
        start = end + 4
        length = parse_length(headers)
        if length is None:
            body = self._chunked(sock, view[start:got])
        elif length < 0:
            body = self._until_closed(sock, view[start:got])
        elif got - start > length:
            raise WireError(f"{got - start - length} bytes more than Content-Length {length}")
        elif got - start == length:
            body = view[start:got]
        else:
            body = self._rest(sock, start, got, length)
        if length == -1 or headers.get("connection", "").lower() == "close":
            self.close()
        return status, headers, body

    def _rest(self, sock: socket, start: int, got: int, length: int) -> "Body":
        body: bytearray | memoryview | mmap
        have = got - start
        if start + length <= len(self._buffer):
            body = memoryview(self._buffer)[start : start + length]
        else:  # not kept: the handler gets the memory
            body = bytearray(length) if length < _MAPPED else _map(length)
            body[:have] = memoryview(self._buffer)[start:got]
        with memoryview(body) as view:
            while have < length:
                more = sock.recv_into(view[have:], length - have, MSG_WAITALL)
                if not more:
                    raise WireError(f"truncated answer: {have} of {length} bytes came")
                have += more
        return body

    def _chunked(self, sock: socket, data: memoryview) -> bytearray:
        chunks = Chunks()
        done = chunks.feed(data)
        while not done:
            more = sock.recv(65536)
            if not more:
                raise WireError(f"truncated answer: {len(chunks.body)} bytes came and no last chunk")
            done = chunks.feed(more)
        if chunks.rest:
            raise WireError(f"{len(chunks.rest)} bytes after the last chunk")
        return chunks.body

    def _until_closed(self, sock: socket, data: memoryview) -> bytes:
        parts = [bytes(data)]
        while part := sock.recv(65536):
            parts.append(part)
        return b"".join(parts)
