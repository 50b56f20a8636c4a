"""HTTP/1.1 as far as the Runtime API needs it, over one kept-alive socket.

The parse functions are pure, from bytes to values. `Connection` does the input and output: it sends a request in one
system call where it can, and reads the answer into a buffer that it keeps. Both raise `WireError`, which says what
came instead of an answer. Knows nothing of Lambda.
"""

from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    MSG_DONTWAIT,
    MSG_WAITALL,
    SHUT_RDWR,
    SOCK_STREAM,
    TCP_INFO,
    TCP_NODELAY,
    socket,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from mmap import mmap

    Body = bytes | bytearray | memoryview | mmap
    Answer = tuple[int, dict[str, str], Body]  # status, headers with names in lower case, body

_FIRST = 16384  # bytes of the first buffer: one read takes an ordinary event with its head
_JOINED = 65536  # bytes: up to this size, copying a body behind its head is cheaper than a system call with two buffers
_HEAD_LIMIT = 1 << 21  # bytes; a client context and a W3C baggage are a few KB
_MAPPED = 1 << 21  # bytes: from this size a body gets its own mmap, so that freeing it does not fragment the heap
_LINE_LIMIT = 4096  # bytes of a line in a chunked body

_LISTS = ("connection", "content-length", "transfer-encoding")  # fields that HTTP joins when they come twice
_WITHOUT_BODY = (101, 204, 304)  # whatever their headers say
_UNTIL_CLOSED = -1  # the length of a body that only the end of the connection ends
_ESTABLISHED = b"\1"  # TCP_ESTABLISHED, the first byte of the kernel's struct tcp_info
_LF, _CR = 10, 13

# Caches: a server writes the same names and status lines in every answer.
_names: "dict[str, str]" = {}  # header name -> the name in lower case
_statuses: "dict[str, tuple[int, bool]]" = {}  # status line -> status, whether it is HTTP/1.0


class WireError(Exception):
    """The server did not speak HTTP/1.1 as it must, or has gone away."""


class Gone(WireError):
    """The server was there and is no more: before its answer began, the connection ended, and there is no other."""


def parse_address(address: str) -> "tuple[str, int]":
    """Return host and port of "host", "host:port" or "[v6]:port"; the default port is 80. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        host, port = address, "80"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is not an address: want host:port")
    return host, int(port)


def parse_head(head: str) -> "tuple[int, dict[str, str]]":
    """Return status and headers (names in lower case) of an answer's head, which comes without its final empty line.

    Lines may end in LF alone. An HTTP/1.0 answer that does not keep its connection gets `connection: close`.
    """
    lines = head.split("\n")  # takes half the time of "\r\n"; strip removes the CR
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
    """Return the headers of fields that may repeat a name. As in the official client the first field counts, of
    Content-Type the last; fields that HTTP defines as lists are joined.
    """
    headers: dict[str, str] = {}
    for name, value in fields:
        if name in _LISTS and name in headers:
            headers[name] += f", {value}"
        elif name not in headers or name == "content-type":
            headers[name] = value
    return headers


def _tokens(value: str) -> "set[str]":
    """Return the members of a header that is a list."""
    return {token.strip() for token in value.lower().split(",")}


def parse_length(headers: "dict[str, str]") -> "int | None":
    """Return the length of the body in bytes; None where it is chunked, _UNTIL_CLOSED where no header says."""
    encoding = headers.get("transfer-encoding")
    if encoding is not None:
        if _tokens(encoding) != {"chunked"}:
            raise WireError(f"unknown Transfer-Encoding {encoding[:80]!r}")
        return None
    length = headers.get("content-length")
    if length is None:
        return _UNTIL_CLOSED
    if "," in length and len(same := _tokens(length)) == 1:
        (length,) = same
    if not (length.isascii() and length.isdecimal()):
        raise WireError(f"bad Content-Length {length[:80]!r}")
    return int(length)


def _map(length: int) -> "mmap | bytearray":
    try:
        from mmap import MAP_ANONYMOUS, MAP_POPULATE, MAP_PRIVATE, mmap
    except ImportError:  # a module of the function's has that name
        return bytearray(length)
    # MAP_POPULATE: all pages at once, not one by one as the bytes come.
    return mmap(-1, length, flags=MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE)


def _head_end(data: bytearray, since: int, upto: int) -> "tuple[int, int]":
    """Return where the last line of a head ends and where the body begins; the first is negative where the head goes
    on. since: where to look from.
    """
    lf = data.find(b"\n\n", since, upto)
    crlf = data.find(b"\n\r\n", since, upto if lf < 0 else lf)
    return (lf, lf + 2) if crlf < 0 else (crlf, crlf + 3)


def _is_over(sock: socket) -> bool:
    """Return whether a kept connection has ended, even if the server has closed only its half.

    A peek would also see bytes that were not asked for, but costs several times as much.
    """
    try:
        return sock.getsockopt(IPPROTO_TCP, TCP_INFO, 1) != _ESTABLISHED
    except OSError:
        return True  # the function has closed its descriptor


# What a chunked body goes on with.
_SIZE, _CONTENT, _CONTENT_END, _TRAILER, _DONE = "size line", "content", "end of the content", "trailer", "done"


class Chunks:
    """A chunked body, fed as it comes. Once it is complete, `body` is its content and `rest` what came after it."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.rest = bytearray()
        self._state = _SIZE
        self._left = 0  # bytes of the chunk's content still to come

    def feed(self, data: "bytes | bytearray | memoryview") -> bool:
        """Take the bytes that have come; return whether the body is complete."""
        self.rest += data
        at, after = -1, 0
        while after > at and self._state != _DONE:
            at = after
            after = self._take_content(at) if self._state == _CONTENT else self._take_line(at)
        del self.rest[:after]
        return self._state == _DONE

    def _take_content(self, at: int) -> int:
        """Take what has come of a chunk's content from `at` on, and return where it ends."""
        after = min(at + self._left, len(self.rest))
        self.body += memoryview(self.rest)[at:after]
        self._left -= after - at
        if not self._left:
            self._state = _CONTENT_END
        return after

    def _take_line(self, at: int) -> int:
        """Take the line that begins at `at` and return where it ends; `at` where its end has not come."""
        rest = self.rest
        if self._state == _CONTENT_END and len(rest) > at and rest[at] not in (_CR, _LF):
            raise WireError(f"a chunk does not end where its size says: {bytes(rest[at : at + 2])!r}")
        end = rest.find(b"\n", at)
        if end < 0:
            if len(rest) - at > _LINE_LIMIT:
                raise WireError(f"no chunk size: {bytes(rest[at : at + 80])!r}")
            return at
        line = bytes(rest[at:end]).rstrip(b"\r")
        if self._state == _SIZE:
            self._left = _chunk_size(line)
            self._state = _CONTENT if self._left else _TRAILER
        elif self._state == _CONTENT_END:
            if line:
                raise WireError(f"a chunk does not end where its size says: {line[:2]!r}")
            self._state = _SIZE
        elif not line:  # the empty line behind the trailers
            self._state = _DONE
        return end + 1


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    try:
        if digits[:1] in b"+-" or b"_" in digits:
            raise ValueError
        return int(digits, 16)
    except ValueError:
        raise WireError(f"bad chunk size {line[:80]!r}") from None


def chunk(data: bytes) -> "tuple[bytes, ...]":
    """Return a chunk of a request's body as the buffers to send: one where copying is cheaper."""
    size = b"%x\r\n" % len(data)
    return (b"%b%b\r\n" % (size, data),) if len(data) <= _JOINED else (size, data, b"\r\n")


def last_chunk(trailers: str) -> bytes:
    """Return what ends a chunked body. trailers: lines that end in CRLF."""
    return f"0\r\n{trailers}\r\n".encode("ascii")


def send_whole(sock: socket, buffers: "tuple[bytes, ...]", wait: "Callable[[int], None] | None" = None) -> None:
    """Send all of some buffers, in one system call where the socket takes them. wait: as for Connection.stream."""
    if wait is None and len(buffers) == 1:
        return sock.sendall(buffers[0])
    left = [memoryview(each) for each in buffers]
    while left:
        try:
            sent = sock.sendmsg(left, (), 0 if wait is None else MSG_DONTWAIT)
        except BlockingIOError:
            if wait is None:
                raise
            wait(sock.fileno())
            continue
        while left and sent >= len(left[0]):
            sent -= len(left.pop(0))
        if left:
            left[0] = left[0][sent:]


class Connection:
    """One kept-alive connection to one server. Not for use by two threads at once."""

    def __init__(self, address: str) -> None:
        self._host, self._port = parse_address(address)
        self._authority = address
        self._sock: socket | None = None
        self._answered = False  # on this socket
        self._reached = False  # on any socket
        self._buffer = bytearray(_FIRST)

    def request(self, method: str, path: str, headers: str, body: "bytes | None") -> "Answer":
        """Send one request and return status, headers and body of its answer. headers: lines that end in CRLF.

        The body may be a view of a buffer that the next request overwrites. There is no time-out: /next waits until
        there is an event.
        """
        return self._exchange(self._head(method, path, headers, body), body)

    def stream(
        self,
        method: str,
        path: str,
        headers: str,
        chunks: "Iterable[bytes]",
        trailers: "Callable[[], str]",
        wait: "Callable[[int], None] | None" = None,
    ) -> "Answer":
        """Send one request with a chunked body, each item of which is a chunk in a send of its own, and return its
        answer as `request` does. It may come before the end of the body, and ends it. The connection is closed.

        trailers: called when the chunks have come to their end. wait: called with the socket's descriptor when the
        socket takes no more; without it the send blocks.
        """
        sock = self._sock
        if sock is None or _is_over(sock):
            sock = self._connect()
        lines = f"{method} {path} HTTP/1.1\r\nHost: {self._authority}\r\n{headers}Transfer-Encoding: chunked\r\n\r\n"
        try:
            got = self._send_chunks(sock, lines.encode("utf-8", "surrogateescape"), chunks, trailers, wait)
            return self._answer(sock, got)
        except OSError as exc:
            raise WireError(f"truncated answer: {exc}") from None
        finally:
            self.close()

    def _send_chunks(
        self,
        sock: socket,
        head: bytes,
        chunks: "Iterable[bytes]",
        trailers: "Callable[[], str]",
        wait: "Callable[[int], None] | None",
    ) -> int:
        """Send a head and a chunked body; return how many bytes of the answer are in the buffer."""
        try:
            for data in chunks:
                if data:  # an empty chunk would be the last one
                    send_whole(sock, (head, *chunk(data)) if head else chunk(data), wait)
                    head = b""
                    if got := self._arrived(sock):
                        return got
            send_whole(sock, (head + last_chunk(trailers()),), wait)
            got = sock.recv_into(self._buffer)
        except OSError as exc:
            if got := self._early(sock):
                return got
            raise WireError(f"{exc}; it is not known how much was taken") from None
        if not got:
            raise WireError("the connection was closed without an answer; it is not known whether it was taken")
        return got

    def _arrived(self, sock: socket) -> int:
        """Read what has come of an answer, without waiting; return how many bytes came. Raises OSError at its end."""
        try:
            got = sock.recv_into(self._buffer, 0, MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        if not got:
            raise OSError("the connection was closed before the end of the body")
        return got

    def send_only(self, method: str, path: str, headers: str) -> None:
        """Send a request and leave its answer unread."""
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
        if sock is None or (body is not None and _is_over(sock)):  # a GET can be sent again
            sock = self._connect()
        sent_whole = False
        failure = "the connection was closed without an answer"
        try:
            self._send(sock, head, body)
            sent_whole = True
            got = sock.recv_into(self._buffer)
        except OSError as exc:
            failure = str(exc)
            got = 0 if sent_whole or body is None else self._early(sock)
        except BaseException:  # from a signal handler: the next request must not read this one's answer
            self.close()
            raise
        if not got:
            return self._unanswered(head, body, failure, taken=body is not None and sent_whole)
        try:
            answer = self._answer(sock, got)
        except BaseException as exc:
            self.close()
            if isinstance(exc, OSError):
                raise WireError(f"truncated answer: {exc}") from None
            raise
        if not sent_whole:
            self.close()
        return answer

    def _unanswered(self, head: bytes, body: "bytes | None", failure: str, *, taken: bool) -> "Answer":
        """Send a request again, once, where the kept connection had ended. taken: whether the server may have acted on
        it, which one that was not sent whole rules out.
        """
        was_kept = self._answered
        self.close()
        if was_kept and not taken:
            return self._exchange(head, body)
        if taken:
            raise WireError(f"{failure}; it is not known whether it was taken")
        raise Gone(failure)

    def _early(self, sock: socket) -> int:
        """Read the answer of a server that did not wait for the end of the request; return how many bytes came."""
        try:
            return sock.recv_into(self._buffer, 0, MSG_DONTWAIT)
        except OSError:
            return 0

    def interrupt(self) -> None:
        """Have the request fail that another thread sends, or waits for the answer of."""
        if (sock := self._sock) is not None:
            self._answered = False  # no other connection is tried
            try:
                sock.shutdown(SHUT_RDWR)
            except OSError:
                pass  # it is not connected any more

    def close(self) -> None:
        """Close the socket; the next request opens another."""
        if self._sock is not None:
            sock, self._sock = self._sock, None
            try:
                sock.close()
            except OSError:
                pass  # the function has closed its descriptor

    def _connect(self) -> socket:
        self.close()
        try:
            sock = socket(AF_INET6 if ":" in self._host else AF_INET, SOCK_STREAM)
        except OSError as exc:  # the function has used up all descriptors
            raise WireError(f"no socket: {exc}") from None
        try:
            sock.setblocking(True)  # whatever the function has set with socket.setdefaulttimeout
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            sock.connect((self._host, self._port))
        except OSError as exc:
            sock.close()
            failed = Gone if self._reached else WireError
            raise failed(f"cannot connect to {self._authority}: {exc}") from None
        self._sock = sock
        self._reached = True
        self._answered = False
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
        """Read the rest of an answer of which `got` bytes are in the buffer."""
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
                # The lines of the head end in LF alone; the CRLFs are the body's.
                status, headers = parse_head(str(view[:end], "utf-8", "surrogateescape"))
            if status >= 200 or status == 101:
                break
            got = self._skip(sock, status, start, got)  # "100 Continue" and its kind: the answer follows
        self._answered = True
        length = 0 if status in _WITHOUT_BODY else parse_length(headers)
        body: Body
        if length == got - start:  # the whole body has come, and nothing behind it
            body, reusable = view[start:got], status != 101
        else:
            body, reusable = self._body(sock, start, got, length)
        if not reusable or ("connection" in headers and "close" in _tokens(headers["connection"])):
            self.close()
        return status, headers, body

    def _skip(self, sock: socket, status: int, start: int, got: int) -> int:
        """Take an interim answer out of the buffer; return how many bytes of the next are there."""
        got -= start
        self._buffer[:got] = memoryview(self._buffer)[start : start + got]
        got = got or sock.recv_into(self._buffer)
        if not got:
            raise WireError(f"truncated answer: the connection was closed after status {status}")
        return got

    def _body(self, sock: socket, start: int, got: int, length: "int | None") -> "tuple[Body, bool]":
        """Return a body, and whether the connection can be used again: what comes behind a body is no answer,
        whatever it is.
        """
        view = memoryview(self._buffer)
        if length is None:
            return self._chunked(sock, view[start:got])
        if length == _UNTIL_CLOSED:
            return self._until_closed(sock, view[start:got]), False
        if length < got - start:
            return view[start : start + length], False
        return self._rest(sock, start, got, length), True

    def _whole_head(self, sock: socket, got: int) -> "tuple[int, int, int]":
        """Read until the head is complete. Return where it ends, where the body begins, and how many bytes came."""
        end, start = _head_end(self._buffer, 0, got)
        while end < 0:
            if self._buffer[:7] != b"HTTP/1."[:got] and got >= 7:
                raise WireError(f"not HTTP: {bytes(self._buffer[:80])!r}")
            if got == len(self._buffer):
                if got >= _HEAD_LIMIT:
                    raise WireError(f"headers of more than {_HEAD_LIMIT} bytes")
                self._buffer = self._buffer + bytes(got)  # a new one: the last body may still be a view of it
            more = sock.recv_into(memoryview(self._buffer)[got:])
            if not more:
                raise WireError(
                    f"truncated answer: the connection was closed after {bytes(self._buffer[: min(got, 80)])!r}"
                )
            end, start = _head_end(self._buffer, max(got - 2, 0), got + more)
            got += more
        return end, start, got

    def _rest(self, sock: socket, start: int, got: int, length: int) -> "Body":
        """Read the rest of a body and return all of it."""
        body: bytearray | memoryview | mmap
        have = got - start
        if start + length <= len(self._buffer):
            body = memoryview(self._buffer)[start : start + length]
        else:  # in memory of its own, which is the handler's
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
        """Return the body, and whether nothing came behind it."""
        chunks = Chunks()
        done = chunks.feed(data)
        while not done:
            more = sock.recv(65536)
            if not more:
                raise WireError(f"truncated answer: {len(chunks.body)} bytes came and no last chunk")
            done = chunks.feed(more)
        return chunks.body, not chunks.rest

    def _until_closed(self, sock: socket, data: memoryview) -> bytes:
        parts = [bytes(data)]
        while part := sock.recv(65536):
            parts.append(part)
        return b"".join(parts)
