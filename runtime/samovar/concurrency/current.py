"""What belongs to an invocation, where several are in flight in one process: it is found through a context variable."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from samovar.environment import Environment, environment

if TYPE_CHECKING:
    from samovar.invocation import Invocation

_invocation: ContextVar[Invocation | None] = ContextVar("samovar.invocation", default=None)
_NO_IDS: tuple[str, str | None] = "", None


class SharedEnvironment(Environment):
    """An environment whose invocation in flight is that of the thread or task that asks."""

    __slots__ = ()  # as Environment has it, so that an object can become one

    @property
    def invocation(self) -> Invocation | None:  # type: ignore[override]
        return _invocation.get()

    @property
    def log_ids(self) -> tuple[str, str | None]:  # type: ignore[override]
        invocation = _invocation.get()
        return _NO_IDS if invocation is None else (invocation.id, invocation.tenant_id)

    def begin(self, invocation: Invocation) -> None:
        _invocation.set(invocation)

    def end(self) -> None:
        _invocation.set(None)


def set_up() -> None:
    """Have the environment know the invocation of each thread and task."""
    environment.__class__ = SharedEnvironment
    environment.shared = True
