"""VPC Lattice, event structure v1."""

from samovar.errors import LARGEST as LARGEST
from samovar.handler.sources import http, lattice_v2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def means(event: "dict[str, Any]") -> bool:
    """Return whether the event is VPC Lattice's, in its first form."""
    return "raw_path" in event and "method" in event


def request(event: "dict[str, Any]") -> http.Request:
    """Return the request. The path has the query in it."""
    parameters = event.get("query_string_parameters")
    return lattice_v2.from_target(event, event["raw_path"], parameters, http.body_of(event, "is_base64_encoded"), None)


response = lattice_v2.response


def streams(event: "dict[str, Any]") -> bool:
    """Return whether an answer may be streamed."""
    return False
