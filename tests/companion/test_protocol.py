"""The protocol without a process: lines of bytes to values and back."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from samovar.companion import CompanionError, protocol
from tests.companion.conftest import context

TRACE_ID = b"Root=1-5759e988-bd862e3fe1be46a994272793"


def told(given: Any, trace_id: bytes = TRACE_ID) -> Any:
    return json.loads(protocol.encode_context(given, trace_id))


def test_a_request_is_one_line() -> None:
    assert protocol.encode_request(b"[1]", b"{}") == b'{"event":[1],"context":{}}\n'


@pytest.mark.parametrize(
    ("event", "sent"),
    [
        (b'{\n  "a": [1,\r\n 2]\n}\n', b'{   "a": [1,   2] } '),
        ('"\u2028\u2029\u00e9"'.encode(), '"\\u2028\\u2029\u00e9"'.encode()),  # line ends to Node's readline
        ('"\u201c\u201d"'.encode(), '"\u201c\u201d"'.encode()),
        ("\ufeff[1]".encode(), b"[1]"),
        (b'{"a": 1.50, "a": 2e5}', b'{"a": 1.50, "a": 2e5}'),
        (b"not JSON", b"not JSON"),  # it has no line end: the program may judge it
    ],
)
def test_an_event_is_changed_only_where_it_means_the_same(event: bytes, sent: bytes) -> None:
    assert protocol.encode_request(event, b"{}") == b'{"event":' + sent + b',"context":{}}\n'


@pytest.mark.parametrize("event", [b'"a\nb"', b'"a\rb"', b'1,\n"x":2', b"\n", b"[NaN]\n"])
def test_an_event_with_line_ends_that_is_not_json_is_refused(event: bytes) -> None:
    with pytest.raises(CompanionError, match="Unable to unmarshal input: ") as caught:
        protocol.encode_request(event, b"{}")
    assert caught.value.error_type == "Runtime.UnmarshalError"


def test_a_context_has_twelve_members_in_order() -> None:
    given = context()
    assert list(told(given).items()) == [
        ("awsRequestId", given.aws_request_id),
        ("functionName", "hello"),
        ("functionVersion", "$LATEST"),
        ("invokeid", given.aws_request_id),
        ("isDefaultFunctionVersion", True),
        ("logGroupName", "/aws/lambda/hello"),
        ("logStreamName", "2026/11/22/[$LATEST]aa"),
        ("memoryLimitInMB", "128"),
        ("deadlineMs", given._epoch_deadline_time_in_ms),
        ("invokedFunctionArn", "arn:aws:lambda:eu-central-1:123456789012:function:hello"),
        ("traceId", TRACE_ID.decode()),
        ("tenantId", "blue"),
    ]


@pytest.mark.parametrize("given", [None, object(), SimpleNamespace(), SimpleNamespace(aws_request_id=None)])
def test_what_a_context_does_not_have_is_empty(given: object) -> None:
    described = told(given, b"")
    assert (described.pop("isDefaultFunctionVersion"), described.pop("deadlineMs")) == (False, 0)
    assert list(described.values()) == [""] * 10


def test_what_is_encoded_once_is_that_of_the_function() -> None:
    for name in ("one", "100 %d", '"two"', "\u00e9", "one"):
        for tenant in ("blue", None, "%b"):
            described = told(context(function_name=name, tenant_id=tenant, aws_request_id=f"r {name}"))
            assert (described["functionName"], described["tenantId"]) == (name, tenant or "")
            assert described["awsRequestId"] == described["invokeid"] == f"r {name}"


def test_a_trace_id_that_is_not_utf8_is_still_json() -> None:
    assert told(None, b"\xff")["traceId"] == "\udcff"


def test_a_request_is_read_back() -> None:
    given = context(tenant_id=None)
    line = protocol.encode_request(b'{"a":1}', protocol.encode_context(given, b""))
    event, attributes = protocol.decode_request(line)
    assert event == {"a": 1}
    assert {name: attributes[name] for name in given.__dict__} == given.__dict__


def test_a_request_with_the_members_of_lambda_proc_alone_has_no_deadline() -> None:
    theirs = told(context())
    for ours in ("deadlineMs", "invokedFunctionArn", "traceId", "tenantId"):
        del theirs[ours]
    _, attributes = protocol.decode_request(protocol.encode_request(b"1", json.dumps(theirs).encode()))
    assert attributes["_epoch_deadline_time_in_ms"] == 0
    assert attributes["invoked_function_arn"] is attributes["tenant_id"] is None


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"event":1}', b'{"event":1,"context":{}}', b'{"event":1,'])
def test_a_line_that_is_not_a_request_is_refused(line: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        protocol.decode_request(line)


@pytest.mark.parametrize("data", [b"null", b'{"b":1.50,"b":1E5}', b'"}"', '"\u00e9"'.encode()])
@pytest.mark.parametrize("number", [0, 7, 123456])
def test_an_answer_is_read_back_byte_for_byte(number: int, data: bytes) -> None:
    line = protocol.encode_answer(number, data)
    assert line.endswith(b"}\n")
    assert protocol.decode_answer(line[:-1], number) == (json.loads(data), data, None)


@pytest.mark.parametrize(
    ("line", "data", "document"),
    [
        (b'{"proc_req_id": 3, "error": null, "data": [1, 2]}', [1, 2], b"[1, 2]"),
        (b'{"data":[1, 2],"error":null,"proc_req_id":3}', [1, 2], None),
        (b'{"proc_req_id":3, "data" : 7}  \r', 7, None),
        (b'{"proc_req_id":3,"error":null,"data":7}\r', 7, None),
        (b'{"proc_req_id":3,"error":null,"data":{"x":1},"took":{"ms":3}}', {"x": 1}, None),
        (b'{"proc_req_id":3,"data":"NaN, Infinity"}', "NaN, Infinity", None),
        (b'{"proc_req_id":3}', None, None),
    ],
)
def test_an_answer_may_have_any_layout(line: bytes, data: object, document: bytes | None) -> None:
    assert protocol.decode_answer(line, 3) == (data, document, None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "wrote a line that is not JSON ("),
        (b"Hello", "wrote a line that is not JSON ("),
        (b'{"proc_req_id":3,"error":null,"data":', "wrote a line that is not JSON ("),
        (b'{"proc_req_id":3,"error":null,"data":}', "wrote a line that is not JSON ("),
        (b'{"proc_req_id":3,"error":null,"data":1]}', "wrote a line that is not JSON ("),
        (b'{"proc_req_id":3,"error":null,"data":\xef\xbb\xbf1}', "wrote a line that is not JSON ("),
        (b'{"proc_req_id":3,"error":null,"data":"\xff"}', "wrote a line that is not JSON ("),
        (b'{"proc_req_id":3,"error":null,"data":NaN}', "wrote a line that is not JSON (NaN is not a JSON value)"),
        (b'{"data":[-Infinity],"proc_req_id":3}', "wrote a line that is not JSON (-Infinity is not a JSON value)"),
        (b"[" * 200_000 + b"]" * 200_000, "wrote a line that is not JSON ("),
        (b"[3]", "wrote a line that is not an answer: it has no proc_req_id"),
        (b'{"error":null}', "wrote a line that is not an answer: it has no proc_req_id"),
        (b'{"proc_req_id":2,"error":null,"data":1}', "answered request 3 with proc_req_id 2 (each process counts"),
        (b'{"proc_req_id":"3","error":null,"data":1}', "answered request 3 with proc_req_id '3' (each process counts"),
    ],
)
def test_a_line_that_is_not_an_answer_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(protocol.NotAnAnswer) as caught:
        protocol.decode_answer(line, 3)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("error", "error_type", "message"),
    [
        (b'"it failed"', "Companion.Error", "it failed"),
        (b'"ValueError: no number: x"', "ValueError", "no number: x"),
        (b'"java.io.IOException: gone"', "java.io.IOException", "gone"),
        (b'"My_Error2:  x "', "My_Error2", "x"),
        (b'"open /x: no such file"', "Companion.Error", "open /x: no such file"),
        (b'"panic: nil map"', "Companion.Error", "panic: nil map"),
        (b'"Not a type: x"', "Companion.Error", "Not a type: x"),
        ('"\u00c4rger: x"'.encode(), "Companion.Error", "\u00c4rger: x"),
        (b'"' + b"A" * 100 + b': x"', "A" * 100, "x"),
        (b'"' + b"A" * 101 + b': x"', "Companion.Error", "A" * 101 + ": x"),
        (b'": x"', "Companion.Error", ": x"),
        (b'""', "Companion.Error", ""),
        (b'{"code": 7}', "Companion.Error", '{"code":7}'),
        (b"false", "Companion.Error", "false"),
    ],
)
def test_an_error_is_the_failure_it_names(error: bytes, error_type: str, message: str) -> None:
    data, document, fault = protocol.decode_answer(protocol.encode_answer(0, b"1", error)[:-1], 0)
    assert (data, document) == (1, None)
    assert fault is not None
    assert (fault.error_type, fault.message, fault.fatal) == (error_type, message, False)


@pytest.mark.parametrize("document", [b"NaN", b"[Infinity]", b'{"a":-Infinity}', b"", b"{", b"\xff"])
def test_what_is_not_json_is_not_read(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        protocol.loads(document)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": float("-inf")}])
def test_what_is_not_json_is_not_written(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a JSON value"):
        protocol.dumps(value)


@pytest.mark.parametrize("value", ["NaN", {"Infinity": "-Infinity"}, ["I", "N"], None, 1.5])
def test_the_words_themselves_are_strings_like_others(value: Any) -> None:
    assert protocol.loads(protocol.dumps(value)) == value
