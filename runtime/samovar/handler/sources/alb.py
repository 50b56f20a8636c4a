"""An Application Load Balancer's target group, with multi-value headers or without."""

from samovar.handler.sources import http

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LARGEST = 1 << 20  # ELB user guide, "Lambda functions as targets"


def means(event: "dict[str, Any]") -> bool:
    """Return whether the event is from a load balancer."""
    context = event.get("requestContext")
    return isinstance(context, dict) and "elb" in context and "httpMethod" in event


def request(event: "dict[str, Any]") -> http.Request:
    """Return the request. Path and query are still quoted. A health check may have no host and no client."""
    path, raw_path = http.unquoted(event.get("path") or "/")
    headers = http.header_list(event.get("multiValueHeaders") or event.get("headers"))
    query = event.get("multiValueQueryStringParameters") or event.get("queryStringParameters")
    return http.Request(
        event["httpMethod"],
        path,
        raw_path,
        "",
        http.query_of(query, http.as_is),
        http.one_cookie_header(headers, None),
        http.body_of(event),
        http.forwarded_for(headers),
    )


def response(event: "dict[str, Any]", answer: http.Answer) -> "dict[str, Any]":
    """Return the answer, with headers of the kind that the event has: the load balancer ignores the other."""
    if event.get("multiValueHeaders") is not None:
        headers: dict[str, Any] = {"multiValueHeaders": http.grouped(answer)}
    else:
        headers = {"headers": http.one_value_each(answer)}
    return {
        "statusCode": answer.status,
        "statusDescription": http.description(answer.status),
        **headers,
        **http.body_fields(answer),
    }


def streams(event: "dict[str, Any]") -> bool:
    """Return whether an answer may be streamed."""
    return False
