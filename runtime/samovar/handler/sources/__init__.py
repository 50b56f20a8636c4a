"""What an HTTP event means, whatever has sent it: API Gateway, a Function URL, a load balancer, VPC Lattice.

A file a source, all in the same form: `means(event)`, whether the event is this source's, by what is in it;
`request(event)`; `response(event, answer)`, the object that it wants; `LARGEST`, the bytes that this may have as JSON;
`streams(event)`, whether an answer may be streamed.
Nothing outside a file asks which source it is. Pure, values to values: knows neither applications nor the Runtime API.
"""

from samovar import codec, logs
from samovar.handler.sources import alb, function_url, http_api, lattice_v1, lattice_v2, rest_api
from samovar.handler.sources.http import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from samovar.handler.sources.http import Headers, Request

    class Source(Protocol):
        """What each file of this folder has."""

        LARGEST: int

        def means(self, event: dict[str, Any]) -> bool: ...
        def request(self, event: dict[str, Any]) -> Request: ...
        def response(self, event: dict[str, Any], answer: Answer) -> dict[str, Any]: ...
        def streams(self, event: dict[str, Any]) -> bool: ...


_LARGEST_PRELUDE = 16384  # bytes that API Gateway reads
_DROPPED = (b"content-length", b"transfer-encoding", b"connection")  # the platform's own; a length can give a 502
SOURCES: "list[Source]" = [function_url, http_api, rest_api, alb, lattice_v2, lattice_v1]


def find(event: "Any") -> "Source | None":
    """Return the source of an event; None for one that is no HTTP request."""
    if isinstance(event, dict):
        for source in SOURCES:
            if source.means(event):
                return source
    return None


def respond(source: "Source", event: "dict[str, Any]", answer: Answer) -> bytes:
    """Return the JSON of an answer in the form of its source. One that is too large is logged and becomes a 413."""
    body = codec.dumps(source.response(event, answer))
    if len(body) <= source.LARGEST:
        return body
    logs.record(
        "ERROR",
        f"The response is too large: {len(answer.body)} bytes, {len(body)} as JSON, where {source.LARGEST} are "
        "allowed; the client got status 413",
    )
    large = Answer(413, [(b"content-type", b"text/plain; charset=utf-8")], b"Response too large")
    return codec.dumps(source.response(event, large))


def prelude(source: "Source", event: "dict[str, Any]", status: int, headers: "Headers") -> bytes:
    """Return what a streamed answer begins with. Raises ValueError for a header that could end it."""
    for name, value in headers:
        if any(byte < 32 and byte != 9 for byte in name + value):
            raise ValueError(f"the header {name!r} has control characters: {value!r}")
    kept = [(name, value) for name, value in headers if name.lower() not in _DROPPED]
    head = source.response(event, Answer(status, kept, b""))
    del head["body"], head["isBase64Encoded"]
    data = codec.dumps(head) + bytes(8)
    if len(data) > _LARGEST_PRELUDE:
        raise ValueError(f"status and headers take {len(data)} bytes: a streamed answer may have {_LARGEST_PRELUDE}")
    return data
