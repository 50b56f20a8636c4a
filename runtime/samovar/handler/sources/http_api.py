"""An API Gateway HTTP API with payload 2.0, the form in which a Function URL sends and wants all but the path too."""

from samovar.errors import LARGEST as LARGEST
from samovar.handler.sources import http

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def means(event: "dict[str, Any]") -> bool:
    """Return whether the event is a request in payload 2.0. An authorizer's event has one too, and a routeArn."""
    context = event.get("requestContext")
    return isinstance(context, dict) and isinstance(context.get("http"), dict) and "routeArn" not in event


def request(event: "dict[str, Any]") -> http.Request:
    """Return the request. API Gateway has unquoted the path; `requestContext.http.path` lacks a slash at its end."""
    given = event.get("rawPath") or "/"
    path, raw_path = http.quoted(given)
    return payload_2(event, path, raw_path, root_path(event, given, (event.get("routeKey") or "").partition(" ")[2]))


def root_path(event: "dict[str, Any]", path: str, template: str) -> str:
    """Return the stage, or the base path of a custom domain, where the path begins with it."""
    stage = event["requestContext"].get("stage")
    if stage and stage != "$default" and f"{path}/".startswith(f"/{stage}/"):
        return f"/{stage}"
    return http.base_of(path, template, event.get("pathParameters"))


def payload_2(event: "dict[str, Any]", path: bytes, raw_path: bytes, root_path: str) -> http.Request:
    """Return the request of a payload 2.0 whose path has been read."""
    context = event["requestContext"]
    return http.Request(
        context["http"].get("method") or "GET",
        path,
        raw_path,
        root_path,
        (event.get("rawQueryString") or "").encode(),
        http.one_cookie_header(http.header_list(event.get("headers")), event.get("cookies")),
        http.body_of(event),
        context["http"].get("sourceIp"),
        context.get("domainName"),
    )


def response(event: "dict[str, Any]", answer: http.Answer) -> "dict[str, Any]":
    """Return the answer: each header once, cookies by themselves."""
    headers: dict[str, str] = {}
    result: dict[str, Any] = {"statusCode": answer.status, "headers": headers, **http.body_fields(answer)}
    for name, values in http.grouped(answer).items():
        if name.lower() == "set-cookie":
            result["cookies"] = values
        else:
            headers[name] = ", ".join(values)
    return result


def streams(event: "dict[str, Any]") -> bool:
    """Return whether an answer may be streamed."""
    return False
