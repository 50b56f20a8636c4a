"""One load on its way, and those who wait for it, in threads and in tasks.

Imported at the first load. Knows who waits for whom, in all caches together, and so refuses a wait that would never
end; knows nothing of ttls and entries.
"""

from _contextvars import ContextVar
from _thread import allocate_lock, get_ident

from samovar.caching.store import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from types import TracebackType
    from typing import Any


_graph = allocate_lock()  # guards every flight's `needs`: loads of different caches may wait for each other
# The loads that this thread or task is inside of, outermost first. A task inherits it from the one that made it.
_inside: "ContextVar[tuple[Flight, ...]]" = ContextVar("samovar.caching.flight", default=())


class LoadCycle(RuntimeError):
    """A loader asked for what it is itself loading, directly or by way of other loaders: waiting would never end."""


class Flight:
    """A load: `with flight:` around the loader, which sets `value`. `landed(flight)` is called when it has ended."""

    __slots__ = (
        "_by",
        "_lock",
        "_token",
        "_trace",
        "_wakers",
        "_when_landed",
        "begun",
        "done",
        "error",
        "key",
        "needs",
        "thread",
        "value",
    )

    def __init__(self, key: "Hashable", begun: float, landed: "Callable[[Flight], object]") -> None:
        self.key = key
        self.begun = begun
        self.value: Any = MISSING
        self.error: Exception | None = None
        self.done = False
        self.thread = get_ident()
        self.needs: list[Flight] = []  # the loads that this one's loader is waiting for
        self._by: Flight | None = None
        self._when_landed = landed
        self._wakers: list[Callable[[], object]] = []  # one for each task that waits
        self._lock = allocate_lock()  # held until landing
        self._lock.acquire()

    def __enter__(self) -> None:
        self._by = _need(self)
        self._token = _inside.set((*_inside.get(), self))

    def __exit__(self, kind: object, error: "BaseException | None", trace: "TracebackType | None") -> None:
        try:
            _inside.reset(self._token)
        except ValueError:
            pass  # a task that never ended is being collected, outside its own context
        _need_no_more(self._by, self)
        if isinstance(error, Exception):
            self.error, self._trace = error, trace
        self._when_landed(self)
        with _graph:
            self.done = True
        self._lock.release()
        for wake in self._wakers:
            wake()

    def _result(self) -> "Any":
        if self.error is not None:
            raise self.error.with_traceback(self._trace)  # or each who waited would lengthen it for the next
        return self.value

    def wait(self) -> "Any":
        """The value once it is loaded, or the loader's exception; MISSING if it was given up (task cancelled, thread
        exiting).
        """
        by = _need(self)
        try:
            if self.thread == get_ident() and not self.done:
                raise LoadCycle(
                    f"{self.key!r} is being loaded by this same thread, which cannot go on while it waits here: "
                    "tasks wait with get_or_load_async"
                )
            with self._lock:
                pass
        finally:
            _need_no_more(by, self)
        return self._result()

    async def wait_async(self) -> "Any":
        """`wait` for a task: the event loop goes on."""
        from asyncio import get_running_loop

        by = _need(self)
        loop = get_running_loop()
        arrived = loop.create_future()

        def arrive() -> None:
            if not arrived.done():
                arrived.set_result(None)

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(arrive)
            except RuntimeError:
                pass  # the event loop has been closed, and with it the task that waited

        try:
            with _graph:
                if not self.done:
                    self._wakers.append(wake)
            if not self.done:
                await arrived
        finally:
            _need_no_more(by, self)
        return self._result()


def _need(flight: Flight) -> "Flight | None":
    """Notes that the load in progress here, if any, needs `flight`, and returns it. Raises LoadCycle where that closes
    a circle.
    """
    inside = _inside.get()
    if not inside:
        return None
    with _graph:
        reached, todo = set(), [flight]
        while todo:
            at = todo.pop()
            if at in inside:
                raise LoadCycle(
                    f"the loader of {inside[-1].key!r} asks for {flight.key!r}, which is being loaded "
                    "and waits for it in turn: have the loader compute that part itself, or keep it under another key"
                )
            if at not in reached:
                reached.add(at)
                todo.extend(at.needs)
        inside[-1].needs.append(flight)
    return inside[-1]


def _need_no_more(by: "Flight | None", flight: Flight) -> None:
    if by is not None:
        with _graph:
            by.needs.remove(flight)
