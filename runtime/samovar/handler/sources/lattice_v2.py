"""VPC Lattice, event structure v2."""

from samovar.errors import LARGEST as LARGEST
from samovar.handler.sources import http

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def means(event: "dict[str, Any]") -> bool:
    """Return whether the event is VPC Lattice's, in its second form."""
    context = event.get("requestContext")
    return isinstance(context, dict) and "serviceNetworkArn" in context and "method" in event


def request(event: "dict[str, Any]") -> http.Request:
    """Return the request. The path has the query in it."""
    client = (event["requestContext"].get("identity") or {}).get("sourceIp")
    return from_target(event, event.get("path") or "/", event.get("queryStringParameters"), http.body_of(event), client)


def from_target(
    event: "dict[str, Any]", target: str, parameters: "dict[str, Any] | None", body: bytes, client: "str | None"
) -> http.Request:
    """Return the request for a path with its query. parameters: the query where the path has none."""
    given, mark, query = target.partition("?")
    path, raw_path = http.unquoted(given or "/")
    headers = http.header_list(event.get("headers"))
    return http.Request(
        event["method"],
        path,
        raw_path,
        "",
        query.encode() if mark else http.query_of(parameters),
        http.one_cookie_header(headers, None),
        body,
        client or http.forwarded_for(headers),
    )


def response(event: "dict[str, Any]", answer: http.Answer) -> "dict[str, Any]":
    """Return the answer: one value a header."""
    return {
        "statusCode": answer.status,
        "statusDescription": http.description(answer.status),
        "headers": http.one_value_each(answer),
        **http.body_fields(answer),
    }


def streams(event: "dict[str, Any]") -> bool:
    """Return whether an answer may be streamed."""
    return False
