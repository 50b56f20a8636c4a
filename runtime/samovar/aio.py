"""The environment's one event loop: it runs a coroutine to its end, or lets it go on beside its caller.

Imported when there is a coroutine. Knows asyncio, and nothing of the package.
"""

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

_event_loop: "asyncio.AbstractEventLoop | None" = None
_tasks: "set[asyncio.Task[Any]]" = set()  # an event loop holds its tasks only weakly


def run(coroutine: "Awaitable[Any]") -> "Any":
    """Run a coroutine on the environment's event loop, so that what it keeps (connections, tasks) outlives the
    invocation. The loop is the one that the function has set for itself, else one of our own.

    Cancelled, it fails with an Exception of that name: CancelledError itself would end the environment.
    """
    try:
        return _loop().run_until_complete(coroutine)
    except asyncio.CancelledError as exc:
        failure = type("CancelledError", (Exception,), {})
        raise failure(*exc.args).with_traceback(exc.__traceback__) from None


def _loop() -> "asyncio.AbstractEventLoop":
    global _event_loop
    if _event_loop is None or _event_loop.is_closed():
        try:
            _event_loop = asyncio.get_event_loop()
        except (RuntimeError, DeprecationWarning):
            pass
        if _event_loop is None or _event_loop.is_closed():
            _event_loop = asyncio.new_event_loop()
            asyncio.set_event_loop(_event_loop)
    return _event_loop


def spawn(coroutine: "Coroutine[Any, Any, Any]") -> None:
    """Run a coroutine as a task of the running event loop, which does not wait for it."""
    task = asyncio.ensure_future(coroutine)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def finish(coroutine: "Coroutine[Any, Any, Any]") -> None:
    """Run a coroutine to its end; beside the caller where an event loop runs here, as it does outside the runtime."""
    if asyncio._get_running_loop() is None:
        run(coroutine)
    else:
        spawn(coroutine)


def finisher(make: "Callable[[], Coroutine[Any, Any, Any]]") -> "Callable[[], object]":
    """Return a function that later runs make() on the event loop that is running now: to its end where the loop waits,
    beside the loop's own tasks where it runs, on a new one where it is closed by then.
    """
    loop = asyncio.get_running_loop()

    def finish_there() -> object:
        if loop.is_closed():
            return asyncio.run(make())
        if loop.is_running():
            return loop.call_soon_threadsafe(lambda: spawn(make()))
        return loop.run_until_complete(make())

    return finish_there
