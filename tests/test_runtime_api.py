"""The client of the Runtime API: each call, what it raises, and what it keeps between calls."""

import posix
import socket
import threading

import pytest

from samovar.local.testing.scripted_api import ARN, TRACE_ID, Answer, ScriptedRuntimeApi
from samovar.local.testing.scripted_api import invocation as event
from samovar.runtime_api import ApiError, Ended, NotTaken, RuntimeClient
from tests.invocations import invocation

EVENT_NEXT = b"GET /2020-01-01/extension/event/next "


@pytest.fixture(params=["wire", "urllib3"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the test's clients use each transport in turn."""
    monkeypatch.setitem(posix.environ, b"SAMOVAR_TRANSPORT", request.param.encode())


def test_the_extension_goes_on_waiting_for_its_event() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = RuntimeClient(f"127.0.0.1:{server.getsockname()[1]}")
        register = threading.Thread(target=client.register_extension)
        register.start()
        peer, _ = server.accept()
        with peer:
            asked = peer.recv(65536)
            assert b"/register" in asked
            assert asked.endswith(b'\r\n\r\n{"events":[]}')  # Managed Instances refuse one that wants to see INVOKE
            peer.sendall(b"HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: x\r\nContent-Length: 0\r\n\r\n")
            register.join()
            assert peer.recv(65536).startswith(EVENT_NEXT)
            with pytest.raises(BlockingIOError):  # no more, and no end: the connection is open
                peer.recv(1, socket.MSG_DONTWAIT)


@pytest.mark.usefixtures("transport")
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


@pytest.mark.usefixtures("transport")
def test_a_restore_is_waited_for_on_a_connection_of_its_own() -> None:
    with ScriptedRuntimeApi(event()) as api:
        client = RuntimeClient(api.address)
        client.fail_init(b"{}", "Before")
        client.restore_next()
        client.fail_restore(b'{"a":1}', "Runtime.AfterRestoreError")
        init, restore, error = api.requests
        assert (restore.method, restore.path) == ("GET", "/2018-06-01/runtime/restore/next")
        assert (error.method, error.path) == ("POST", "/2018-06-01/runtime/restore/error")
        assert (error.body, error.header("Content-Type")) == (b'{"a":1}', "application/json")
        assert error.header("Lambda-Runtime-Function-Error-Type") == "Runtime.AfterRestoreError"
        assert restore.connection not in (init.connection, error.connection)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (Answer(b"because", 404), ApiError, "status 404 where 200 was expected: b'because'"),
        (Answer(status=202), ApiError, "status 202 where 200 was expected"),
        (Answer(raw=b"SSH-2.0\r\n"), ApiError, "not HTTP"),
        (Answer(raw=b""), Ended, "closed without an answer"),
    ],
)
def test_a_restore_that_does_not_come(answer: Answer, kind: type[ApiError], says: str) -> None:
    with ScriptedRuntimeApi() as api:
        api.override("GET /2018-06-01/runtime/restore/next", answer)
        with pytest.raises(ApiError, match=f"^GET /2018-06-01/runtime/restore/next: .*{says}") as caught:
            RuntimeClient(api.address).restore_next()
    assert type(caught.value) is kind


def test_an_invocation_is_what_the_headers_say() -> None:
    headers = (
        ("Lambda-Runtime-Client-Context", "{}"),
        ("Lambda-Runtime-Cognito-Identity", '{"a":1}'),
        ("Lambda-Runtime-Aws-Tenant-Id", "tenant"),
        ("Lambda-Runtime-Invocation-Id", "invocation"),
        ("Lambda-Runtime-Deadline-Ms", "1"),
    )
    with ScriptedRuntimeApi(event(b"[1]", "request-1", headers=headers), event(b"{}", content_type=None)) as api:
        client = RuntimeClient(api.address)
        first = client.next()
        assert bytes(first.take_event()) == b"[1]"
        assert (first.id, first.content_type, first.deadline_ms) == ("request-1", "application/json", "1")
        assert (first.client_context, first.identity) == ("{}", '{"a":1}')
        assert (first.tenant_id, first.invocation_id) == ("tenant", "invocation")
        assert (first.arn, first.trace_id) == (ARN, TRACE_ID)
        second = client.next()
        assert (second.content_type, second.client_context, second.identity) == (None, None, None)
        assert (second.tenant_id, second.invocation_id) == (None, None)


def test_what_is_posted_carries_its_headers() -> None:
    with ScriptedRuntimeApi() as api:
        client = RuntimeClient(api.address)
        client.respond(invocation(invocation_id="invocation"), b"\0", "application/unknown")
        client.respond(invocation("../é"), b"{}")
        client.fail(invocation(), b"{}", "Caf\xe9", b'{"a":1}')
        binary, odd, error = api.requests
    assert binary.header("Content-Type") == "application/unknown"
    assert binary.header("Lambda-Runtime-Invocation-Id") == "invocation"
    assert odd.path == "/2018-06-01/runtime/invocation/..%2F%C3%A9/response"
    assert odd.header("Content-Type") == "application/json"
    assert odd.header("Lambda-Runtime-Invocation-Id") is None
    assert error.header("Lambda-Runtime-Function-Error-Type") == "Caf?"
    assert error.header("Lambda-Runtime-Function-XRay-Error-Cause") == '{"a":1}'


@pytest.mark.parametrize("status", [200, 202, 299])
def test_a_status_from_200_on_takes_the_response(status: int) -> None:
    with ScriptedRuntimeApi() as api:
        api.override("POST /2018-06-01/runtime/invocation/ID/response", Answer(status=status))
        RuntimeClient(api.address).respond(invocation(), b"{}")


@pytest.mark.parametrize(("status", "kind"), [(403, NotTaken), (413, NotTaken), (300, NotTaken), (500, ApiError)])
def test_what_a_refusal_is(status: int, kind: type[ApiError]) -> None:
    with ScriptedRuntimeApi() as api:
        api.override("POST /2018-06-01/runtime/invocation/ID/response", Answer(b"because", status))
        with pytest.raises(ApiError, match=f"status {status} where 202 was expected: b'because'") as caught:
            RuntimeClient(api.address).respond(invocation(), b"{}")
    assert (type(caught.value), caught.value.status) == (kind, status)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(b"because", 404), "status 404 where 200 was expected: b'because'"),
        (event(headers=[("Lambda-Runtime-Aws-Request-Id", None)]), "the answer has no request id"),
        (Answer(raw=b"SSH-2.0-OpenSSH\r\n"), "not HTTP"),
    ],
)
def test_an_answer_to_next_without_an_invocation(answer: Answer, says: str) -> None:
    with ScriptedRuntimeApi(answer) as api, pytest.raises(ApiError, match=f"GET .*/next: {says}"):
        RuntimeClient(api.address).next()


def test_a_transport_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMOVAR_TRANSPORT", "http2")
    with pytest.raises(ValueError, match="SAMOVAR_TRANSPORT='http2': want urllib3, or nothing"):
        RuntimeClient("127.0.0.1:1")
