"""The parser with its bytes split everywhere, and the connection against a server that misbehaves byte by byte."""

import contextlib
import os
import select
import signal
import socket
import struct
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.wire import (
    Chunks,
    Connection,
    WireError,
    chunk,
    last_chunk,
    parse_address,
    parse_head,
    parse_length,
    send_whole,
)

CHUNKED = b"4\r\nWiki\r\n5;name=value\r\npedia\r\n0\r\nTrailer: x\r\n\r\n"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9001", ("127.0.0.1", 9001)),
        ("localhost", ("localhost", 80)),
        ("[::1]:9001", ("::1", 9001)),
        ("[::1]", ("::1", 80)),
        ("host:1", ("host", 1)),
        ("host:65535", ("host", 65535)),
    ],
)
def test_address(address: str, expected: tuple[str, int]) -> None:
    assert parse_address(address) == expected


@pytest.mark.parametrize("address", ["", ":9001", "host:", "host:x", "host:0", "host:65536", "host:-1"])
def test_bad_address(address: str) -> None:
    with pytest.raises(ValueError, match="want host:port"):
        parse_address(address)


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_lines_of_a_head_may_end_in_lf_alone(end: str) -> None:
    head = f"HTTP/1.1 200 OK{end}A: 1\nB:2 {end}C: d\re"
    assert parse_head(head) == (200, {"a": "1", "b": "2", "c": "d\re"})


def test_of_a_header_that_stands_twice_the_first_counts_and_lists_are_joined() -> None:
    twice = "Deadline: 1\r\nContent-Type: a\r\nConnection: close\r\nDEADLINE: 2\r\ncontent-type: b\r\nconnection: x"
    _, headers = parse_head(f"HTTP/1.1 200 OK\r\n{twice}")
    assert headers == {"deadline": "1", "content-type": "b", "connection": "close, x"}


@pytest.mark.parametrize(
    ("version", "connection", "closes"),
    [
        ("1.1", None, False),
        ("1.1", "foo, Close", True),
        ("1.1", "CLOSE", True),
        ("1.1", "closed", False),
        ("1.0", None, True),
        ("1.0", "foo", True),
        ("1.0", "foo, Keep-Alive", False),
    ],
)
def test_whether_a_connection_is_kept(version: str, connection: str | None, closes: bool) -> None:
    """Where it is not, the server may read on for a while and drop what comes."""
    line = "" if connection is None else f"Connection: {connection}\r\n"

    def play(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(f"HTTP/{version} 200 OK\r\n{line}Content-Length: 2\r\n\r\nok".encode())
        if closes:
            assert_no_more(peer)
        else:
            once(peer)

    with server(play, once) if closes else server(play) as client:
        assert bytes(client.request("GET", "/1", "", None)[2]) == b"ok"
        assert bytes(client.request("POST", "/2", "", b"result")[2]) == b"hello world"


def test_head_names_in_any_case_and_values_trimmed() -> None:
    status, headers = parse_head(
        "HTTP/1.1 202 Accepted\r\nCoNTent-LENGTH:  5 \r\nX:\t\r\nlambda-runtime-trace-id: a: b"
    )
    assert (status, headers) == (202, {"content-length": "5", "x": "", "lambda-runtime-trace-id": "a: b"})


@pytest.mark.parametrize(
    "head",
    [
        "",
        "SSH-2.0-OpenSSH",
        "HTTP/2 200",
        "HTTP/1.1",
        "HTTP/1.1 abc",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 200 OK\r\nno colon",
    ],
)
def test_head_that_is_not_http(head: str) -> None:
    with pytest.raises(WireError, match="not"):
        parse_head(head)


def test_length() -> None:
    assert parse_length({"content-length": "12"}) == 12
    assert parse_length({"transfer-encoding": "Chunked", "content-length": "12"}) is None
    assert parse_length({"transfer-encoding": "chunked, Chunked"}) is None
    assert parse_length({"content-length": "12, 12"}) == 12
    assert parse_length({}) == -1
    for bad in (
        {"content-length": "-1"},
        {"content-length": "1_0"},
        {"content-length": ""},
        {"content-length": "7, 5"},
        {"transfer-encoding": "gzip"},
        {"transfer-encoding": "gzip, chunked"},
    ):
        with pytest.raises(WireError):
            parse_length(bad)


@pytest.mark.parametrize("sent", [CHUNKED, CHUNKED.replace(b"\r\n", b"\n")], ids=["crlf", "lf"])
@pytest.mark.parametrize("cut", range(len(CHUNKED) + 1))
def test_chunks_cut_anywhere(sent: bytes, cut: int) -> None:
    chunks = Chunks()
    first = chunks.feed(sent[:cut])
    assert first is (cut >= len(sent))
    assert first or chunks.feed(sent[cut:])
    assert (bytes(chunks.body), bytes(chunks.rest)) == (b"Wikipedia", b"")


@given(st.lists(st.binary(min_size=1, max_size=40)), st.binary(max_size=20), st.data())
def test_any_chunking_in_any_pieces(parts: list[bytes], after: bytes, data: st.DataObject) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n" + after
    chunks = Chunks()
    done = False
    while not done:
        size = data.draw(st.integers(1, max(len(wire), 1)))
        done = chunks.feed(wire[:size])
        wire = wire[size:]
        assert done or wire
    assert bytes(chunks.body) == b"".join(parts)
    assert bytes(chunks.rest) + wire == after


@pytest.mark.parametrize("bad", [b"x\r\n", b"-4\r\n", b"4_0\r\n", b"\r\n", b"2\r\nabXY", b"2\r\nab\rX\n", b"a" * 5000])
def test_bad_chunks(bad: bytes) -> None:
    with pytest.raises(WireError):
        Chunks().feed(bad)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_parsers(data: bytes) -> None:
    for parse in (lambda: parse_head(data.decode("utf-8", "surrogateescape")), lambda: Chunks().feed(data)):
        try:
            parse()
        except WireError:
            pass


@contextmanager
def server(*connections: Callable[[socket.socket], None]) -> Iterator[Connection]:
    """A server that gives each connection in turn to one of the functions; and a client for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for play in connections:
                peer, _ = listener.accept()
                with peer:
                    play(peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = Connection(f"127.0.0.1:{listener.getsockname()[1]}")
        yield client
        client.close()
        thread.join(60)
        assert not thread.is_alive()


def answers(*parts: bytes) -> Callable[[socket.socket], None]:
    """Answers every request with the parts, each in a segment of its own as far as TCP allows."""

    def play(peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while read_request(peer):
            for part in parts:
                peer.sendall(part)

    return play


def read_request(peer: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            while len(body) < int(line[15:]):
                body += peer.recv(1 << 20)
    return head + b"\r\n\r\n" + body


def assert_no_more(peer: socket.socket) -> None:
    """Waits for the client to close its end."""
    try:
        assert peer.recv(1) == b""
    except ConnectionResetError:
        pass  # it had not read everything


ANSWER = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 11\r\n\r\nhello world"


@pytest.mark.parametrize("cut", range(1, len(ANSWER)))
def test_answer_cut_anywhere(cut: int) -> None:
    def play(peer: socket.socket) -> None:
        read_request(peer)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.sendall(ANSWER[:cut])
        peer.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) if select_readable(peer) else None
        peer.sendall(ANSWER[cut:])

    with server(play) as client:
        status, headers, body = client.request("GET", "/", "", None)
    assert (status, headers["x-a"], bytes(body)) == (200, "1", b"hello world")


def select_readable(peer: socket.socket) -> bool:
    import select

    return bool(select.select([peer], [], [], 0.001)[0])


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 70_000, 6 << 20, 12 << 20])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_of_any_size_both_ways(size: int, chunked: bool) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    seen = []

    def play(peer: socket.socket) -> None:
        for _ in range(2):
            seen.append(read_request(peer).partition(b"\r\n\r\n")[2])
            if chunked:
                half = size // 2
                peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for part in (content[:half], content[half:]):
                    if part:
                        peer.sendall(b"%x\r\n%b\r\n" % (len(part), part))
                peer.sendall(b"0\r\n\r\n")
            else:
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + content)

    with server(play) as client:
        for _ in range(2):
            status, _, body = client.request("POST", "/x", "A: b\r\n", content)
            assert status == 200
            assert bytes(body) == content
    assert seen == [content, content]


def test_head_longer_than_the_buffer() -> None:
    value = b"v" * 100_000
    with server(answers(b"HTTP/1.1 200 OK\r\nX: " + value + b"\r\nContent-Length: 2\r\n\r\nok")) as client:
        _, headers, body = client.request("GET", "/", "", None)
        assert (len(headers["x"]), bytes(body)) == (100_000, b"ok")


def test_no_length_ends_with_the_connection_and_a_new_one_is_opened() -> None:
    def play(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    with server(play, play) as client:
        for _ in range(2):
            assert bytes(client.request("GET", "/", "", None)[2]) == b"all of it"


def once(peer: socket.socket) -> None:
    read_request(peer)
    peer.sendall(ANSWER)


def test_a_connection_closed_between_requests_is_opened_again() -> None:
    with server(once, once, once) as client:
        assert client.request("GET", "/1", "", None)[0] == 200
        assert client.request("GET", "/2", "", None)[0] == 200
        wait_for_close(client)
        assert client.request("POST", "/3", "", b"body")[0] == 200


def reset(peer: socket.socket) -> None:
    """Closes it, whatever has been read, with a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("read", [False, True])
def test_a_reset_does_not_tell_whether_a_post_was_taken(read: bool) -> None:
    taken = []

    def play(peer: socket.socket) -> None:
        once(peer)
        if read:
            taken.append(read_request(peer)[-6:])
            reset(peer)
        else:
            peer.recv(1, socket.MSG_PEEK)

    with server(play) as client:
        client.request("GET", "/1", "", None)
        with pytest.raises(WireError, match="reset by peer; it is not known whether it was taken"):
            client.request("POST", "/2", "", b"result")
    assert taken == ([b"result"] if read else [])


def test_a_post_goes_over_a_new_connection_where_the_server_has_closed_and_reads_on() -> None:
    dropped = []

    def half_close(peer: socket.socket) -> None:
        once(peer)
        peer.shutdown(socket.SHUT_WR)
        dropped.append(peer.recv(1))

    with server(half_close, once) as client:
        client.request("GET", "/1", "", None)
        wait_for_close(client)
        assert client.request("POST", "/2", "", b"result")[0] == 200
    assert dropped == [b""]


def test_the_word_in_which_a_server_closes_is_not_the_answer_to_a_post() -> None:
    read = threading.Event()

    def play(peer: socket.socket) -> None:
        once(peer)
        read.wait()
        peer.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        peer.shutdown(socket.SHUT_WR)
        assert_no_more(peer)

    with server(play, once) as client:
        client.request("GET", "/1", "", None)
        read.set()
        assert client._sock is not None
        client._sock.recv(1000, socket.MSG_PEEK | socket.MSG_WAITALL)  # up to its end
        assert client.request("POST", "/2", "", b"result")[0] == 200


def test_a_post_that_was_sent_in_part_is_repeated_as_nobody_can_have_taken_it() -> None:
    body = b"x" * (32 << 20)
    taken = []

    def close_on_arrival(peer: socket.socket) -> None:
        once(peer)
        peer.recv(1)

    def take(peer: socket.socket) -> None:
        taken.append(len(read_request(peer).partition(b"\r\n\r\n")[2]))
        peer.sendall(ANSWER)

    with server(close_on_arrival, take) as client:
        client.request("GET", "/1", "", None)
        assert client.request("POST", "/2", "", body)[0] == 200
    assert taken == [len(body)]


def test_a_refusal_that_does_not_wait_for_the_end_of_a_post_is_read() -> None:
    def refuse(peer: socket.socket) -> None:
        peer.recv(1)
        peer.sendall(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 2\r\n\r\nno")

    with server(refuse, once) as client:
        status, _, body = client.request("POST", "/1", "", b"x" * (32 << 20))
        assert (status, bytes(body)) == (413, b"no")
        assert client.request("POST", "/2", "", b"result")[0] == 200


def test_a_signal_handler_that_raises_leaves_no_answer_to_the_next_request() -> None:
    class Alarm(BaseException):
        pass

    def alarm(signum: int, frame: object) -> None:
        raise Alarm

    def late(peer: socket.socket) -> None:
        read_request(peer)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")

    before = signal.signal(signal.SIGUSR1, alarm)
    try:
        with server(late, once) as client:
            with pytest.raises(Alarm):
                client.request("POST", "/1", "", b"result")
            assert bytes(client.request("POST", "/2", "", b"result")[2]) == b"hello world"
    finally:
        signal.signal(signal.SIGUSR1, before)


def wait_for_close(client: Connection) -> None:
    assert client._sock is not None
    assert client._sock.recv(1, socket.MSG_PEEK) == b""


def test_a_get_is_asked_again_only_once() -> None:
    def hang_up(peer: socket.socket) -> None:
        read_request(peer)

    with server(once, hang_up) as client:
        client.request("GET", "/1", "", None)
        with pytest.raises(WireError, match="closed without an answer"):
            client.request("GET", "/2", "", None)


def test_a_post_that_may_have_been_taken_is_not_repeated() -> None:
    requests = []

    def take_and_hang_up(peer: socket.socket) -> None:
        requests.append(read_request(peer))
        peer.sendall(ANSWER)
        requests.append(read_request(peer))

    with server(take_and_hang_up) as client:
        client.request("GET", "/1", "", None)
        with pytest.raises(WireError, match="closed without an answer; it is not known whether it was taken"):
            client.request("POST", "/2", "", b"result")
    assert [request.split(b" ")[1] for request in requests] == [b"/1", b"/2"]


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP: .*SSH"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "truncated answer: .*HTTP/1.1 200"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nshort", "truncated answer: 5 of 20 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "truncated answer: 2 bytes"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "truncated answer: .*status 100"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * (5 << 20), "headers of more than 2097152 bytes"),
    ],
)
def test_what_is_wrong_is_named(sent: bytes, says: str) -> None:
    def play(peer: socket.socket) -> None:
        read_request(peer)
        with contextlib.suppress(ConnectionError):  # a client that has read enough goes away
            peer.sendall(sent)

    with server(play) as client, pytest.raises(WireError, match=says):
        client.request("GET", "/", "", None)


def exchanges(sent: bytes, piece: int, *, kept: bool) -> tuple[int, bytes]:
    """What a POST gets whose answer are these bytes, so many at a time. The next request is answered on the same
    connection, if that is kept, and else on another.
    """

    def play(peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        read_request(peer)
        for at in range(0, len(sent), piece):
            peer.sendall(sent[at : at + piece])
        if kept:
            once(peer)
        else:
            assert_no_more(peer)

    with server(play) if kept else server(play, once) as client:
        status, _, body = client.request("POST", "/1", "", b"result")
        seen = status, bytes(body)
        assert bytes(client.request("POST", "/2", "", b"result")[2]) == b"hello world"
    return seen


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER, 200, b"hello world"),
        (b"HTTP/1.1 103 Early Hints\r\nX-A: 2\r\n\r\nHTTP/1.1 100 C\n\n" + ANSWER, 200, b"hello world"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nX: y\r\n\r\n", 304, b""),
        (b"HTTP/1.1  200  OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\nContent-Length: 6\n\na\r\n\r\nb", 200, b"a\r\n\r\nb"),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\n\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    ],
)
@pytest.mark.parametrize("piece", [1, 1000])
def test_answers_that_are_unusual(sent: bytes, status: int, body: bytes, piece: int) -> None:
    assert exchanges(sent, piece, kept=True) == (status, body)


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nlonger", 200, b"lo"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\r\n", 200, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nmore", 200, b"a"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 101, b""),
    ],
)
def test_a_connection_whose_answer_goes_on_beyond_its_end_is_not_kept(sent: bytes, status: int, body: bytes) -> None:
    assert exchanges(sent, 1000, kept=False) == (status, body)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(WireError, match=f"cannot connect to 127.0.0.1:{port}"):
        Connection(f"127.0.0.1:{port}").request("GET", "/", "", None)


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1x200 OK",
        "HTTP/1.1200 OK",
        "HTTP/1.1 2a0 OK",
        "HTTP/1.1 20a OK",
        "HTTP/1.1 -20 OK",
        "HTTP/1.1  20",
        "ICY-/1.1 200 OK",
    ],
)
def test_a_status_line_is_one_in_every_part(head: str) -> None:
    with pytest.raises(WireError, match="not HTTP"):
        parse_head(head)


def test_a_header_that_is_no_longer_remembered_is_read_as_others_are() -> None:
    for i in range(200):
        assert parse_head(f"HTTP/1.1 200 OK\r\nX-Name-{i}: {i}") == (200, {f"x-name-{i}": str(i)})


def test_names_that_never_end_take_no_memory() -> None:
    def heads(numbers: range) -> None:
        for i in numbers:
            parse_head(f"HTTP/1.1 200 OK\r\nX-Ever-New-{i}: 1")

    heads(range(100))
    tracemalloc.start()
    try:
        heads(range(100, 2_100))
        assert tracemalloc.get_traced_memory()[0] < 50_000  # 2,000 names and their lower case would be 400,000
    finally:
        tracemalloc.stop()


def test_of_white_space_only_what_http_has_is_trimmed() -> None:
    assert parse_head("HTTP/1.1 200 OK\r\nX: \t\xa0\x0bvalue\x85\xa0\t ")[1] == {"x": "\xa0\x0bvalue\x85\xa0"}


@pytest.mark.parametrize("length", ["١٢", "१२", "+5", "5.0", "0x5", "²"])
def test_a_length_is_written_in_ascii_digits(length: str) -> None:
    with pytest.raises(WireError, match="Content-Length"):
        parse_length({"content-length": length})


def test_a_request_whose_answer_nobody_reads_is_sent_on_the_kept_connection_or_a_new_one() -> None:
    requests: list[bytes] = []

    def play(peer: socket.socket) -> None:
        while request := read_request(peer):
            requests.append(request)
            if b" /1 " in request:
                peer.sendall(ANSWER)

    with server(play) as client:
        client.send_only("GET", "/0", "A: b\r\n")
    with server(play) as client:
        client.request("GET", "/1", "", None)
        client.send_only("GET", "/2", "")
    assert [request.split(b" ")[1] for request in requests] == [b"/0", b"/1", b"/2"]
    assert b"A: b\r\n" in requests[0]


def test_a_connection_whose_descriptor_the_function_has_closed_can_be_closed() -> None:
    with server(once) as client:
        client.request("GET", "/", "", None)
        assert client._sock is not None
        os.close(client._sock.fileno())
        client.close()


# --- chunked requests


@given(st.lists(st.binary(min_size=1, max_size=100)), st.sampled_from(["", "Name: value\r\n", "A: 1\r\nB: 2\r\n"]))
def test_what_is_sent_in_chunks_is_read_in_chunks(bodies: list[bytes], trailers: str) -> None:
    reader = Chunks()
    for body in bodies:
        assert not reader.feed(b"".join(chunk(body)))
    assert reader.feed(last_chunk(trailers) + b"behind")
    assert (bytes(reader.body), bytes(reader.rest)) == (b"".join(bodies), b"behind")


def test_a_large_chunk_is_not_copied() -> None:
    body = b"x" * 100_000
    assert chunk(b"x" * 65536) == (b"10000\r\n" + b"x" * 65536 + b"\r\n",)
    assert [each is body for each in chunk(body)] == [False, True, False]


@pytest.mark.parametrize("waits", [False, True])
def test_all_buffers_are_sent_whatever_the_socket_takes_at_once(waits: bool) -> None:
    ours, theirs = socket.socketpair()
    buffers = b"head", b"x" * 5_000_000, b"", b"tail" * 100_000
    received = bytearray()
    waited: list[int] = []
    full = threading.Event()
    if not waits:
        full.set()

    def read() -> None:
        full.wait()
        while data := theirs.recv(1 << 20):
            received.extend(data)

    def wait(fd: int) -> None:
        waited.append(fd)
        full.set()
        select.select([], [fd], [])

    with ours, theirs:
        thread = threading.Thread(target=read)
        thread.start()
        send_whole(ours, buffers, wait if waits else None)
        ours.shutdown(socket.SHUT_WR)
        thread.join()
        assert bytes(received) == b"".join(buffers)
        assert set(waited) == ({ours.fileno()} if waits else set())


def test_an_exception_of_the_chunks_gets_out_and_the_body_stays_without_its_end() -> None:
    seen: list[bytes] = []

    def play(peer: socket.socket) -> None:
        while data := peer.recv(65536):
            seen.append(data)

    def chunks() -> Iterator[bytes]:
        yield b"a"
        raise KeyError("chunks")

    with server(play) as client, pytest.raises(KeyError):
        client.stream("POST", "/1", "", chunks(), lambda: "")
    assert b"".join(seen).endswith(b"\r\n\r\n1\r\na\r\n")


@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_an_answer_before_the_end_of_the_body_ends_it(interim: bytes) -> None:
    def play(peer: socket.socket) -> None:
        peer.recv(65536)
        peer.sendall(interim + b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        while peer.recv(65536):
            pass

    asked = []

    def chunks() -> Iterator[bytes]:
        while True:
            asked.append(True)
            yield b"a"

    with server(play) as client:
        status, _, body = client.stream("POST", "/1", "", chunks(), lambda: "")
        assert (status, bytes(body)) == (413, b"no")
    assert asked
