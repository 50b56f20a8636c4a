"""The parser with its bytes split everywhere, and the connection against a server that misbehaves byte by byte."""

import os
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.wire import Chunks, Connection, WireError, parse_address, parse_head, parse_length

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


def test_head_names_in_any_case_and_values_trimmed() -> None:
    status, headers = parse_head(
        "HTTP/1.1 202 Accepted\r\nCoNTent-LENGTH:  5 \r\nX:\t\r\nlambda-runtime-trace-id: a: b"
    )
    assert (status, headers) == (202, {"content-length": "5", "x": "", "lambda-runtime-trace-id": "a: b"})


@pytest.mark.parametrize(
    "head", ["", "SSH-2.0-OpenSSH", "HTTP/2 200", "HTTP/1.1", "HTTP/1.1 abc", "HTTP/1.1 200 OK\r\nno colon"]
)
def test_head_that_is_not_http(head: str) -> None:
    with pytest.raises(WireError, match="not"):
        parse_head(head)


def test_length() -> None:
    assert parse_length({"content-length": "12"}) == 12
    assert parse_length({"transfer-encoding": "Chunked", "content-length": "12"}) is None
    assert parse_length({}) == -1
    for bad in (
        {"content-length": "-1"},
        {"content-length": "1_0"},
        {"content-length": ""},
        {"transfer-encoding": "gzip"},
    ):
        with pytest.raises(WireError):
            parse_length(bad)


@pytest.mark.parametrize("cut", range(len(CHUNKED) + 1))
def test_chunks_cut_anywhere(cut: int) -> None:
    chunks = Chunks()
    first = chunks.feed(CHUNKED[:cut])
    assert first is (cut == len(CHUNKED))
    assert first or chunks.feed(CHUNKED[cut:])
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


@pytest.mark.parametrize("bad", [b"x\r\n", b"-4\r\n", b"4_0\r\n", b"\r\n", b"2\r\nabXY", b"a" * 5000])
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
        status, headers, body = client.request("GET", "/", {}, None)
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
            status, _, body = client.request("POST", "/x", {"A": "b"}, content)
            assert status == 200
            assert bytes(body) == content
    assert seen == [content, content]


def test_head_longer_than_the_buffer() -> None:
    value = b"v" * 100_000
    with server(answers(b"HTTP/1.1 200 OK\r\nX: " + value + b"\r\nContent-Length: 2\r\n\r\nok")) as client:
        _, headers, body = client.request("GET", "/", {}, None)
        assert (len(headers["x"]), bytes(body)) == (100_000, b"ok")


def test_no_length_ends_with_the_connection_and_a_new_one_is_opened() -> None:
    def play(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    with server(play, play) as client:
        for _ in range(2):
            assert bytes(client.request("GET", "/", {}, None)[2]) == b"all of it"


def once(peer: socket.socket) -> None:
    read_request(peer)
    peer.sendall(ANSWER)


def test_a_connection_closed_between_requests_is_opened_again() -> None:
    with server(once, once, once) as client:
        assert client.request("GET", "/1", {}, None)[0] == 200
        assert client.request("GET", "/2", {}, None)[0] == 200
        wait_for_close(client)
        assert client.request("POST", "/3", {}, b"body")[0] == 200


def test_a_connection_closed_with_the_post_on_its_way_loses_nothing() -> None:
    taken = []

    def close_on_arrival(peer: socket.socket) -> None:
        once(peer)
        peer.recv(1, socket.MSG_PEEK)

    def take(peer: socket.socket) -> None:
        taken.append(read_request(peer))
        peer.sendall(ANSWER)

    with server(close_on_arrival, take) as client:
        client.request("GET", "/1", {}, None)
        assert client.request("POST", "/2", {}, b"result")[0] == 200
    assert [request[-6:] for request in taken] == [b"result"]


def wait_for_close(client: Connection) -> None:
    assert client._sock is not None
    assert client._sock.recv(1, socket.MSG_PEEK) == b""


def test_a_get_is_asked_again_only_once() -> None:
    def hang_up(peer: socket.socket) -> None:
        read_request(peer)

    with server(once, hang_up) as client:
        client.request("GET", "/1", {}, None)
        with pytest.raises(WireError, match="closed without an answer"):
            client.request("GET", "/2", {}, None)


def test_a_post_that_may_have_been_taken_is_not_repeated() -> None:
    requests = []

    def take_and_hang_up(peer: socket.socket) -> None:
        requests.append(read_request(peer))
        peer.sendall(ANSWER)
        requests.append(read_request(peer))

    with server(take_and_hang_up) as client:
        client.request("GET", "/1", {}, None)
        with pytest.raises(WireError, match="closed without an answer"):
            client.request("POST", "/2", {}, b"result")
    assert [request.split(b" ")[1] for request in requests] == [b"/1", b"/2"]


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP: .*SSH"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "truncated answer: .*HTTP/1.1 200"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nshort", "truncated answer: 5 of 20 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "truncated answer: 2 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nlonger", "4 bytes more than Content-Length 2"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore", "4 bytes after the last chunk"),
    ],
)
def test_what_is_wrong_is_named(sent: bytes, says: str) -> None:
    def play(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(sent)

    with server(play) as client, pytest.raises(WireError, match=says):
        client.request("GET", "/", {}, None)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(WireError, match=f"cannot connect to 127.0.0.1:{port}"):
        Connection(f"127.0.0.1:{port}").request("GET", "/", {}, None)


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
        client.send_only("GET", "/0", {"A": "b"})
    with server(play) as client:
        client.request("GET", "/1", {}, None)
        client.send_only("GET", "/2", {})
    assert [request.split(b" ")[1] for request in requests] == [b"/0", b"/1", b"/2"]
    assert b"A: b\r\n" in requests[0]


def test_a_connection_whose_descriptor_the_function_has_closed_can_be_closed() -> None:
    with server(once) as client:
        client.request("GET", "/", {}, None)
        assert client._sock is not None
        os.close(client._sock.fileno())
        client.close()
