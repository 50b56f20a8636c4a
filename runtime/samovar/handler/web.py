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
    from typing import Any, Protocol

    from samovar.handler import Handle
    from samovar.handler.sources.http import Answer, Headers, Request
    from samovar.invocation import Invocation
    from samovar.response import Body

    class StreamedAnswer(Body, Protocol):
        """A streamed answer whose status is known."""

        status: int

    # The request, the event it comes from, and the invocation.
    Application = Callable[[Request, dict[str, Any], Invocation], Answer]
    # The same for a streamed answer, with what makes its prelude of status and headers.
    Prelude = Callable[[int, Headers], bytes]
    Streamed = Callable[[Request, dict[str, Any], Invocation, Prelude], StreamedAnswer]


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


def error_statuses() -> "frozenset[int]":
    """Return the statuses that `SAMOVAR_ERROR_STATUSES` names. Raises ValueError for a value that is none."""
    value = posix.environ.get(b"SAMOVAR_ERROR_STATUSES", b"").decode("utf-8", "surrogateescape")
    statuses: set[int] = set()
    for part in value.split(",") if value else ():
        first, dash, last = part.strip().partition("-")
        ends = [int(end) if end.isascii() and end.isdecimal() else 0 for end in (first, last if dash else first)]
        if not 100 <= ends[0] <= ends[1] <= 599:
            raise ValueError(
                f"SAMOVAR_ERROR_STATUSES={value!r}: want statuses from 100 to 599 and ranges of them, as 500,502-504"
            )
        statuses.update(range(ends[0], ends[1] + 1))
    return frozenset(statuses)


def adapt(call: "Application", streamed: "Streamed | None", kind: str, other: str) -> "Handle":
    """Return the handler that answers requests, and gives all other events to the handler `other`.

    streamed: answers those whose source can stream; None where all answers are buffered.
    """
    otherwise = handler.load(other) if other else None
    failures = error_statuses()

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
            body = streamed(
                request, event, invocation, lambda status, headers: sources.prelude(source, event, status, headers)
            )
            if body.status in failures:
                body.close()
                raise _failure(body.status)
            return Response(body, "application/vnd.awslambda.http-integration-response")
        answer = call(request, event, invocation)
        if answer.status in failures:
            raise _failure(answer.status)
        if request.method == "HEAD":
            answer.body = b""
        return sources.respond(source, event, answer)

    return handle


def _failure(status: int) -> Fault:
    return Fault(
        "Function.ErrorStatus",
        f"The application answered with status {status}, which SAMOVAR_ERROR_STATUSES makes a failure",
    )
