"""The environment's event loop where there are pollers: it runs in the main thread, and they wait for what it does.

`aio` asks here for a coroutine that a poller's thread wants to run. Knows the event loop, and nothing of invocations.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from samovar import aio

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from contextvars import Context

_call: Callable[[Callable[[], object]], None] | None = None  # has the main thread do something
_lock = threading.Lock()


def set_up(call: Callable[[Callable[[], object]], None]) -> None:
    """Have coroutines of other threads run on the main thread's event loop from now on."""
    global _call
    _call = call
    aio.elsewhere = run


def has_loop() -> bool:
    return aio.made_loop() is not None


def run_loop(seconds: float) -> None:
    """Run the event loop, where there is one, until it is interrupted or the time is up. Called in the main thread."""
    if (event_loop := aio.made_loop()) is not None:
        timer = event_loop.call_later(seconds, event_loop.stop)
        event_loop.run_forever()
        timer.cancel()


def interrupt() -> None:
    """Have `run_loop` return."""
    if (event_loop := aio.made_loop()) is not None:
        event_loop.call_soon_threadsafe(event_loop.stop)


def sleep(seconds: float) -> None:
    """Let the event loop go on for a while. Called in the main thread."""
    if (event_loop := aio.made_loop()) is not None:
        event_loop.run_until_complete(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def run(awaitable: Awaitable[Any], context: Context, stop_time: float) -> Any:
    """Run a coroutine on the main thread's event loop, and wait for it. As `aio.run`, which asks here."""
    event_loop = _loop()
    done = threading.Event()
    tasks: list[asyncio.Task[Any]] = []
    late = False

    def cancel() -> None:
        nonlocal late
        late = True
        tasks[0].cancel()

    def start() -> None:
        tasks.append(event_loop.create_task(_awaited(awaitable), context=context))
        timer = None
        if stop_time != float("inf"):
            timer = event_loop.call_later(max(0.0, stop_time - time.time()), cancel)

        def ended(task: asyncio.Task[Any]) -> None:
            if timer is not None:
                timer.cancel()
            done.set()

        tasks[0].add_done_callback(ended)

    event_loop.call_soon_threadsafe(start)
    done.wait()
    try:
        return tasks[0].result()
    except asyncio.CancelledError as exc:
        if late:
            raise aio.out_of_time(exc) from None
        raise
    finally:
        tasks.clear()  # the task holds the exception, whose frames hold this one


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _loop() -> asyncio.AbstractEventLoop:
    """Return the environment's event loop, made in the main thread where there is none."""
    with _lock:
        if (event_loop := aio.made_loop()) is None:
            made = threading.Event()

            def make() -> None:
                aio.get_loop()
                made.set()

            assert _call is not None
            _call(make)
            made.wait()
            event_loop = aio.get_loop()
    return event_loop
