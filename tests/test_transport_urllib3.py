"""The transport over urllib3: for the same bytes it gives what the wire gives. Its behaviour under faults is in
tests/contract/test_wire_faults.py, on both.
"""

import logging
from dataclasses import replace

import pytest

from samovar.local.testing.scripted_api import NEXT, Answer, ScriptedRuntimeApi, invocation
from samovar.transport_urllib3 import Urllib3Transport
from samovar.wire import Connection, WireError

PATH = "/2018-06-01/runtime/invocation/next"
TRANSPORTS = Connection, Urllib3Transport


@pytest.mark.parametrize(
    "answer",
    [
        invocation(b'{"a":1}', headers=[("X-Odd", "caf\xc3\xa9")]),
        invocation(b"x" * 100_000, chunk=1000),
        Answer(b"one", headers=(("X-A", "1"), ("X-A", "2"), ("Content-Type", "a/b"), ("Content-Type", "c/d"))),
        Answer(b"", 204),
        Answer(b"no", 403, close="announced"),
    ],
    ids=["headers", "chunked", "repeated", "empty", "refused"],
)
def test_an_answer_is_read_as_the_wire_reads_it(answer: Answer) -> None:
    read = []
    for transport in TRANSPORTS:
        with ScriptedRuntimeApi(answer) as api:
            status, headers, body = transport(api.address).request("GET", PATH, "X-Name: value\r\n", None)
        read.append((status, headers, bytes(body)))
    assert read[0] == read[1]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_answer_that_is_cut_off_anywhere_is_none(transport: type[Connection]) -> None:
    answer = invocation(b"{}", "id-1")
    cuts = range(1, len(answer.wire()))
    with ScriptedRuntimeApi(*(replace(answer, cut=cut) for cut in cuts)) as api:
        for _ in cuts:
            with pytest.raises(WireError):
                transport(api.address).request("GET", PATH, "", None)


def test_a_request_is_sent_as_the_wire_sends_it() -> None:
    sent = []
    for transport in TRANSPORTS:
        with ScriptedRuntimeApi() as api:
            transport(api.address).request("POST", "/a/error", "Content-Type: a/b\r\nX-Name: é: 1\r\n", b"body")
            (request,) = api.requests
        names = ("Content-Type", "X-Name", "Content-Length", "Host")
        sent.append((request.call, request.body, [request.header(name) for name in names[:3]]))
    assert sent[0] == sent[1]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_get_is_asked_again_where_the_kept_connection_has_ended(transport: type[Connection]) -> None:
    with ScriptedRuntimeApi(invocation(b"1", close="silent"), invocation(b"2")) as api:
        client = transport(api.address)
        assert [bytes(client.request("GET", PATH, "", None)[2]) for _ in range(2)] == [b"1", b"2"]
        assert [request.call for request in api.requests] == [NEXT, NEXT]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_post_that_is_not_answered_may_have_been_taken(transport: type[Connection]) -> None:
    with ScriptedRuntimeApi() as api:
        api.override("POST /a/error", Answer(raw=b""))
        with pytest.raises(WireError, match="it is not known whether it was taken"):
            transport(api.address).request("POST", "/a/error", "", b"body")
        assert len(api.requests) == 1


@pytest.mark.parametrize("address", ["host:", ":1", "host:0"])
def test_an_address_is_checked_as_the_wire_checks_it(address: str) -> None:
    for transport in TRANSPORTS:
        with pytest.raises(ValueError, match="is not an address: want host:port"):
            transport(address)


def test_its_own_requests_are_not_in_the_functions_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), ScriptedRuntimeApi(invocation()) as api:
        Urllib3Transport(api.address).request("GET", PATH, "", None)
        logging.getLogger("urllib3.connectionpool").debug("the function's own")
    assert [record.getMessage() for record in caplog.records] == ["the function's own"]
