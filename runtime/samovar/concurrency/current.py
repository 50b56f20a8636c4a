"""What belongs to an invocation, where several are in flight in one process: it is found through a context variable.

Each poller sets the variable in a context of its own; asyncio hands it on to tasks, and `handed_on` to threads. A
thread or task that goes on when its invocation has ended still reads that one.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from samovar.environment import Environment, environment

if TYPE_CHECKING:
    from samovar.invocation import Invocation

variable: ContextVar[Invocation | None] = ContextVar("samovar.invocation", default=None)
_NO_IDS: tuple[str, str | None] = "", None


class SharedEnvironment(Environment):
    """An environment whose invocation in flight is that of the thread or task that asks."""

    __slots__ = ()  # as Environment has it, so that an object can become one

    @property
    def invocation(self) -> Invocation | None:  # type: ignore[override]
        return variable.get()

    @property
    def log_ids(self) -> tuple[str, str | None]:  # type: ignore[override]
        own = variable.get()
        return _NO_IDS if own is None else (own.id, own.tenant_id)

    def begin(self, begun: Invocation) -> None:
        self.in_flight.add(begun)
        variable.set(begun)

    def end(self) -> None:
        if (ended := variable.get()) is not None:
            self.in_flight.discard(ended)
            variable.set(None)


def set_up() -> None:
    """Have the environment know the invocation of each thread and task."""
    environment.__class__ = SharedEnvironment
    environment.shared = True
    environment.times_out = False
