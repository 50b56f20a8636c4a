"""HTTP/1.1 as far as the Runtime API needs it, over one kept-alive socket.

The parse functions are pure, bytes to values, and raise `WireError`; `Connection` moves the bytes: a request leaves
in one system call where it can, an answer arrives in a buffer that is kept. Knows nothing of Lambda. A call that
cannot be finished raises `WireError` with what came.
"""

from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    MSG_DONTWAIT,
    MSG_WAITALL,
    SOCK_STREAM,
    TCP_INFO,
    TCP_NODELAY,
    socket,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from mmap import mmap

    Body = bytes | bytearray | memoryview | mmap
    Answer = tuple[int, dict[str, str], Body]  # status, headers with names in lower case, body

_FIRST = 16384  # bytes: a whole ordinary event with its head, in one read
_JOINED = 65536  # bytes: up to here copying a body behind its head costs less than a second buffer in the system call
_HEAD_LIMIT = 1 << 21  # bytes; a client context and a W3C baggage are a few KB

_MAPPED = 1 << 21  # bytes from which on a body lies in a mapping of its own: freed, it leaves no hole in the heap

_LISTS = ("connection", "content-length", "transfer-encoding")
_WITHOUT_BODY = (101, 204, 304)  # whatever their headers say
_ESTABLISHED = b"\1"  # TCP_ESTABLISHED, the first byte of the kernel's struct tcp_info
_LF, _CR = 10, 13

_names: "dict[str, str]" = {}  # header names as the server writes them -> lower case
_statuses: "dict[str, tuple[int, bool]]" = {}  # status lines as the server writes them -> status, whether HTTP/1.0


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
    """Status and headers (names in lower case) of an answer's head, given without its final empty line. Lines may end
    in LF alone.

    An HTTP/1.0 answer that does not keep its connection has `connection: close`.
    """
    lines = head.split("\n")  # one character: split in half the time, and strip takes the CR
    first = lines[0]
    status, old = _statuses.get(first) or _parse_status(first)
    del lines[0]
    headers = {}
    known = _names.get
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise WireError(f"not a header: {line.rstrip()[:80]!r}")
        headers[known(name) or _lower(name)] = value.strip(" \t\r")
    if len(headers) != len(lines):
        fields = [line.partition(":") for line in lines]
        headers = merge((name.lower(), value.strip(" \t\r")) for name, _, value in fields)
    if old and "keep-alive" not in _tokens(headers.get("connection", "")):
        headers["connection"] = "close"
    return status, headers


def _lower(name: str) -> str:
    lower = name.lower()
    if len(_names) < 64:
        _names[name] = lower
    return lower


def _parse_status(line: str) -> "tuple[int, bool]":
    version, _, rest = line.partition(" ")
    digits, _, _ = rest.strip().partition(" ")
    if version[:7] != "HTTP/1." or not (digits.isascii() and digits.isdecimal() and len(digits) == 3):
        raise WireError(f"not HTTP: {line.rstrip()[:80]!r}")
    parsed = int(digits), version == "HTTP/1.0"
    if len(_statuses) < 16:
        _statuses[line] = parsed
    return parsed


def merge(fields: "Iterable[tuple[str, str]]") -> "dict[str, str]":
    """The headers of fields among which a name may stand twice. As for the official client the first one counts, and
    the last Content-Type; what HTTP defines as a list is joined.
    """
    headers: dict[str, str] = {}
    for name, value in fields:
        if name in _LISTS and name in headers:
            headers[name] += f", {value}"
        elif name not in headers or name == "content-type":
            headers[name] = value
    return headers


def _tokens(value: str) -> "set[str]":
    """The members of a header that is a list."""
    return {token.strip() for token in value.lower().split(",")}


def parse_length(headers: "dict[str, str]") -> "int | None":
    """The length in bytes of the body that follows; None when it is chunked, -1 when only the end of the connection
    ends it.
    """
    encoding = headers.get("transfer-encoding")
    if encoding is not None:
        if _tokens(encoding) != {"chunked"}:
            raise WireError(f"unknown Transfer-Encoding {encoding[:80]!r}")
        return None
    length = headers.get("content-length")
    if length is None:
        return -1
    if "," in length and len(same := _tokens(length)) == 1:
        (length,) = same
    if not (length.isascii() and length.isdecimal()):
        raise WireError(f"bad Content-Length {length[:80]!r}")
    return int(length)


def _map(length: int) -> "mmap":
    import mmap

    populate = getattr(mmap, "MAP_POPULATE", 0)  # in one go, not page by page as the bytes come
    return mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | populate)


def _head_end(data: bytearray, since: int, upto: int) -> "tuple[int, int]":
    """Where the last line of a head ends, and where what follows begins; negative where the head goes on. since: where
    to look from.
    """
    lf = data.find(b"\n\n", since, upto)
    crlf = data.find(b"\n\r\n", since, upto if lf < 0 else lf)
    return (lf, lf + 2) if crlf < 0 else (crlf, crlf + 3)


def _is_over(sock: socket) -> bool:
    """Whether a kept connection has ended, be it that the server has only closed its half.

    This costs 0.6 µs. A peek, which would see bytes that nobody asked for as well, costs 2.5.
    """
    try:
        return sock.getsockopt(IPPROTO_TCP, TCP_INFO, 1) != _ESTABLISHED
    except OSError:
        return True  # the function has closed its descriptor


_SIZE, _END, _TRAILER = range(3)  # the lines of a chunked body


class Chunks:
    """A chunked body, fed as it comes: `feed` returns whether it is complete; then `.body` is the content, `.rest`
    what came after it.
    """

    def __init__(self) -> None:
        self.body = bytearray()
        self.rest = bytearray()
        self._left = 0  # bytes of the chunk still to come
        self._line = _SIZE  # what the line is that follows them

    def feed(self, data: "bytes | bytearray | memoryview") -> bool:
        self.rest += data
        rest = self.rest
        at = 0
        while True:
            if self._left:
                take = min(self._left, len(rest) - at)
                self.body += memoryview(rest)[at : at + take]
                at += take
                self._left -= take
            if self._line == _END and len(rest) > at and rest[at] not in (_CR, _LF):
                raise WireError(f"a chunk does not end where its size says: {bytes(rest[at : at + 2])!r}")
            end = rest.find(b"\n", at)
            if end < 0:
                if len(rest) - at > 4096:
                    raise WireError(f"no chunk size: {bytes(rest[at : at + 80])!r}")
                break
            line = bytes(rest[at:end]).rstrip(b"\r")
            at = end + 1
            if self._line == _END:
                if line:
                    raise WireError(f"a chunk does not end where its size says: {line[:2]!r}")
                self._line = _SIZE
            elif self._line == _TRAILER:
                if not line:
                    del self.rest[:at]
                    return True
            else:
                digits = line.partition(b";")[0].strip()
                try:
                    if digits[:1] in b"+-" or b"_" in digits:
                        raise ValueError
                    self._left = int(digits, 16)
                except ValueError:
                    raise WireError(f"bad chunk size {line[:80]!r}") from None
                self._line = _END if self._left else _TRAILER
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
        sock = self._sock
        if sock is None or _is_over(sock):
            sock = self._connect()
        try:
            self._send(sock, self._head(method, path, headers, None), None)
        except OSError as exc:
            self.close()
            raise WireError(str(exc)) from None

    def _head(self, method: str, path: str, headers: str, body: "bytes | None") -> bytes:
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._authority}\r\n{headers}{length}\r\n"
        return head.encode("utf-8", "surrogateescape")

    def _exchange(self, head: bytes, body: "bytes | None") -> "Answer":
        sock = self._sock
        if sock is None or (body is not None and _is_over(sock)):  # a GET can be asked again
            sock = self._connect()
        sent = False
        failure = "the connection was closed without an answer"
        try:
            self._send(sock, head, body)
            sent = True
            got = sock.recv_into(self._buffer)
        except OSError as exc:
            failure = str(exc)
            got = 0 if sent or body is None else self._early(sock)
        except BaseException:  # from a signal's handler: the answer must not meet the next request
            self.close()
            raise
        if not got:
            self.close()
            # Asked again, once. What has not been sent whole cannot have been taken.
            if not self._fresh and (body is None or not sent):
                return self._exchange(head, body)
            raise WireError(failure if body is None or not sent else f"{failure}; it is not known whether it was taken")
        try:
            answer = self._answer(sock, got)
        except OSError as exc:
            self.close()
            raise WireError(f"truncated answer: {exc}") from None
        except BaseException:
            self.close()
            raise
        if not sent:
            self.close()
        return answer

    def _early(self, sock: socket) -> int:
        """Reads the answer of a server that did not wait for the end of the request: how many bytes there are."""
        try:
            return sock.recv_into(self._buffer, 0, MSG_DONTWAIT)
        except OSError:
            return 0

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
        while True:
            end = self._buffer.find(b"\r\n\r\n", 0, got)
            start = end + 4
            if end < 0:
                end, start, got = self._whole_head(sock, got)
            view = memoryview(self._buffer)
            try:
                status, headers = parse_head(str(view[:end], "utf-8", "surrogateescape"))
            except WireError:
                end, start = _head_end(self._buffer, 0, end)
                if end < 0:
                    raise
                # Its lines end in LF alone: what was found is in the body.
                status, headers = parse_head(str(view[:end], "utf-8", "surrogateescape"))
            if status >= 200 or status == 101:
                break
            got -= start  # "100 Continue" and its kind: the answer follows
            self._buffer[:got] = view[start : start + got]
            got = got or sock.recv_into(self._buffer)
            if not got:
                raise WireError(f"truncated answer: the connection was closed after status {status}")
        self._fresh = False
        body: Body
        length = 0 if status in _WITHOUT_BODY else parse_length(headers)
        over = status == 101
        if length is None:
            body, over = self._chunked(sock, view[start:got])
        elif length < 0:
            body = self._until_closed(sock, view[start:got])
            over = True
        elif got - start >= length:
            body = view[start : start + length]
            over = over or got - start > length  # more than was announced: whatever it is, it is no answer
        else:
            body = self._rest(sock, start, got, length)
        if over or ("connection" in headers and "close" in _tokens(headers["connection"])):
            self.close()
        return status, headers, body

    def _whole_head(self, sock: socket, got: int) -> "tuple[int, int, int]":
        """Reads until the head is there: where it ends, where what follows begins, and how many bytes have come."""
        end, start = _head_end(self._buffer, 0, got)
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
            end, start = _head_end(self._buffer, max(got - 2, 0), got + more)
            got += more
        return end, start, got

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

    def _chunked(self, sock: socket, data: memoryview) -> "tuple[bytearray, bool]":
        """The body, and whether more than it has come."""
        chunks = Chunks()
        done = chunks.feed(data)
        while not done:
            more = sock.recv(65536)
            if not more:
                raise WireError(f"truncated answer: {len(chunks.body)} bytes came and no last chunk")
            done = chunks.feed(more)
        return chunks.body, bool(chunks.rest)

    def _until_closed(self, sock: socket, data: memoryview) -> bytes:
        parts = [bytes(data)]
        while part := sock.recv(65536):
            parts.append(part)
        return b"".join(parts)
