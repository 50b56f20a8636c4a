"""One event, from /next until its response is posted.

The ground floor: a record that the Runtime API client fills and everything above reads. Imports nothing of the package.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from samovar.context import LambdaContext
    from samovar.wire import Body


class Invocation:
    """One event, and what the headers of /next say of it, as they came; None where a header was not there.

    Attributes:
        id: The request id.
        trace_id: The X-Ray trace header, as `Root=…;Parent=…;Sampled=…`.
        tenant_id: The tenant, where the function has tenant isolation.
        arn: The ARN that was invoked.
        deadline_ms: The Unix time of the time-out, in milliseconds.
        client_context: What the caller sent as client context, as JSON.
        identity: The Cognito identity, as JSON.
        content_type: The event's.
        invocation_id: Lambda's own id of this try, which the runtime posts with the response.
        context: What the handler receives; None until it is made, or when it cannot be made.
        event: The body. `take_event` gives it away, so that a large one is not in memory while the handler runs.
    """

    __slots__ = (
        "arn",
        "client_context",
        "content_type",
        "context",
        "deadline_ms",
        "event",
        "id",
        "identity",
        "invocation_id",
        "tenant_id",
        "trace_id",
    )
    id: str
    event: "Body"
    content_type: "str | None"
    deadline_ms: "str | None"
    arn: "str | None"
    trace_id: "str | None"
    client_context: "str | None"
    identity: "str | None"
    tenant_id: "str | None"
    invocation_id: "str | None"
    context: "LambdaContext | None"

    def take_event(self) -> "Body":
        """Return the event's bytes, once."""
        event = self.event
        del self.event
        return event
