"""The environment's event loop where there are pollers: the main thread runs it, and they wait for what it does.

`aio` comes here with what a poller's thread wants to have run. Knows event loops; imports asyncio only where something
has made one, as a plain function needs none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from threading import Lock, get_ident
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from samovar.environment import current, environment

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable

    from samovar.concurrency.deadlines import Deadlines, Watch
    from samovar.invocation import Invocation

_LOOK = 1.0  # s at least between two looks for tasks that invocations have left running


class Bridge:
    """Between the main thread, which makes it and runs the event loop, and all others.

    call: has the main thread call a function.
    """

    def __init__(self, call: Callable[[Callable[[], object]], None]) -> None:
        self.thread = get_ident()
        self._call = call
        self._lock = Lock()
        self._deadlines: Deadlines | None = None
        self._looks = False  # a look for tasks is due
        environment.bridge = self
        environment.at_fork.append(_forked)

    # For the main thread.

    def has_loop(self) -> bool:
        return _made_loop() is not None

    def run_loop(self, seconds: float) -> None:
        """Run the event loop, where there is one, until it is interrupted or the time is up."""
        if (event_loop := _made_loop()) is not None:
            timer = event_loop.call_later(seconds, event_loop.stop)
            try:
                event_loop.run_forever()
            finally:
                timer.cancel()

    def sleep(self, seconds: float) -> None:
        """Let the event loop go on for a while, or wait where there is none."""
        if self.has_loop():
            self.run_loop(seconds)
        else:
            time.sleep(seconds)

    def cancel(self) -> None:
        """Cancel all that pollers wait for."""
        if self._deadlines is not None:
            self._deadlines.cancel()

    def has_raised(self, exc: BaseException) -> bool:
        """Return whether what came out of the event loop is the exception of an invocation, whose poller gets it."""
        return self._deadlines is not None and self._deadlines.has_raised(exc)

    # For the other threads.

    def interrupt(self) -> None:
        """Have `run_loop` return."""
        if (event_loop := _made_loop()) is not None:
            event_loop.call_soon_threadsafe(event_loop.stop)

    def run(self, awaitable: Awaitable[Any], context: Context, stop_time: float) -> Any:
        """Run a coroutine on the event loop, and wait for it. As `aio.run`, which asks here."""
        coroutine = awaitable if type(awaitable) is CoroutineType else _awaited(awaitable)
        event_loop = self.loop()
        watch = self.watch(event_loop)
        try:
            return self.wait(event_loop, partial(watch.start, coroutine, context, stop_time)).result()
        except BaseException as exc:
            if exc.__traceback__ is not None:
                exc.__traceback__ = exc.__traceback__.tb_next  # without this frame
            if watch.has_raised(exc):
                from samovar import aio

                raise aio.out_of_time(exc) from None
            raise

    def wait(
        self, event_loop: asyncio.AbstractEventLoop, begin: Callable[[], asyncio.Future[Any]]
    ) -> asyncio.Future[Any]:
        """Call begin() in the event loop's thread, wait until the future is done that it returns, and return that.
        Raises what begin() raises.
        """
        arrived = Lock()
        arrived.acquire()
        begun: list[asyncio.Future[Any]] = []
        failures: list[BaseException] = []

        def start() -> None:
            try:
                begun.append(begin())
            except BaseException as exc:
                failures.append(exc)
                arrived.release()
            else:
                begun[0].add_done_callback(release)

        def release(future: object) -> None:
            arrived.release()

        event_loop.call_soon_threadsafe(start)
        arrived.acquire()
        if failures:
            raise failures.pop()
        return begun.pop()

    def watch(self, event_loop: asyncio.AbstractEventLoop) -> Watch:
        """Return what cancels a task of the event loop at a time that is given later."""
        if self._deadlines is None or self._deadlines.loop is not event_loop:
            from samovar.concurrency.deadlines import Deadlines

            with self._lock:
                if self._deadlines is None or self._deadlines.loop is not event_loop:
                    self._deadlines = Deadlines(event_loop)
        return self._deadlines.watch()

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the environment's event loop, made in the main thread where there is none."""
        if (event_loop := _made_loop()) is None:
            with self._lock:
                if (event_loop := _made_loop()) is None:
                    event_loop = self._make_loop()
        return event_loop

    def _make_loop(self) -> asyncio.AbstractEventLoop:
        from samovar import aio

        made = Lock()
        made.acquire()

        def make() -> None:
            with suppress(Exception):  # which the caller gets as well
                aio.get_loop()
            made.release()

        self._call(make)
        made.acquire()
        return aio.get_loop()

    def look_for_tasks(self) -> None:
        """Have the tasks looked for that an invocation has left running. Any thread may ask."""
        if not self._looks and (event_loop := _made_loop()) is not None:
            self._looks = True
            later = partial(event_loop.call_later, _LOOK, self._name_tasks, context=Context())
            event_loop.call_soon_threadsafe(later)

    def _name_tasks(self) -> None:
        from samovar import aio, logs

        self._looks = False
        left: dict[Invocation, tuple[Context, list[asyncio.Task[Any]]]] = {}
        for task in aio.others_tasks():
            context = aio.context_of(task)
            invocation = None if context is None else context.copy().run(current)
            if context is not None and invocation is not None and invocation not in environment.in_flight:
                left.setdefault(invocation, (context, []))[1].append(task)
        for context, tasks in left.values():
            if names := aio.new_names(tasks):
                message = f"Tasks left running go on after their invocation, which did not wait for them: {names}"
                context.copy().run(logs.record, "WARNING", message)


def _made_loop() -> asyncio.AbstractEventLoop | None:
    return None if environment.event_loop is None else environment.event_loop()


def _forked() -> None:
    """Leave the event loop to the parent, in a child that a handler has forked: no thread runs it here."""
    environment.bridge = None
    if environment.event_loop is not None:
        from samovar import aio

        aio.forget_loop()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
