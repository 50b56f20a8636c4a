"""An HTTP event is told by what is in it, becomes the request that was sent, and gets an answer in its own form."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from samovar.handler import sources
from samovar.handler.sources.http import Answer, Request
from tests.handler import events
from tests.handler.events import EVENTS

JOINED = {"function_url", "http_api", "lattice_v1"}  # repeated headers come joined
LAST = {"alb_single"}  # and here the last


def request(event: Any) -> Request:
    source = sources.find(event)
    assert source is not None
    return source.request(event)


def answer(event: Any, *headers: tuple[str, str], body: bytes = b"text", status: int = 200) -> Any:
    source = sources.find(event)
    assert source is not None
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return json.loads(sources.respond(source, event, Answer(status, pairs, body)))


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_told_by_what_is_in_it(name: str) -> None:
    meant = [source.__name__.rpartition(".")[2] for source in sources.SOURCES if source.means(EVENTS[name])]  # type: ignore[attr-defined]
    want = {"http_api_1": "rest_api", "alb_single": "alb"}.get(name, name)
    assert meant[0] == want
    assert set(meant) <= {want, "http_api"}  # a Function URL's event is asked for before


@pytest.mark.parametrize(
    "event",
    [
        {},
        None,
        [],
        "text",
        {"Records": []},
        {"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}},
        {"type": "TOKEN", "methodArn": "arn:aws:execute-api:eu-west-1:1:a/live/GET/", "authorizationToken": "x"},
        events.rest_api(type="REQUEST", methodArn="arn:aws:execute-api:eu-west-1:1:a/live/GET/"),
        events.http_api(type="REQUEST", routeArn="arn:aws:execute-api:eu-west-1:1:a/live/GET/"),
        {"requestContext": {"connectionId": "c", "routeKey": "$connect", "eventType": "CONNECT"}, "headers": {}},
        {"requestContext": {"connectionId": "c", "routeKey": "$default", "eventType": "MESSAGE"}, "body": "hello"},
        {"Records": [{"cf": {"request": {"method": "GET", "uri": "/", "querystring": "", "headers": {}}}}]},
        {"apiPath": "/a", "httpMethod": "GET", "actionGroup": "g"},
        {"requestContext": None, "httpMethod": "GET"},
    ],
    ids=str,
)
def test_an_event_that_is_no_request_has_no_source(event: Any) -> None:
    assert sources.find(event) is None


@pytest.mark.parametrize("name", EVENTS)
def test_every_source_gives_the_request_that_the_client_sent(name: str) -> None:
    made = request(EVENTS[name])
    root = {"rest_api": "/live", "http_api_1": "/live"}.get(name, "")
    assert (made.method, made.path.decode(), made.root_path) == ("POST", f"{root}/orders/café au", root)
    assert made.raw_path.decode() == f"{root}/orders/caf%C3%A9%20au"
    assert made.body.decode() == "Grüße"
    assert made.client == "203.0.113.7"
    assert [value for key, value in made.headers if key == b"cookie"] == [b"a=1; b=2"]
    many = [value for key, value in made.headers if key == b"x-many"]
    assert many == ([b"one,two"] if name in JOINED else [b"two"] if name in LAST else [b"one", b"two"])
    assert all(key == key.lower() for key, _ in made.headers)
    assert (made.scheme, made.port) == (("http", 8080) if name.startswith("alb") else ("https", 443))
    assert made.host.partition(".")[0] in ("abc", "shop")
    query = sorted(made.query.decode().split("&"))
    assert query == sorted((events.QUERY if name not in LAST else events.QUERY.replace("repeat=one&", "")).split("&"))


def test_the_path_of_an_http_api_is_not_unquoted_a_second_time() -> None:
    made = request(events.http_api(rawPath="/a%20b/c d/"))
    assert (made.path, made.raw_path) == (b"/a%20b/c d/", b"/a%2520b/c%20d/")


@pytest.mark.parametrize("make", [events.function_url, events.http_api, events.http_api_1, events.rest_api])
def test_a_slash_at_the_end_of_a_path_stays(make: Any) -> None:
    """It is missing in requestContext.http.path, and an application that wants it redirects without end."""
    event = make(**{"path" if "resource" in make() else "rawPath": "/orders/"})
    event["requestContext"]["path"] = event.get("path")
    assert request(event).path == request(event).raw_path == b"/orders/"


def test_fields_that_are_null_are_empty() -> None:
    """As a REST API sends them."""
    names = "headers", "multiValueHeaders", "queryStringParameters", "multiValueQueryStringParameters", "pathParameters"
    event = events.rest_api(body=None, path="/a%2Bb", **dict.fromkeys(names))
    event["requestContext"]["path"] = "/live/a%2Bb"
    made = request(event)
    assert (made.headers, made.query, made.body) == ([], b"", b"")
    assert (made.path, made.raw_path, made.root_path) == (b"/live/a+b", b"/live/a%2Bb", "/live")
    assert made.host == "abc.execute-api.eu-west-1.amazonaws.com"


def test_the_query_of_vpc_lattice_is_that_of_the_path_or_else_the_parameters() -> None:
    for make, name in ((events.lattice_v1, "raw_path"), (events.lattice_v2, "path")):
        assert request(make(**{name: "/a?b=%2B&c"})).query == b"b=%2B&c"
        assert request(make(**{name: "/a?"})).query == b""
    assert request(events.lattice_v2(path="/a")).query == b"repeat=one&repeat=two"
    assert request(events.lattice_v1(raw_path="/a")).query == b"repeat=two"


def test_a_quoted_path_keeps_how_it_was_quoted() -> None:
    made = request(events.function_url(rawPath="/a%2Fb//c%20d/"))
    assert (made.path, made.raw_path) == (b"/a/b//c d/", b"/a%2Fb//c%20d/")


@pytest.mark.parametrize(
    ("stage", "path", "root"),
    [
        ("live", "/live/docs", "/live"),
        ("live", "/live", "/live"),
        ("live", "/lively/docs", ""),
        ("$default", "/docs", ""),
        ("live", "/docs", ""),
    ],
)
def test_the_stage_of_an_http_api_is_the_root_path(stage: str, path: str, root: str) -> None:
    event = events.http_api(rawPath=path)
    event["requestContext"]["stage"] = stage
    assert (request(event).path.decode(), request(event).root_path) == (path, root)


@pytest.mark.parametrize(
    ("path", "whole", "resource", "parameters", "want"),
    [
        ("/docs", "/live/docs", "/{proxy+}", {"proxy": "docs"}, ("/live/docs", "/live")),
        ("/", "/live/", "/", None, ("/live/", "/live")),
        ("/", "/live", "/", None, ("/live/", "/live")),
        ("/docs", "/shop/docs", "/{proxy+}", {"proxy": "docs"}, ("/shop/docs", "/shop")),
        ("/shop/docs", "/shop/docs", "/{proxy+}", {"proxy": "docs"}, ("/shop/docs", "/shop")),
        ("/api/docs", "/api/docs", "/api/{proxy+}", {"proxy": "docs"}, ("/api/docs", "")),
        ("/a/1/b", "/a/1/b", "/a/{id}/b", {"id": "1"}, ("/a/1/b", "")),
    ],
)
def test_the_stage_or_base_path_of_a_rest_api_is_the_root_path(
    path: str, whole: str, resource: str, parameters: Any, want: tuple[str, str]
) -> None:
    event = events.rest_api(path=path, resource=resource, pathParameters=parameters)
    event["requestContext"]["path"] = whole
    assert (request(event).path.decode(), request(event).root_path) == want


@pytest.mark.parametrize("named", ["headers", "multiValueHeaders"])
def test_a_health_check_has_neither_host_nor_client(named: str) -> None:
    agent: Any = "ELB-HealthChecker/2.0"
    event = {name: value for name, value in events.alb(body="").items() if name not in ("headers", "multiValueHeaders")}
    made = request({**event, named: {"user-agent": [agent] if named == "multiValueHeaders" else agent}, "path": "/"})
    assert (made.host, made.port, made.scheme, made.client, made.body) == ("localhost", 443, "https", None, b"")


def test_a_rest_api_without_a_host_header_has_the_domain_of_the_event() -> None:
    event = events.rest_api(multiValueHeaders={"Via": ["1.1 a.cloudfront.net"]})
    assert request(event).host == "abc.execute-api.eu-west-1.amazonaws.com"
    del event["requestContext"]["domainName"], event["requestContext"]["path"]
    made = request(event)
    assert (made.host, made.port, made.path.decode(), made.root_path) == ("localhost", 443, "/orders/café au", "")


def test_an_http_api_may_leave_out_all_that_a_request_has_not() -> None:
    context = {"domainName": "abc.execute-api.eu-west-1.amazonaws.com", "http": {"method": "GET", "path": "/"}}
    made = request({"version": "2.0", "rawPath": "/", "rawQueryString": "", "requestContext": context})
    assert (made.method, made.path, made.query, made.headers, made.body) == ("GET", b"/", b"", [], b"")
    assert (made.host, made.port, made.client) == ("abc.execute-api.eu-west-1.amazonaws.com", 443, None)


def test_an_event_of_sam_local_has_the_port_that_it_serves() -> None:
    event = events.http_api(headers={"Host": "127.0.0.1:3000", "X-Forwarded-Proto": "http"}, cookies=[])
    made = request(event)
    assert (made.scheme, made.host, made.port) == ("http", "127.0.0.1", 3000)


@pytest.mark.parametrize(
    ("host", "want"),
    [("[::1]:8080", ("::1", 8080)), ("[::1]", ("::1", 443)), ("a:81", ("a", 81)), ("::1", ("::1", 443))],
)
def test_the_port_comes_from_the_host_and_an_ipv6_address_is_not_cut(host: str, want: tuple[str, int]) -> None:
    event = events.function_url(headers={"host": host})
    assert (request(event).host, request(event).port) == want


@pytest.mark.parametrize("host", ["shop:65536", "[:::]", "[::1", "[]", "shop:8o", "a:b:c", "", ":80"])
def test_a_host_header_that_names_none_is_not_the_servers_name(host: str) -> None:
    """Starlette asks for the server where the header is none, and fails if it is none either."""
    event = events.function_url(headers={"host": host})
    assert (request(event).host, request(event).port) == (event["requestContext"]["domainName"], 443)
    assert (b"host", host.encode()) in request(event).headers
    event = events.alb(multi=False) | {"headers": {"host": host}}
    assert (request(event).host, request(event).port) == ("localhost", 443)


@pytest.mark.parametrize("port", ["65536", "-1", "x", ""])
def test_a_forwarded_port_that_is_none_is_not_the_servers(port: str) -> None:
    assert request(events.function_url(headers={"host": "a", "x-forwarded-port": port})).port == 443


def test_a_body_in_base64_is_bytes() -> None:
    for make in (events.function_url, events.rest_api, events.alb, events.lattice_v2):
        assert request(make(body=base64.b64encode(b"\xff\x00").decode(), isBase64Encoded=True)).body == b"\xff\x00"
    assert request(events.lattice_v1(body="/wA=", is_base64_encoded=True)).body == b"\xff\x00"
    assert request(events.function_url(body=None)).body == b""


@pytest.mark.parametrize("make", [events.function_url, events.rest_api, events.alb, events.lattice_v1])
def test_a_body_that_is_not_base64_and_should_be_is_an_error_that_says_so(make: Any) -> None:
    name = "is_base64_encoded" if make is events.lattice_v1 else "isBase64Encoded"
    with pytest.raises(ValueError, match=f"the event's body is not base64, though its {name} is true"):
        request(make(body="Hello from Lambda!", **{name: True}))


def test_a_path_that_an_http_api_has_unquoted_in_payload_1_0_stays_as_it_is_too() -> None:
    made = request(events.http_api_1(path="/live/a%20b/c d/"))
    assert (made.path, made.raw_path, made.root_path) == (b"/live/a%20b/c d/", b"/live/a%2520b/c%20d/", "/live")


def test_the_path_of_a_rest_api_keeps_a_quoted_plus() -> None:
    event = events.rest_api(path="/a%2Bb+c", pathParameters={"proxy": "a%2Bb+c"})
    event["requestContext"]["path"] = "/live/a%2Bb+c"
    assert (request(event).path, request(event).raw_path) == (b"/live/a+b+c", b"/live/a%2Bb+c")


def test_the_query_of_a_rest_api_is_quoted_anew_names_and_all() -> None:
    query = {"a b&c": ["d=e", "ü"], "none": None}
    event = events.rest_api(multiValueQueryStringParameters=query)
    assert request(event).query == b"a+b%26c=d%3De&a+b%26c=%C3%BC"


@pytest.mark.parametrize("make", [events.rest_api, events.http_api_1, events.alb])
def test_what_an_event_has_as_null_is_empty(make: Any) -> None:
    """A REST API sends null for what a request has not; a load balancer for the headers of the other kind."""
    names = ("body", "headers", "queryStringParameters", "multiValueQueryStringParameters", "pathParameters")
    made = request({**make(), **dict.fromkeys(names)})
    assert (made.query, made.body) == (b"", b"")
    assert (b"x-many", b"two") in made.headers
    assert request({**make(), **dict.fromkeys(names), "multiValueHeaders": None}).headers == []


def test_without_lists_a_rest_api_has_one_value_a_name() -> None:
    event = events.rest_api(multiValueHeaders=None, multiValueQueryStringParameters=None)
    assert [value for name, value in request(event).headers if name == b"x-many"] == [b"two"]
    assert request(event).query == b"empty=&encoded=a%2Bb&plus=a+b&repeat=two"


def test_a_query_beside_the_path_of_vpc_lattice_is_taken_where_the_path_has_none() -> None:
    parameters = {"repeat": ["one", "two"]}
    assert request(events.lattice_v2(path="/a", queryStringParameters=parameters)).query == b"repeat=one&repeat=two"
    assert request(events.lattice_v1(raw_path="/a", query_string_parameters={"b": "c d"})).query == b"b=c+d"
    assert request(events.lattice_v1(raw_path="/a?", query_string_parameters={"b": "c"})).query == b""


@pytest.mark.parametrize("multi", [True, False])
def test_each_cookie_of_an_answer_reaches_the_load_balancer(multi: bool) -> None:
    cookies = [f"c{number}=1" for number in range(20)]
    made = answer(events.alb(multi=multi), *(("Set-Cookie", cookie) for cookie in cookies))
    if multi:
        assert made["multiValueHeaders"] == {"Set-Cookie": cookies}
    else:
        assert list(made["headers"].values()) == cookies
        assert {name.lower() for name in made["headers"]} == {"set-cookie"}


TWO_COOKIES = (("Set-Cookie", "a=1; Path=/"), ("Vary", "a"), ("vary", "b"), ("set-cookie", "b=2"), ("X-One", "1"))


@pytest.mark.parametrize("name", EVENTS)
def test_an_answer_has_exactly_the_form_of_its_source(name: str) -> None:
    text = {"statusCode": 200, "body": "text", "isBase64Encoded": False}
    described = {**text, "statusDescription": "200 OK"}
    apart = {"multiValueHeaders": {"Set-Cookie": ["a=1; Path=/", "b=2"], "Vary": ["a", "b"]}, "headers": {"X-One": "1"}}
    spelled = {"set-cookie": "a=1; Path=/", "Set-cookie": "b=2", "Vary": "a, b", "X-One": "1"}
    cookies = {"cookies": ["a=1; Path=/", "b=2"], "headers": {"Vary": "a, b", "X-One": "1"}}
    lists = {"multiValueHeaders": {**apart["multiValueHeaders"], "X-One": ["1"]}}
    want = {
        "function_url": {**text, **cookies},
        "http_api": {**text, **cookies},
        "http_api_1": {**text, **apart},
        "rest_api": {**text, **apart},
        "alb": {**described, **lists},
        "alb_single": {**described, "headers": spelled},
        "lattice_v1": {**described, "headers": spelled},
        "lattice_v2": {**described, "headers": spelled},
    }
    assert answer(EVENTS[name], *TWO_COOKIES) == want[name]


@pytest.mark.parametrize(
    ("headers", "body", "is_base64"),
    [
        ((), "Grüße".encode(), False),
        ((), b"", False),
        ((), b"\xff\xfe", True),
        ((), "Grüße".encode("latin-1"), True),
        ((), b"\xed\xa0\x80", True),
        ((("Content-Encoding", "gzip"),), b"text", True),
        ((("content-type", "image/png"),), b"text", False),
    ],
)
def test_only_bytes_that_are_no_text_are_base64(headers: Any, body: bytes, is_base64: bool) -> None:
    for event in EVENTS.values():
        made = answer(event, *headers, body=body)
        assert made["isBase64Encoded"] is is_base64
        assert (base64.b64decode(made["body"]) if is_base64 else made["body"].encode()) == body


def test_an_answer_that_is_too_large_is_413_and_a_line_in_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    large = b"a" * (6_291_556 + 1)
    for name, event in EVENTS.items():
        if not name.startswith("alb"):
            made = answer(event, ("X-One", "1"), body=large)
            assert (made["statusCode"], made["body"]) == (413, "Response too large")
            assert "The response is too large: 6291557 bytes, 629" in capfd.readouterr().out
    assert answer(events.alb(), body=b"a" * (1 << 20))["statusCode"] == 413
    assert answer(events.alb(), body=b"a" * ((1 << 20) - 500))["statusCode"] == 200
    assert answer(events.http_api(), body=b"a" * (1 << 20))["statusCode"] == 200


def test_a_status_without_a_name_has_a_description() -> None:
    assert answer(events.alb(), status=799)["statusDescription"] == "799 Unknown"
    assert answer(events.alb(), status=404)["statusDescription"] == "404 Not Found"
