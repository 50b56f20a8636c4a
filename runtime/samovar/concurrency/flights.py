"""Which invocations are in flight in a worker, where its supervisor sees it after the worker's death: in memory that
both have.

A client notes there what it has taken, until the response or the error is posted. Knows the Runtime API client, and
nothing of processes.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` makes enums first
import os
from mmap import mmap

from samovar.invocation import Invocation
from samovar.runtime_api import NotTaken, RuntimeClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from samovar.runtime_api import StreamFailure

STARTS, SERVES, SERVES_ALL, GIVES_UP = range(4)  # states of a worker: INIT is not over; it asks for events; it is
# async, and asks for all events by itself; the Runtime API has not given it one for long
_HURRY = 0  # where in memory it says that the time for what is in flight is up
_SLOT = 1024  # bytes for an invocation: what it is, whether there was one before that is answered, the lengths of its
# two ids, the ids, which have 36 characters
_EMPTY, _NAMED, _UNNAMED = range(3)  # no invocation; one whose ids are here; one whose ids are too long for that
_IDS = 6  # where the ids begin in a slot


class Board:
    """Memory of a supervisor, which makes it, and its workers: a state for each worker and a slot for each invocation
    that may be in flight.
    """

    def __init__(self, workers: int, slots: int) -> None:
        self._supervisor = os.getpid()
        self._memory = mmap(-1, 1 + workers + slots * _SLOT)
        self._at = 1 + workers

    def slots(self, first: int, count: int) -> list[Slot]:
        """Return some of the slots."""
        return [Slot(self._memory, self._at + number * _SLOT) for number in range(first, first + count)]

    def state(self, worker: int) -> int:
        return self._memory[1 + worker]

    def set_state(self, worker: int, state: int) -> None:
        self._memory[1 + worker] = state

    def say(self, worker: int, state: int) -> None:
        """Set the state of a worker, which calls this, and have the supervisor look at it."""
        self.set_state(worker, state)
        if os.getppid() == self._supervisor:
            os.kill(self._supervisor, signal.SIGCHLD)  # for which it waits anyway, and which no other process minds

    def in_a_hurry(self) -> bool:
        """Return whether the environment ends, and the time for what is in flight is up."""
        return self._memory[_HURRY] != 0

    def hurry(self) -> None:
        self._memory[_HURRY] = 1


class Slot:
    """The place of one invocation in flight. One process writes; what it wrote is whole, whenever it dies."""

    __slots__ = ("_at", "_memory")

    def __init__(self, memory: mmap | bytearray, at: int) -> None:
        self._memory = memory
        self._at = at

    def clear(self) -> None:
        self._memory[self._at] = _EMPTY

    def note_answer(self) -> None:
        """Note that the invocation is answered: it is in flight no more."""
        self.clear()
        self._memory[self._at + 1] = True

    def forget_answer(self) -> bool:
        """Return whether an invocation has been answered since the last call."""
        answered, self._memory[self._at + 1] = self._memory[self._at + 1], False
        return bool(answered)

    def hold(self, invocation: Invocation) -> None:
        """Note an invocation in a slot that is empty."""
        at = self._at
        first = invocation.id.encode("utf-8", "surrogateescape")
        second = (invocation.invocation_id or "").encode("utf-8", "surrogateescape")
        if len(first) + len(second) > _SLOT - _IDS:
            self._memory[at] = _UNNAMED
            return
        noted = len(first).to_bytes(2, "big") + len(second).to_bytes(2, "big") + first + second
        self._memory[at + 2 : at + 2 + len(noted)] = noted
        self._memory[at] = _NAMED  # last: the worker may be killed before

    def is_empty(self) -> bool:
        return self._memory[self._at] == _EMPTY

    def read(self) -> Invocation | None:
        """Return what is in flight, with its ids alone; None where they were too long."""
        at = self._at
        if self._memory[at] != _NAMED:
            return None
        middle = at + _IDS + int.from_bytes(self._memory[at + 2 : at + 4], "big")
        end = middle + int.from_bytes(self._memory[at + 4 : at + _IDS], "big")
        invocation = Invocation()
        invocation.id = self._memory[at + _IDS : middle].decode("utf-8", "surrogateescape")
        invocation.invocation_id = self._memory[middle:end].decode("utf-8", "surrogateescape") or None
        invocation.tenant_id = None
        return invocation


class NotingClient(RuntimeClient):
    """A client of the Runtime API that notes in a slot which invocation is in flight.

    first: whether it is that of the first worker, the only one that may register an extension.
    """

    def __init__(self, address: str, slot: Slot, *, first: bool = False) -> None:
        super().__init__(address)
        self._slot = slot
        self._first = first

    def next(self) -> Invocation:
        self._slot.clear()
        invocation = super().next()
        self._slot.hold(invocation)
        return invocation

    def respond(self, invocation: Invocation, body: bytes, content_type: str | None = None) -> None:
        super().respond(invocation, body, content_type)
        self._slot.note_answer()

    def stream(
        self,
        invocation: Invocation,
        chunks: Iterable[bytes],
        content_type: str,
        failed: Callable[[], StreamFailure],
        wait: Callable[[int], None] | None,
    ) -> None:
        self._slot.clear()  # no error may be posted from now on
        super().stream(invocation, chunks, content_type, failed, wait)
        self._slot.note_answer()

    def fail(self, invocation: Invocation, body: bytes, error_type: str, xray_cause: bytes) -> None:
        super().fail(invocation, body, error_type, xray_cause)
        self._slot.note_answer()

    def fail_init(self, body: bytes, error_type: str) -> None:
        """Post the error that ended INIT, unless another worker has done so, or serves."""
        try:
            super().fail_init(body, error_type)
        except NotTaken as exc:
            if exc.status != 403:
                raise

    def register_extension(self) -> None:
        if self._first:  # it has one name, and no other may come once INIT is over
            super().register_extension()

    def disown(self) -> None:
        super().disown()
        self._slot = Slot(bytearray(_SLOT), 0)  # what is in flight is the parent's
