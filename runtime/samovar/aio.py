"""The environment's one event loop: it runs a coroutine to its end, or lets it go on beside its caller.

Imported when there is a coroutine. Knows asyncio, and nothing of the package.
"""

import asyncio
from contextvars import Context, ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from types import TracebackType
    from typing import Any

_event_loop: "asyncio.AbstractEventLoop | None" = None
_tasks: "set[asyncio.Task[Any]]" = set()  # an event loop holds its tasks only weakly
_run: "ContextVar[object]" = ContextVar(
    "samovar"
)  # tells the tasks of one coroutine from those that others left running


def run(coroutine: "Awaitable[Any]") -> "Any":
    """Run a coroutine on the environment's event loop, so that what it keeps (connections, tasks) outlives the
    invocation. The loop is the one that the function has set for itself, else one of our own.

    Where something raises out of the event loop (a signal handler), the tasks of this coroutine are cancelled and have
    ended before it is raised again, as in asyncio.run.
    """
    loop = _loop()
    mark = object()
    _run.set(mark)
    try:
        return loop.run_until_complete(coroutine)
    except BaseException as exc:
        if getattr(coroutine, "cr_frame", None) is not None:  # it has not ended
            _end_tasks(loop, mark)
        exc.__traceback__ = _below(exc.__traceback__)
        raise


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


def _below(tb: "TracebackType | None") -> "TracebackType | None":
    """Return the traceback below run and run_until_complete: the latter's frame holds the task, which holds the
    exception, and with it the event until the next collection.
    """
    tb = tb and tb.tb_next
    return tb and tb.tb_next


def _end_tasks(loop: "asyncio.AbstractEventLoop", mark: object) -> None:
    """Cancel what a coroutine has started and not waited for, and the coroutine itself, and let it end."""
    tasks = [task for task in asyncio.all_tasks(loop) if _mark(task) is mark]
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def _mark(task: "Any") -> object:
    if hasattr(task, "get_context"):
        return task.get_context().get(_run)
    import gc  # before Python 3.12 nothing else shows a task's context

    return next((held.get(_run) for held in gc.get_referents(task) if isinstance(held, Context)), None)


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
