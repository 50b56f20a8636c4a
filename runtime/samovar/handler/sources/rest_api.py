"""An API Gateway REST API, and an HTTP API with payload 1.0, which has the same form."""

from samovar.errors import LARGEST as LARGEST
from samovar.handler.sources import http, http_api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def means(event: "dict[str, Any]") -> bool:
    """Return whether the event is a request in payload 1.0. An authorizer's event has the same fields, and a
    methodArn or routeArn.
    """
    context = event.get("requestContext")
    return (
        isinstance(context, dict)
        and "elb" not in context
        and "httpMethod" in event
        and "resource" in event
        and "methodArn" not in event
        and "routeArn" not in event
    )


def request(event: "dict[str, Any]") -> http.Request:
    """Return the request. A REST API leaves the path quoted and cuts the stage off, an HTTP API neither."""
    context = event["requestContext"]
    given = event.get("path") or "/"
    if event.get("version") == "1.0":
        root = http_api.root_path(event, given, event["resource"])
        path, raw_path = http.quoted(given)
    else:
        whole = context.get("path") or given
        if whole != given and whole.endswith(given):
            root = whole[: len(whole) - len(given)]
        elif whole.rstrip("/") == f"/{context.get('stage')}" and given == "/":
            root, whole = whole.rstrip("/"), f"{whole.rstrip('/')}/"
        else:
            root, whole = http.base_of(given, event["resource"], event.get("pathParameters")), given
        path, raw_path = http.unquoted(whole)
    headers = http.header_list(event.get("multiValueHeaders") or event.get("headers"))
    return http.Request(
        event["httpMethod"],
        path,
        raw_path,
        root,
        http.query_of(event.get("multiValueQueryStringParameters") or event.get("queryStringParameters")),
        http.one_cookie_header(headers, None),
        http.body_of(event),
        (context.get("identity") or {}).get("sourceIp"),
        context.get("domainName"),
    )


def response(event: "dict[str, Any]", answer: http.Answer) -> "dict[str, Any]":
    """Return the answer. API Gateway sends both kinds of headers, so that a name is in one only, and answers 502 to a
    field that it does not know.
    """
    headers = {}
    several = {}
    for name, values in http.grouped(answer).items():
        if len(values) == 1:
            headers[name] = values[0]
        else:
            several[name] = values
    result = {"statusCode": answer.status, "headers": headers, **http.body_fields(answer)}
    return {**result, "multiValueHeaders": several} if several else result


def streams(event: "dict[str, Any]") -> bool:
    """Return whether an answer may be streamed: an HTTP API cannot."""
    return event.get("version") != "1.0"
