"""What `asgi:` and `wsgi:` share: finding the application, telling requests from other events, answering.

Knows the event sources. Knows neither the Runtime API nor the loop.
"""

import posix

from samovar import codec, handler
from samovar.errors import Fault
from samovar.handler import function, sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from samovar.handler import Handle
    from samovar.handler.sources.http import Answer, Request
    from samovar.invocation import Invocation

    # The request, the event it comes from, and the invocation.
    Application = Callable[[Request, dict[str, Any], Invocation], Answer]


def find(kind: str, rest: str) -> "tuple[Any, str]":
    """Return the application that `module:application` names, and the handler named after a comma.

    Raises Fault as `function.find` does, ValueError for a response mode that there is not.
    """
    mode = posix.environ.get(b"SAMOVAR_RESPONSE_MODE", b"")
    if mode not in (b"", b"buffered"):
        raise ValueError(f"SAMOVAR_RESPONSE_MODE={mode.decode()!r}: want buffered, or nothing")
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


def adapt(call: "Application", kind: str, other: str) -> "Handle":
    """Return the handler that answers requests by `call`, and gives all other events to the handler `other`."""
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
        answer = call(request, event, invocation)
        if request.method == "HEAD":
            answer.body = b""
        return sources.respond(source, event, answer)

    return handle
