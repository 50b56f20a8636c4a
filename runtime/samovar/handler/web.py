"""What `asgi:` and `wsgi:` share: finding the application, telling requests from other events, answering.

Knows the event sources. Knows neither the Runtime API nor the loop.
"""

import posix

from samovar import codec, handler
from samovar.errors import Fault
from samovar.handler import function, sources
from samovar.response import Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from samovar.handler import Handle
    from samovar.handler.sources.http import Answer, Headers, Request
    from samovar.invocation import Invocation
    from samovar.response import Body

    # The request, the event it comes from, and the invocation.
    Application = Callable[[Request, dict[str, Any], Invocation], Answer]
    # The same for a streamed answer, with what makes its prelude of status and headers.
    Prelude = Callable[[int, Headers], bytes]
    Streamed = Callable[[Request, dict[str, Any], Invocation, Prelude], Body]


def find(kind: str, rest: str) -> "tuple[Any, str]":
    """Return the application that `module:application` names, and the handler named after a comma.

    Raises Fault as `function.find` does.
    """
    name, _, other = rest.partition(",")
    module, colon, attributes = name.strip().partition(":")
    first, *more = attributes.split(".")
    if not (colon and module and first):
        raise Fault(
            "Runtime.MalformedHandlerName",
            f"Bad handler '{kind}:{rest}': want {kind}:MODULE:APPLICATION, as {kind}:main:app",
        )
    application = function.find(f"{module}.{first}")
    for attribute in more:
        try:
            application = getattr(application, attribute)
        except AttributeError:
            raise Fault("Runtime.HandlerNotFound", f"Handler '{attributes}' missing on module '{module}'") from None
    if not callable(application):
        raise Fault(
            "Runtime.HandlerNotFound", f"'{attributes}' in module '{module}' is no application: it cannot be called"
        )
    return application, other.strip()


def streams() -> bool:
    """Return whether `SAMOVAR_RESPONSE_MODE` asks for streams. Raises ValueError for a mode that there is not."""
    mode = posix.environ.get(b"SAMOVAR_RESPONSE_MODE", b"")
    if mode not in (b"", b"buffered", b"stream"):
        raise ValueError(f"SAMOVAR_RESPONSE_MODE={mode.decode()!r}: want buffered or stream")
    return mode == b"stream"


def adapt(call: "Application", streamed: "Streamed | None", kind: str, other: str) -> "Handle":
    """Return the handler that answers requests, and gives all other events to the handler `other`.

    streamed: answers those whose source can stream; None where all answers are buffered.
    """
    otherwise = handler.load(other) if other else None

    def handle(invocation: "Invocation") -> "Any":
        given = invocation.take_event()
        try:
            event = codec.loads(given)
        except Exception as exc:
            raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {exc}") from None
        source = sources.find(event)
        if source is None:
            if otherwise is None:
                raise Fault(
                    "Runtime.NotHttp",
                    "The event is no HTTP request of API Gateway, a Function URL, a load balancer or VPC Lattice; name "
                    f"a handler for other events after a comma: {kind}:MODULE:APPLICATION,MODULE.FUNCTION",
                )
            invocation.event = given
            return otherwise(invocation)
        del given
        request = source.request(event)
        if streamed is not None and source.streams(event):
            return Response(
                streamed(
                    request, event, invocation, lambda status, headers: sources.prelude(source, event, status, headers)
                ),
                "application/vnd.awslambda.http-integration-response",
            )
        answer = call(request, event, invocation)
        if request.method == "HEAD":
            answer.body = b""
        return sources.respond(source, event, answer)

    return handle
