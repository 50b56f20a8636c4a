"""One load on its way, and those who wait for it, in threads and in tasks.

Imported at the first load. Knows who waits for whom, in all caches together, and so refuses a wait that would never
end; knows nothing of ttls and entries.
"""

import posix
import sys
from _contextvars import ContextVar
from _thread import RLock, allocate_lock, get_ident

from samovar.caching.store import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Any

    from samovar.caching.store import Entry, TTLCache


# Guards who waits for whom: loads of different caches may wait for each other. Re-entrant, because a signal handler or
# a destructor may load something in the middle.
_graph = RLock()
# The load that this thread or task is inside of. A task inherits it from the one that made it.
_inside: "ContextVar[Flight | None]" = ContextVar("samovar.caching.flight", default=None)


class LoadCycle(RuntimeError):
    """A loader asked for what it is itself loading, directly or by way of other loaders: waiting would never end."""


class Flight:
    """One caller's way to a value that is not there: it loads it, or has `joined` another flight that does.

    `with Flight(store, key) as flight, flight:` leaves twice, because an exception that a signal handler raises in the
    first __exit__ would cut it off; until the first nothing is acquired.

    outer       the load inside which the caller asks, directly or in a task that was made there
    waiting     the flights that have joined this one
    old         the entry that may serve if the load fails
    refreshes   the entry for which a refresh is to be queued
    value, error, trace   what came of it, as long as others wait for it: an error holds its frames, and they hold this
    """

    __slots__ = (
        "_thread",
        "_to_wake",
        "_token",
        "_wake",
        "begun",
        "counted",
        "detached",
        "done",
        "error",
        "joined",
        "key",
        "landed",
        "old",
        "outer",
        "refreshes",
        "since",
        "store",
        "task",
        "trace",
        "value",
        "waiting",
    )

    def __init__(self, store: "TTLCache", key: "Hashable") -> None:
        self.done = False
        outer = _inside.get()
        while outer is not None and outer.done:
            outer = outer.outer
        self.store: TTLCache | None = store
        self.key = key
        self.outer: Flight | None = outer
        self.task = _task()
        # Whether the load around it may end without waiting for this one: nobody can tell what a task is made for.
        self.detached = outer is not None and outer.task != 0 and self.task not in (0, outer.task)
        self.begun: float | None = None  # by the monotonic clock; None while and where it does not load
        self.since = 0.0  # the cache's time then
        self.counted = False  # as a miss
        self.landed = False
        self.old: Entry | None = None
        self.refreshes: Entry | None = None
        self.value: Any = MISSING
        self.error: Exception | None = None
        self.trace: Any = None
        self.joined: Flight | None = None
        self.waiting: set[Flight] = set()
        self._thread = get_ident()
        self._token: Any = None
        self._wake: Callable[[], object] | None = None
        self._to_wake: list[Flight] = []

    def __enter__(self) -> "Flight":
        return self

    def __exit__(self, *_: object) -> None:
        if self.joined is not None:
            self.leave()
        if self.refreshes is not None:  # and has not been queued
            self.refreshes.refreshing = False
        if self.begun is not None and self.store is not None:
            self._land(self.store)
        self.old = self.refreshes = self.store = None  # a task that the loader made may hold this for long

    def _land(self, store: "TTLCache") -> None:
        if self._token is not None:
            token, self._token = self._token, None
            try:
                _inside.reset(token)
            except ValueError:
                pass  # a task that never ended is being collected, outside its own context
        store.land(self)
        with _graph:
            if not self.done:
                self._to_wake = list(self.waiting)
                self.done = True
            if not self.waiting:
                self._forget()
        for each in self._to_wake:
            if (wake := each._wake) is not None:
                try:
                    wake()
                except RuntimeError:
                    pass  # woken already; or its event loop has been closed, and with it the task that waited
        self._to_wake = []

    def enter(self) -> None:
        """Whatever is asked for from now on is asked for by this load."""
        self._token = _inside.set(self)

    def fail(self, error: Exception) -> None:
        """Note what the loader raised."""
        self.error, self.trace = error, error.__traceback__

    def join(self, other: "Flight") -> bool:
        """Wait for `other` from now on; False where that may never end, so that the caller is to load for itself.

        Raises LoadCycle where it would certainly never end, or where a caller who loads for itself comes round again.
        """
        with _graph:
            if self.outer is not None and other in self._holds_up(True):
                raise LoadCycle(
                    f"the loader of {self.outer.key!r} asks for {other.key!r}, which is being loaded "
                    "and waits for it in turn: have the loader compute that part itself, or keep it under another key"
                )
            if self.outer is not None and other in self._holds_up(False):
                if sum(each.store is self.store and each.key == self.key for each in self._around()) > 1:
                    raise LoadCycle(f"the loader of {self.key!r} makes tasks that ask for that, again and again")
                return False
            self.joined = other
            other.waiting.add(self)
        return True

    def leave(self) -> None:
        """Wait no more."""
        other = self.joined
        if other is not None:
            with _graph:
                other.waiting.discard(self)
                if other.done and not other.waiting:
                    other._forget()
            self.joined = self._wake = None

    def wait(self) -> "Any":
        """The value once it is loaded, or the loader's exception; MISSING if it was given up (task cancelled, thread
        exiting).
        """
        other = self.joined
        assert other is not None
        arrived = allocate_lock()
        arrived.acquire()
        with _graph:
            done = other.done
            if not done:
                if other._thread == get_ident():
                    raise LoadCycle(
                        f"{self.key!r} is being loaded by this same thread, which cannot go on while it waits here: "
                        "tasks wait with get_or_load_async"
                    )
                self._wake = arrived.release
        if not done:
            arrived.acquire()
        return self._arrive(other)

    async def wait_async(self) -> "Any":
        """`wait` for a task: the event loop goes on."""
        from asyncio import get_running_loop

        other = self.joined
        assert other is not None
        loop = get_running_loop()
        arrived = loop.create_future()

        def arrive() -> None:
            if not arrived.done():
                arrived.set_result(None)

        with _graph:
            done = other.done
            if not done:
                self._wake = lambda: loop.call_soon_threadsafe(arrive)
        if not done:
            await arrived
        return self._arrive(other)

    def _arrive(self, other: "Flight") -> "Any":
        value, error, trace = other.value, other.error, other.trace
        self.leave()
        if error is None:
            return value
        try:
            raise error.with_traceback(trace)  # or each who waited would lengthen it for the next
        finally:
            del error, trace

    def _forget(self) -> None:
        self.value, self.error, self.trace = MISSING, None, None

    def _around(self) -> "list[Flight]":
        """The loads inside which this one asks, the innermost first."""
        around, at = [], self.outer
        while at is not None:
            around.append(at)
            at = at.outer
        return around

    def _holds_up(self, certainly: bool) -> "set[Flight]":
        """The loads that do not end before this one has: those it is inside of, those that wait for them, and so on."""
        reached: set[Flight] = set()
        todo = [self]
        while todo:
            at = todo.pop()
            if at not in reached:
                reached.add(at)
                todo.extend(at.waiting)
                if at.outer is not None and not (certainly and at.detached):
                    todo.append(at.outer)
        return reached


def _task() -> int:
    """Which task this is; 0 for none. Not the task itself, which a flight would keep from being collected."""
    asyncio = sys.modules.get("asyncio")
    running = getattr(asyncio, "_get_running_loop", None)  # asyncio may be half imported, by another thread
    return id(asyncio.current_task()) if asyncio is not None and running is not None and running() is not None else 0


def _forked() -> None:
    global _graph
    _graph = RLock()


posix.register_at_fork(after_in_child=_forked)
