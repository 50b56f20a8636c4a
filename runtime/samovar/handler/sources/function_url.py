"""A Function URL: payload 2.0, with the path as the client quoted it."""

from samovar.errors import LARGEST as LARGEST
from samovar.handler.sources import http, http_api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def means(event: "dict[str, Any]") -> bool:
    """Return whether the event is from a Function URL: its domain says so, as nothing else does."""
    return http_api.means(event) and ".lambda-url." in (event["requestContext"].get("domainName") or "")


def request(event: "dict[str, Any]") -> http.Request:
    """Return the request."""
    path, raw_path = http.unquoted(event.get("rawPath") or "/")
    return http_api.payload_2(event, path, raw_path, "")


response = http_api.response


def streams(event: "dict[str, Any]") -> bool:
    """Return whether an answer may be streamed."""
    return True
