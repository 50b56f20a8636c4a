"""The scripted Runtime API, as a user's own test takes it from the documentation."""

import socket
import textwrap
import threading
from pathlib import Path

import pytest

from samovar.local.testing import scripted_api

APP = """
def handler(event, context):
    return {"message": f"Hello, {event['name']}!"}
"""


def test_the_example_in_the_documentation_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert scripted_api.__doc__
    example = next(part for part in scripted_api.__doc__.split("\n\n") if part.startswith("    with "))
    exec(
        "import json, os, subprocess, sys\nfrom samovar.local.testing.scripted_api import *\n"
        + textwrap.dedent(example),
        {},
    )


HEAD = b"POST /2018-06-01/runtime/invocation/1/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_chunked_request_is_recorded_as_it_came() -> None:
    body = b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\nName: value\r\n\r\n"
    seen: list[bytes] = []
    with scripted_api.ScriptedRuntimeApi(on_chunk=seen.append) as api:
        host, _, port = api.address.partition(":")
        with socket.create_connection((host, int(port))) as sock:
            for byte in HEAD + body:
                sock.sendall(bytes([byte]))
            assert sock.recv(65536).startswith(b"HTTP/1.1 202 ")
            sock.sendall(HEAD + b"1\r\na\r\n2\r\nb")  # on the same connection, and never ended
        api.wait(lambda requests: len(requests) == 2)
        whole, broken = api.requests
    assert (whole.raw, whole.body, whole.chunks, whole.complete) == (HEAD + body, b"abc", (1, 2), True)
    assert whole.trailers == (("Name", "value"),)
    assert (len(whole.chunk_times), sorted(whole.chunk_times)) == (2, list(whole.chunk_times))
    assert (broken.raw, broken.body, broken.complete) == (HEAD + b"1\r\na\r\n2\r\nb", b"a", False)
    assert seen == [b"a", b"bc", b"a"]


def test_an_early_answer_comes_before_the_end_of_the_request() -> None:
    with scripted_api.ScriptedRuntimeApi() as api:
        api.override("POST /2018-06-01/runtime/invocation/ID/response", scripted_api.Answer(status=413, early=1))
        host, _, port = api.address.partition(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(HEAD + b"1\r\na\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")
            assert sock.recv(65536) == b""


def test_a_reset_is_one() -> None:
    with scripted_api.ScriptedRuntimeApi(scripted_api.Answer(raw=b"", close="reset")) as api:
        host, _, port = api.address.partition(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                sock.recv(65536)


def test_it_closes_with_more_connections_in_next_than_it_had_counted() -> None:
    """As with connections that come while it closes."""
    api = scripted_api.ScriptedRuntimeApi()
    with api:
        host, port = api.address.split(":")
        sockets = [socket.create_connection((host, int(port))) for _ in range(3)]
        for sock in sockets:
            sock.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: a\r\n\r\n")
        api.wait(lambda requests: len(requests) == 3)
        api.connections = 0
        closing = threading.Thread(target=api.close, daemon=True)
        closing.start()
        closing.join(10)
        assert not closing.is_alive()
        for sock in sockets:
            sock.close()
