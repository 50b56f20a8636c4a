"""The environment's one event loop: it runs a coroutine to its end, or lets it go on beside its caller.

Imported when there is a coroutine. Knows asyncio, and of the package only the environment and the log.
"""

import asyncio
import posix
from contextvars import Context, ContextVar, copy_context
from sys import version_info
from threading import get_ident
from time import time

from samovar.environment import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
    from types import TracebackType
    from typing import Any

    from samovar.concurrency.bridge import Bridge
    from samovar.concurrency.deadlines import Watch

_event_loop: "asyncio.AbstractEventLoop | None" = None
_tasks: "set[asyncio.Task[Any]]" = set()  # an event loop holds its tasks only weakly
# What all_tasks reads; from Python 3.14 on it is fast and reads something else.
_sets = asyncio.tasks.__dict__
_all: "Any" = None if version_info >= (3, 14) else _sets.get("_scheduled_tasks", _sets.get("_all_tasks"))
_of_run: "_Watch | None" = None
_named: "set[str]" = set()  # coroutines whose tasks were seen to be left running
_run: "ContextVar[object]" = ContextVar(
    "samovar"
)  # tells the tasks of one coroutine from those that others left running


def set_up() -> None:
    """Make the environment's event loop, of the kind that `SAMOVAR_LOOP` names. Raises ValueError for another value,
    ImportError where the function does not ship it.
    """
    global _event_loop
    choice = posix.environ.get(b"SAMOVAR_LOOP", b"")
    if choice not in (b"", b"uvloop"):
        raise ValueError(f"SAMOVAR_LOOP={choice.decode()!r}: want uvloop, or nothing for Python's own event loop")
    if choice == b"uvloop":
        try:
            import uvloop  # type: ignore[import-not-found, unused-ignore]
        except ImportError as exc:
            raise ImportError(f"SAMOVAR_LOOP=uvloop: {exc}; add uvloop to the function's packages") from None
        _event_loop = uvloop.new_event_loop()
    else:
        _event_loop = asyncio.new_event_loop()
    asyncio.set_event_loop(_event_loop)


def fresh() -> Context:
    """Return contextvars for one invocation: those of INIT, which what it sets does not change."""
    context = copy_context()
    context.run(_run.set, object())
    return context


def run(coroutine: "Awaitable[Any]", context: "Context | None" = None, stop_time: float = float("inf")) -> "Any":
    """Run a coroutine on the environment's event loop, so that what it keeps (connections, tasks) outlives the
    invocation. The loop is the one that the function has set for itself, else one of our own.

    context: its contextvars; None for fresh ones. stop_time: the Unix time at which it is cancelled, which raises
    TimeoutError.

    Where something raises out of the event loop (a signal handler), the tasks of this coroutine are cancelled and have
    ended before it is raised again, as in asyncio.run.
    """
    context = context or fresh()
    if (bridge := elsewhere()) is not None:
        return bridge.run(coroutine, context, stop_time)
    loop = get_loop()
    task = loop.create_task(_stopping(loop, coroutine), context=context)
    watch = _watch(loop)
    watch.begin(task, stop_time)
    try:
        while True:
            loop.run_forever()
            if task.done():  # else something has stopped the event loop
                return task.result()
    except BaseException as exc:
        if not task.done():
            _end_tasks(loop, context.get(_run))
        exc.__traceback__ = _below(exc.__traceback__)
        if watch.has_raised(exc):
            raise out_of_time(exc) from None
        raise
    finally:
        watch.end()
        del task  # holds the exception, whose frames lead back to this one from Python 3.12 on


def elsewhere() -> "Bridge | None":
    """Return the way to the event loop where another thread than this one runs it; None where this one does."""
    bridge = environment.bridge
    return None if bridge is None or bridge.thread == get_ident() else bridge


def drive(task: "asyncio.Task[Any]", done: "Callable[[], bool]", stop_time: float) -> bool:
    """Run the event loop until it is stopped and done() is true. The task is cancelled at `stop_time`, or where
    something raises out of the event loop; return whether it was its time.
    """
    loop = get_loop()
    watch = _watch(loop)
    watch.begin(task, stop_time)
    try:
        while not done():
            loop.run_forever()
    except BaseException:
        task.cancel()
        task.add_done_callback(lambda ended: loop.stop())
        while not task.done():
            loop.run_forever()
        raise
    finally:
        watch.end()
    return watch.late


async def _stopping(loop: "asyncio.AbstractEventLoop", awaitable: "Awaitable[Any]") -> "Any":
    """Await, and stop the loop at once: run_until_complete goes round once more, for 5 µs."""
    try:
        return await awaitable
    finally:
        loop.stop()


def _watch(loop: "asyncio.AbstractEventLoop") -> "_Watch":
    global _of_run
    if _of_run is None or _of_run.loop is not loop:
        _of_run = _Watch(loop)
    return _of_run


class _Watch:
    """Cancels a task at a Unix time. One timer serves all invocations, as setting and removing one takes 3 µs: where it
    goes off in a later one, it is set to that one's time.
    """

    __slots__ = ("_rings_at", "_stop_time", "_task", "_timer", "late", "loop")

    def __init__(self, loop: "asyncio.AbstractEventLoop") -> None:
        self.loop = loop
        self._rings_at = float("inf")  # in the event loop's time
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self.late = False  # whether it has cancelled the task

    def begin(self, task: "asyncio.Task[Any]", stop_time: float) -> None:
        self._task = task
        self._stop_time = stop_time
        self.late = False
        at = self.loop.time() + stop_time - time()
        if at < self._rings_at - 0.001:  # two clocks were read, not at the same time
            if self._timer is not None:
                self._timer.cancel()
            self._rings_at = at
            self._timer = self.loop.call_at(at, self._ring)

    def end(self) -> None:
        self._task = None  # the timer stays

    def close(self) -> None:
        self.end()
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self._rings_at = float("inf")
        self._timer = None
        if self._task is None:
            return
        if time() < self._stop_time:
            self.begin(self._task, self._stop_time)
        else:
            self.late = True
            self._task.cancel()

    def has_raised(self, exc: BaseException) -> bool:
        """Return whether exc is that the task has been cancelled here."""
        return self.late and isinstance(exc, asyncio.CancelledError)


class Pulled:
    """An async iterator as an iterator. One task drives it, which waits until the next item is asked for; meanwhile
    the event loop rests, but in `wait`. Where another thread runs the event loop it goes on, and there is no `wait`.
    """

    wait: "Callable[[int], None] | None"

    def __init__(self, source: "AsyncIterator[Any]", stop_time: float, context: "Context | None" = None) -> None:
        self._source = source
        self._stop_time = stop_time
        self._context = context or fresh()
        self._bridge = elsewhere()
        self._watch: _Watch | Watch  # of its own: `run` may be called while it is there
        if self._bridge is None:
            self._loop = get_loop()
            self._watch = _Watch(self._loop)
            self.wait = self._wait
        else:
            self._loop = self._bridge.loop()
            self._watch = self._bridge.watch(self._loop)
            self.wait = None
        self._task: asyncio.Task[None] | None = None
        self._asked: asyncio.Future[None] | None = None  # done when the next item is wanted
        self._failure: BaseException | None = None
        self._closing = False
        self._item: Any = None

    def __iter__(self) -> "Pulled":
        return self

    def __next__(self) -> "Any":
        self._run(self._ask)
        if self._given.result():
            item, self._item = self._item, None
            return item
        failure, self._failure = self._failure, None
        if failure is None:
            raise StopIteration
        try:
            raise out_of_time(failure) if self._watch.has_raised(failure) else failure
        finally:
            del failure  # the traceback holds this frame, and with it the event

    def _ask(self) -> "asyncio.Future[bool]":
        self._given: asyncio.Future[bool] = self._loop.create_future()  # whether there is an item
        if self._task is None:
            self._task = self._loop.create_task(self._drive(), context=self._context)
            self._watch.begin(self._task, self._stop_time)
        elif self._task.done():
            self._given.set_result(False)
        else:
            self._resume()
        return self._given

    async def _drive(self) -> None:
        try:
            async for item in self._source:
                if self._closing:  # it has caught its cancellation
                    break
                self._item = item
                self._asked = self._loop.create_future()
                self._given.set_result(True)
                await self._asked
                if self._closing:
                    break
        except BaseException as exc:
            self._fail(exc)
        finally:
            try:
                # In this task, as what the generator has entered may be left only here.
                if (aclose := getattr(self._source, "aclose", None)) is not None:
                    await aclose()
            except BaseException as exc:
                self._fail(exc)
            finally:
                self._watch.close()
                if not self._given.done():
                    self._given.set_result(False)

    def _fail(self, exc: BaseException) -> None:
        ends = isinstance(exc, SystemExit | KeyboardInterrupt)
        if ends and self._bridge is None:
            raise exc  # out of the event loop
        if ends or self._failure is None:
            self._failure = exc.with_traceback(exc.__traceback__ and exc.__traceback__.tb_next)

    def _resume(self) -> bool:
        """Let the task go on where it waits to be asked; return whether it does."""
        if self._asked is None or self._asked.done():
            return False
        self._asked.set_result(None)
        return True

    def _run(self, begin: "Callable[[], asyncio.Future[Any]]") -> None:
        """Let the event loop run from begin() on until the future is done that it returns."""
        try:
            if self._bridge is None:
                self._loop.run_until_complete(begin())
            else:
                self._bridge.wait(self._loop, begin)
        except BaseException as exc:
            exc.__traceback__ = _below(exc.__traceback__)
            raise

    def _wait(self, fd: int) -> None:
        """Let the tasks of the event loop go on until a descriptor can be written."""
        ready = self._loop.create_future()
        self._loop.add_writer(fd, _set, ready)
        try:
            self._run(lambda: ready)
        finally:
            self._loop.remove_writer(fd)

    def close(self) -> None:
        """Let the source end, wherever it is. Raises what that raises."""
        self._closing = True
        if self._task is None:
            if (aclose := getattr(self._source, "aclose", None)) is not None:
                run(aclose(), self._context)
        elif not self._task.done():
            self._run(self._end)
            failure, self._failure = self._failure, None
            if not isinstance(failure, asyncio.CancelledError | None):
                raise failure

    def _end(self) -> "asyncio.Future[None]":
        assert self._task is not None
        self._watch.close()
        if not self._resume() and not self._task.cancelling():  # a second time would interrupt its cleaning up
            self._task.cancel()
        return self._task


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def warn_of_tasks() -> None:
    """Log the names of coroutines whose tasks go on in the next invocation, each once."""
    if environment.bridge is not None:
        environment.bridge.look_for_tasks()
        return
    if _all is not None and len(_all) == len(_tasks):
        return  # sooner than all_tasks finds no others
    if names := new_names(others_tasks()):
        from samovar import logs

        logs.record("WARNING", f"Tasks left running stand still until the next invocation: {names}")


def others_tasks() -> "list[asyncio.Task[Any]]":
    """Return the tasks of the event loop that the runtime has not made beside those of invocations."""
    return [task for task in asyncio.all_tasks(_event_loop) if task not in _tasks]


def new_names(tasks: "Iterable[asyncio.Task[Any]]") -> str:
    """Return the names of the coroutines of tasks, without those that it has returned before."""
    new = []
    for task in tasks:
        coroutine = task.get_coro()
        name = getattr(coroutine, "__qualname__", None) or type(coroutine).__name__
        if name not in _named:
            _named.add(name)
            new.append(name)
    return ", ".join(sorted(new))


def made_loop() -> "asyncio.AbstractEventLoop | None":
    """Return the event loop of the environment; None where there is none."""
    return None if _event_loop is None or _event_loop.is_closed() else _event_loop


def forget_loop() -> None:
    """Give up the event loop: the next coroutine gets another."""
    global _event_loop
    _event_loop = None
    asyncio.set_event_loop(None)


def get_loop() -> "asyncio.AbstractEventLoop":
    """Return the event loop of the environment, and make it where there is none."""
    global _event_loop
    if _event_loop is None or _event_loop.is_closed():
        try:
            _event_loop = asyncio.get_event_loop()
        except (RuntimeError, DeprecationWarning):
            pass
        if _event_loop is None or _event_loop.is_closed():
            set_up()
    assert _event_loop is not None
    return _event_loop


def out_of_time(exc: BaseException) -> TimeoutError:
    """Return what the caller gets for a CancelledError, with its stack: that of where the task waited."""
    return TimeoutError("cancelled: the invocation's time was nearly up").with_traceback(exc.__traceback__)


def _below(tb: "TracebackType | None") -> "TracebackType | None":
    """Return the traceback without its first two frames, ours or asyncio's: they hold the task, which holds the
    exception, and with it the event until the next collection.
    """
    tb = tb and tb.tb_next
    return tb and tb.tb_next


def _end_tasks(loop: "asyncio.AbstractEventLoop", mark: object) -> None:
    """Cancel what a coroutine has started and not waited for, and the coroutine itself, and let it end."""
    tasks = [task for task in asyncio.all_tasks(loop) if _mark(task) is mark]
    for task in tasks:
        task.cancel()
    while any(not task.done() for task in tasks):
        asyncio.gather(*tasks, return_exceptions=True).add_done_callback(lambda ended: loop.stop())
        loop.run_forever()  # which what `run` awaits may stop before that


def _mark(task: "Any") -> object:
    context = context_of(task)
    return None if context is None else context.get(_run)


def context_of(task: "Any") -> "Context | None":
    """Return the contextvars of a task."""
    if hasattr(task, "get_context"):
        context: Context = task.get_context()
        return context
    import gc  # before Python 3.12 nothing else shows it

    return next((held for held in gc.get_referents(task) if isinstance(held, Context)), None)


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
    """Return a function that later runs make() on the event loop that is running now: to its end where the loop waits
    or is the environment's, beside the loop's own tasks where it runs, on a new one where it is closed by then.
    """
    loop = asyncio.get_running_loop()

    def finish_there() -> object:
        if loop.is_closed():
            return asyncio.run(make())
        if loop is _event_loop and elsewhere() is not None:
            return run(make())
        if loop.is_running():
            return loop.call_soon_threadsafe(lambda: spawn(make()))
        return loop.run_until_complete(make())

    return finish_there


environment.event_loop = made_loop
