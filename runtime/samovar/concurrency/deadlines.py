"""When tasks are cancelled: those that pollers wait for, each at the time of its invocation.

Imported with the first coroutine. Knows asyncio, and nothing of the package.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

_NEVER = float("inf")


class Deadlines:
    """The tasks in flight on an event loop. One timer serves all of them: it is set to the first of their times, and
    most often that task has ended long before it goes off.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._watches: set[Watch] = set()
        self._rings_at = _NEVER  # Unix time
        self._timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Cancel all tasks."""
        for watch in list(self._watches):
            watch.task.cancel()

    def has_raised(self, exc: BaseException) -> bool:
        """Return whether one of the tasks has just ended with exc."""
        done = [watch.task for watch in self._watches if watch.task.done()]
        return any(not task.cancelled() and task.exception() is exc for task in done)

    def watch(self) -> Watch:
        return Watch(self)

    def add(self, watch: Watch) -> None:
        self._watches.add(watch)
        if watch.stop_time < self._rings_at:
            self._set(watch.stop_time)

    def discard(self, watch: Watch) -> None:
        self._watches.discard(watch)

    def _set(self, stop_time: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = stop_time
        # In a context of its own: that of the caller would keep its invocation until then.
        self._timer = self.loop.call_later(max(0.0, stop_time - time.time()), self._ring, context=Context())

    def _ring(self) -> None:
        self._timer = None
        self._rings_at = _NEVER
        now = time.time()
        for watch in [watch for watch in self._watches if watch.stop_time <= now]:
            watch.stop_time = _NEVER  # once
            watch.late = True
            watch.task.cancel()
        first = min((watch.stop_time for watch in self._watches), default=_NEVER)
        if first != _NEVER:
            self._set(first)


class Watch:
    """Cancels one task at a Unix time, as `aio`'s does for one invocation at a time. late: whether it has."""

    __slots__ = ("_deadlines", "late", "stop_time", "task")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self.late = False

    def start(self, coroutine: Coroutine[Any, Any, Any], context: Context, stop_time: float) -> asyncio.Task[Any]:
        """Run a coroutine as a task that is watched. Called in the event loop's thread."""
        task = self._deadlines.loop.create_task(coroutine, context=context)
        self.begin(task, stop_time)
        return task

    def begin(self, task: asyncio.Task[Any], stop_time: float) -> None:
        """Watch a task until it is done. Called in the event loop's thread."""
        self.task = task
        self.stop_time = stop_time
        self._deadlines.add(self)
        task.add_done_callback(self._ended)

    def close(self) -> None:
        self._deadlines.discard(self)

    def has_raised(self, exc: BaseException) -> bool:
        """Return whether exc is that the task has been cancelled here."""
        return self.late and isinstance(exc, asyncio.CancelledError)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._deadlines.discard(self)
