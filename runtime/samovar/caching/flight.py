"""A load on its way, and the callers that wait for it, in threads and in tasks.

Imported at the first load. Knows which load waits for which, in all caches together, and so refuses a wait that would
never end; does not know what a cache does with a value.
"""

import sys
from _contextvars import ContextVar
from _thread import allocate_lock, get_ident

from samovar.caching.entries import MISSING, find, findable, lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable
    from typing import Any

    from samovar.caching.entries import Entry, Terms
    from samovar.caching.store import TTLCache


# The load that this thread or task is inside of. A task inherits it from the one that made it.
_inside: "ContextVar[Flight | None]" = ContextVar("samovar.caching.flight", default=None)


class LoadCycle(RuntimeError):
    """A loader asked for what it is itself loading, directly or through other loaders: waiting would never end."""


class Flight:
    """One caller's way to a value that is not there: it loads it, or it has `joined` another flight that does.

    `with Flight(cache, key, terms) as flight, flight:` leaves twice, because an exception that a signal handler raises
    in the first __exit__ would cut it off; until the first nothing is acquired.

    outer       the load inside which the caller asks, directly or in a task that was made there
    since       the cache's time when it began to load; the value's age counts from then
    begun       the monotonic clock then; None before that, and where it only waits
    waiting     the flights that have joined this one
    counted     whether it has been counted as a miss
    old         the entry that may serve if the load fails
    refreshes   the entry for which a refresh is to be queued
    value, error, trace   the outcome, while others wait for it: an error holds its frames, and they hold this
    """

    __slots__ = (
        "_thread",
        "_to_wake",
        "_token",
        "_wake",
        "begun",
        "cache",
        "counted",
        "detached",
        "done",
        "error",
        "joined",
        "key",
        "old",
        "outer",
        "refreshes",
        "since",
        "task",
        "terms",
        "trace",
        "value",
        "waiting",
    )

    def __init__(self, cache: "TTLCache", key: "Hashable", terms: "Terms") -> None:
        self.done = False
        outer = _inside.get()
        while outer is not None and outer.done:
            outer = outer.outer
        self.cache: TTLCache | None = cache
        self.key = key
        self.terms = terms
        self.outer: Flight | None = outer
        self.task = _task()
        # Whether the load around it may end without waiting for this one: nobody can tell what a task is made for.
        self.detached = outer is not None and outer.task != 0 and self.task not in (0, outer.task)
        self.since = 0.0
        self.begun: float | None = None
        self.counted = False
        self.old: Entry | None = None
        self.refreshes: Entry | None = None
        self.value: Any = MISSING
        self.error: Exception | None = None
        self.trace: Any = None
        self.joined: Flight | None = None
        self.waiting: set[Flight] | tuple[()] = ()
        self._thread = get_ident()
        self._token: Any = None
        self._wake: Callable[[], object] | None = None
        self._to_wake: Collection[Flight] = ()

    def __enter__(self) -> "Flight":
        return self

    def __exit__(self, *_: object) -> None:
        if (cache := self.cache) is None:
            return
        if self.joined is not None:
            self.leave()
        if self.refreshes is not None:  # and has not been queued
            self.refreshes.refreshing = False
        if self.begun is not None:
            self._land(cache)
        self.old = self.refreshes = self.cache = None  # a task that the loader made may hold this for long

    def begin(self, cache: "TTLCache", now: float, for_others: bool) -> None:
        """Load from now on; other callers can join it if it is for them too. The caller holds the lock."""
        self.since = now
        self.begun = cache._monotonic()
        if for_others:
            cache._flights[self.key] = self

    def enter(self) -> None:
        """Note that from now on this load asks for whatever is asked for here."""
        self._token = _inside.set(self)

    def fail(self, error: Exception) -> None:
        """Note what the loader raised."""
        self.error, self.trace = error, error.__traceback__

    def _land(self, cache: "TTLCache") -> None:
        """End the load, and wake the callers that wait. Called again if a signal handler broke the first call off."""
        if self._token is not None:
            token, self._token = self._token, None
            try:
                _inside.reset(token)
            except ValueError:
                pass  # a task that never ended is being collected, outside its own context
        with lock:
            if not self.done:
                self._take_out(cache)
                if self.waiting:
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
        self._to_wake = ()

    def _take_out(self, cache: "TTLCache") -> None:
        assert self.begun is not None
        flights = cache._flights
        if find(flights, self.key) is self:
            del flights[self.key]
        elif flights:  # deleted or set meanwhile; or its key's hash has changed, and would keep it there
            cache._flights = findable(flights)
        counts = cache._counts
        counts.loads += 1
        counts.load_seconds += cache._monotonic() - self.begun
        if self.value is MISSING:
            counts.load_errors += 1

    def join(self, other: "Flight") -> bool:
        """Wait for `other` from now on; return False if that may never end, so that the caller loads for itself.

        The caller holds the lock. Raises LoadCycle where the wait would certainly never end, or where a caller that
        loads for itself comes round again.
        """
        if self.outer is not None and other in self._holds_up(True):
            raise LoadCycle(
                f"the loader of {self.outer.key!r} asks for {other.key!r}, which is being loaded "
                "and waits for it in turn: have the loader compute that part itself, or keep it under another key"
            )
        if self.outer is not None and other in self._holds_up(False):
            if sum(each.cache is self.cache and each.key == self.key for each in self._around()) > 1:
                raise LoadCycle(f"the loader of {self.key!r} makes tasks that ask for that, again and again")
            return False
        self.joined = other
        if not other.waiting:
            other.waiting = set()
        other.waiting.add(self)
        return True

    def leave(self) -> None:
        """Wait no more."""
        other = self.joined
        if other is not None:
            with lock:
                if other.waiting:
                    other.waiting.discard(self)
                if other.done and not other.waiting:
                    other._forget()
            self.joined = self._wake = None

    def wait(self) -> "Any":
        """Return the value once it is loaded; MISSING if the load was given up (task cancelled, thread exiting).

        Raises what the loader does.
        """
        other = self.joined
        assert other is not None
        arrived = allocate_lock()
        arrived.acquire()
        with lock:
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
        """Do what `wait` does, for a task: the event loop goes on."""
        from asyncio import get_running_loop

        other = self.joined
        assert other is not None
        loop = get_running_loop()
        arrived = loop.create_future()

        def arrive() -> None:
            if not arrived.done():
                arrived.set_result(None)

        with lock:
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
            raise error.with_traceback(trace)  # otherwise each caller that waited would add its frames for the next
        finally:
            del error, trace

    def _forget(self) -> None:
        self.value, self.error, self.trace = MISSING, None, None

    def _around(self) -> "list[Flight]":
        """Return the loads inside which this one asks, the innermost first."""
        around, at = [], self.outer
        while at is not None:
            around.append(at)
            at = at.outer
        return around

    def _holds_up(self, certainly: bool) -> "set[Flight]":
        """Return the loads that end after this one: those it is inside of, those that wait for them, and so on."""
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
    """Return which task this is; 0 for none. Not the task itself, which a flight would keep from being collected."""
    asyncio = sys.modules.get("asyncio")
    running = getattr(asyncio, "_get_running_loop", None)  # asyncio may be half imported, by another thread
    loop = None if running is None else running()
    return 0 if asyncio is None or loop is None else id(asyncio.current_task(loop))
