"""An invocation in flight in the test's own process, as the loop begins one."""

from __future__ import annotations

from samovar.context import Contexts, LambdaContext
from samovar.environment import environment
from samovar.invocation import Invocation


def invocation(request_id: str = "request-1", event: bytes = b"{}", **fields: str | None) -> Invocation:
    """Return an invocation as /next gives it, with only these fields set."""
    made = Invocation()
    for name in Invocation.__slots__:
        setattr(made, name, fields.get(name))
    made.id, made.event = request_id, event
    return made


def begin(request_id: str = "request-1", **fields: str | None) -> LambdaContext:
    """Make an invocation the one in flight and return its context."""
    made = invocation(request_id, **fields)
    environment.begin(made)
    Contexts().begin(made)
    assert made.context is not None
    return made.context


def forget() -> None:
    """Leave the environment as it is before its first invocation."""
    environment.invocation, environment.log_ids = None, ("", None)
