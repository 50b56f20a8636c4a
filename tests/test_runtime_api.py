"""What the Runtime API's client keeps between its calls."""

import socket
import threading

import pytest

from samovar.local.testing.scripted_api import ScriptedRuntimeApi
from samovar.runtime_api import ApiError, RuntimeClient
from tests.invocations import invocation

EVENT_NEXT = b"GET /2020-01-01/extension/event/next "


def test_the_extension_goes_on_waiting_for_its_event() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = RuntimeClient(f"127.0.0.1:{server.getsockname()[1]}")
        register = threading.Thread(target=client.register_extension)
        register.start()
        peer, _ = server.accept()
        with peer:
            assert b"/register" in peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: x\r\nContent-Length: 0\r\n\r\n")
            register.join()
            assert peer.recv(65536).startswith(EVENT_NEXT)
            with pytest.raises(BlockingIOError):  # no more, and no end: the connection is open
                peer.recv(1, socket.MSG_DONTWAIT)


def test_a_disowned_client_makes_no_call() -> None:
    with ScriptedRuntimeApi() as api:
        client = RuntimeClient(api.address)
        client.fail_init(b"{}", "Before")
        client.disown()
        with pytest.raises(ApiError, match="a process that the function forked"):
            client.next()
        with pytest.raises(ApiError, match="a process that the function forked"):
            client.respond(invocation(), b"{}")
        assert [request.call.rpartition("/")[2] for request in api.requests] == ["error"]
