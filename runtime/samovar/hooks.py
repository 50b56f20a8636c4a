"""Work outside the handler: after the response, at the end of INIT, around a snapshot, at shutdown.

Imported only by functions that use it: it appends its work to the environment's lists, which the loop walks. Knows the
environment and the log, and nothing of the loop.

`defer` rests on a rule of the platform: the caller gets the response as soon as it is posted, but the environment runs
on with full CPU until the runtime asks for the next event, and is frozen only then.
"""

import posix
from _collections import deque  # type: ignore[import-not-found]
from _thread import RLock, get_ident
from time import time

from samovar import logs
from samovar.environment import environment
from samovar.errors import is_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar, overload

    from samovar.invocation import Invocation

    P = ParamSpec("P")
    F = TypeVar("F", bound=Callable[[], Any])
    Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

_deferred: "deque[Call]" = deque()  # for the next response
# Where the environment is shared: for the response of one invocation. A signal handler may come back to the lock.
_of: "dict[Invocation, deque[Call]]" = {}
_lock = RLock()
_begun: "dict[int, Callable[..., Any]]" = {}  # deferred calls that are running, by thread
_warm: "list[tuple[Callable[[], Any], bool]]" = []
_ending = 0  # id of the process that is running its shutdown hooks, which a child that they fork does not


def remaining() -> float:
    """Return the time that the invocation in flight has left.

    Returns:
        Seconds, 0 once its time is up; less than 0 on Lambda Managed Instances, where the code runs on after that.
        Infinite where there is no invocation (INIT, outside Lambda), and where the Runtime API gave no deadline (no
        header, an empty one, or 0).
    """
    invocation = environment.invocation
    if invocation is None or invocation.context is None or invocation.context._epoch_deadline_time_in_ms <= 0:
        return float("inf")
    if not environment.times_out:
        return (invocation.context._epoch_deadline_time_in_ms - int(time() * 1000)) / 1000
    return invocation.context.get_remaining_time_in_millis() / 1000


def defer(f: "Callable[P, Any]", /, *args: "P.args", **kwargs: "P.kwargs") -> None:
    """Run a call after the response is posted and before the next event. Calls run in the order of deferring.

    Calls deferred during INIT run after the first response. An exception is logged with the id of the request that got
    the response, and the next call follows; `sys.exit` ends the environment, as in a handler. When the invocation's
    time is up, the calls that have not begun are postponed to the next response. Any thread may call `defer`. Outside
    the runtime f runs at once, in the caller's thread; a coroutine function becomes a task if an event loop is running.

    On Lambda Managed Instances a call runs after the response of its own invocation, even when the time is up. One
    that is deferred in INIT, or by a thread whose invocation has ended, runs after the next response of any.

    Args:
        f: A function or a coroutine function.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Raises:
        TypeError: f is not callable.
    """
    if not callable(f):
        raise TypeError(f"defer: {f!r} is not callable: give the function and, after it, its arguments")
    if environment.running:
        if environment.shared:
            invocation = environment.invocation
            with _lock:
                queue = _deferred if invocation is None else _of.setdefault(invocation, deque())
                queue.append((f, args, kwargs))
        else:
            _deferred.append((f, args, kwargs))
        _watch_sigterm()
    else:
        _run(f, args, kwargs)


def run_deferred() -> None:
    """Run all deferred calls, including those that they defer. The loop calls this after each response."""
    while (call := _take()) is not None:
        f, args, kwargs = call
        _begun[get_ident()] = f
        _run(f, args, kwargs)
        _begun.pop(get_ident(), None)
    if _deferred and environment.times_out:
        logs.record("WARNING", f"Out of time: deferred calls postponed to the next response: {_names(_deferred)}")


def _take() -> "Call | None":
    """Return the next call to run now."""
    if not environment.shared:
        return _popped(_deferred) if _deferred and (not environment.times_out or remaining() > 0) else None
    invocation = environment.invocation
    with _lock:
        for ended in [each for each in _of if each not in environment.in_flight]:
            _deferred.extend(_of.pop(ended))
        if invocation in _of:
            if call := _popped(_of[invocation]):
                return call
            del _of[invocation]
        return _popped(_deferred)


def _popped(queue: "deque[Call]") -> "Call | None":
    return queue.popleft() if queue else None


def _run(f: "Callable[..., Any]", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> None:
    try:
        _finish(f(*args, **kwargs))
    except BaseException as exc:
        _log_failure(f"Deferred {_name(f)} failed", exc)


def dropped() -> int:
    """Log which deferred calls the end of the environment drops, and return how many."""
    with _lock:
        calls = [call for queue in (_deferred, *_of.values()) for call in queue.copy()]
        _deferred.clear()
        _of.clear()
    if calls:
        logs.record("WARNING", f"The environment ends: deferred calls dropped: {_names(calls)}")
    if _begun:
        begun = [_name(f) for f in list(_begun.values())]
        logs.record(
            "WARNING",
            f"The environment ends: deferred {', '.join(begun)} {'is' if len(begun) == 1 else 'are'} not finished",
        )
        _begun.clear()
    return len(calls)


def forget() -> None:
    """Empty all queues in a child process that the function forked: the work in them is its parent's."""
    global _lock
    _lock = RLock()  # another thread of the parent may hold it
    for queue in (_deferred, _of, _begun, environment.shutdown_hooks, _warm):
        queue.clear()


def on_shutdown(f: "F") -> "F":
    """Call f() when Lambda ends the environment (SIGTERM), the last registered first. Can be used as a decorator.

    Lambda sends SIGTERM, about 500 ms before SIGKILL, only to a runtime that is registered as an extension ("Lambda
    Extensions API", shutdown phase). Samovar registers if there is a hook at the end of INIT; hooks that come later run
    only if SIGTERM is sent for another reason. Hooks also run when the environment ends by itself, as by `sys.exit`.
    A SIGTERM handler of the function's own is kept: the hooks run only if it calls `sys.exit`. Inside a hook `sys.exit`
    ends only that hook.

    Args:
        f: A function without arguments.

    Returns:
        f itself.
    """
    environment.shutdown_hooks.append(f)
    _watch_sigterm()
    return f


def before_snapshot(f: "F") -> "F":
    """Call f() before Lambda takes a snapshot of the environment, the last registered first. Can be used as a
    decorator.

    Only with SnapStart. An exception fails INIT, and so the version that is being published.

    Args:
        f: A function without arguments, or a coroutine function.

    Returns:
        f itself.

    Raises:
        TypeError: f is not callable.
    """
    environment.snapshot_hooks.append(_callable(f, "before_snapshot"))
    return f


def after_restore(f: "F") -> "F":
    """Call f() in each environment that Lambda restores from a snapshot, before its first event, the first registered
    first. Can be used as a decorator.

    Only with SnapStart. Lambda gives the restore and these hooks 10 seconds, and the first caller waits for them. An
    exception ends the environment.

    Args:
        f: A function without arguments, or a coroutine function.

    Returns:
        f itself.

    Raises:
        TypeError: f is not callable.
    """
    environment.restore_hooks.append(_callable(f, "after_restore"))
    return f


def _callable(f: "F", name: str) -> "F":
    if not callable(f):
        raise TypeError(f"{name}: {f!r} is not callable: give a function without arguments")
    return f


def not_on_shutdown(f: "Callable[[], object]") -> None:
    """Remove a shutdown hook that has not been called yet."""
    if f in environment.shutdown_hooks:
        environment.shutdown_hooks.remove(f)


def shut_down() -> None:
    """Run the shutdown hooks once, the last registered first; exceptions are logged."""
    global _ending
    _ending = posix.getpid()
    try:
        while environment.shutdown_hooks:
            f = environment.shutdown_hooks.pop()
            try:
                f()
            except SystemExit:
                pass  # the environment ends without it
            except BaseException as exc:
                logs.exception(f"Shutdown hook {_name(f)} failed", exc)
        dropped()
    finally:
        _ending = 0


if TYPE_CHECKING:

    @overload
    def warm(f: F, /) -> F: ...
    @overload
    def warm(*, required: bool = False) -> Callable[[F], F]: ...


def warm(f: "Any" = None, /, *, required: bool = False) -> "Any":
    """Call f() at the end of INIT, so that its value is there for the first invocation. A decorator, used above
    `cached`.

    Args:
        f: A function without arguments, or a coroutine function.
        required: Whether a failure fails INIT. Otherwise it is logged, and the first invocation calls f again.

    Returns:
        f itself; a decorator where f is not given.

    Raises:
        TypeError: f is not callable.
    """
    if f is None:

        def mark(g: "F") -> "F":
            _warm.append((g, required))
            return g

        return mark
    if not callable(f):
        raise TypeError(f"warm: {f!r} is not callable: use @warm or @warm(required=True) above the function")
    _warm.append((f, required))
    return f


def run_warm() -> None:
    """Call the functions marked `warm`, in order. Raises the exception of a required one."""
    for f, required in _warm:
        try:
            _finish(f())
        except BaseException as exc:
            if required:
                raise
            _log_failure(f"Warming {_name(f)} failed", exc)
    _warm.clear()


def _finish(result: "Any") -> None:
    """Run a coroutine to its end, where the result of a call is one."""
    if hasattr(type(result), "__await__"):
        from samovar import aio

        aio.finish(result)


def _log_failure(message: str, exc: BaseException) -> None:
    """Log a failure; raise an exception that ends the process."""
    if not is_failure(exc):
        raise exc
    logs.exception(message, exc)


def _names(calls: "deque[Call] | list[Call]") -> str:
    """Return the number of deferred calls, and the names of the first."""
    first = [calls[at][0] for at in range(min(len(calls), 5))]  # other threads may append meanwhile
    return f"{len(calls)} ({', '.join(map(_name, first))})"


def _name(f: object) -> str:
    return getattr(f, "__qualname__", None) or type(f).__name__


def _watch_sigterm() -> None:
    import _signal  # type: ignore[import-not-found]

    try:
        if _signal.getsignal(_signal.SIGTERM) == _signal.SIG_DFL:
            _signal.signal(_signal.SIGTERM, _on_sigterm)
    except ValueError:
        pass  # not in the main thread: the next call from there sets it


def _on_sigterm(signum: int, frame: object) -> None:
    """End the process by the signal, whatever a hook raises: the interrupted code could catch an exception."""
    import _signal

    if _ending == posix.getpid():
        return  # the process ends after the hooks anyway
    try:
        shut_down()
    finally:
        _signal.signal(signum, _signal.SIG_DFL)
        posix.kill(posix.getpid(), signum)


environment.sigterm = _on_sigterm
environment.at_init_end.append(run_warm)
environment.after_response.append(run_deferred)
environment.at_fork.append(forget)
environment.at_shutdown.append(shut_down)
