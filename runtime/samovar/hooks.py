"""Work around the invocations: after the response, at the end of INIT, at shutdown.

Imported only by functions that use it: what is to be done is put into the environment's lists, which the loop walks.
Knows the environment and the log, and nothing of the loop.

The platform's rule behind `defer`: the caller has its answer as soon as the response is posted; the environment runs
on, at full CPU, until the runtime asks for the next event, and is frozen then.
"""

import posix
from _collections import deque  # type: ignore[import-not-found]

from samovar import logs
from samovar.environment import environment
from samovar.errors import is_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, overload

    F = TypeVar("F", bound=Callable[[], Any])

_deferred: "deque[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]" = deque()
_begun: "list[Callable[..., Any]]" = []  # deferred calls that have not ended
_warm: "list[tuple[Callable[[], Any], bool]]" = []
_ending = 0  # the process that is running its shutdown hooks: a child that they fork is not


def remaining() -> float:
    """Seconds left of the invocation in flight, 0 once its time is up; infinite where there is none (INIT, outside
    Lambda) and where the Runtime API gave no deadline (none at all, an empty one, or 0).
    """
    invocation = environment.invocation
    if invocation is None or invocation.context is None or invocation.context._epoch_deadline_time_in_ms <= 0:
        return float("inf")
    return invocation.context.get_remaining_time_in_millis() / 1000


def defer(f: "Callable[..., Any]", /, *args: "Any", **kwargs: "Any") -> None:
    """Runs f(*args, **kwargs), a function or coroutine function, once the caller has its answer and before the next
    event, in the order of the calls.

    What is deferred during INIT runs after the first response. An exception is logged, with the id of the request that
    has been answered, and stops nothing; `sys.exit` ends the environment, as it does in a handler. When the
    invocation's time is up, what has not begun waits for the next response. Any thread may call this. Outside the
    runtime f runs at once, in the caller's thread, and a coroutine function in a task where there is an event loop.
    """
    if not callable(f):
        raise TypeError(f"defer: {f!r} is not callable: give the function and, after it, its arguments")
    if environment.running:
        _deferred.append((f, args, kwargs))
        _watch_sigterm()
    else:
        _run(f, args, kwargs)


def run_deferred() -> None:
    """Runs what has been deferred, and what that defers in its turn. Called by the loop after each response."""
    while _deferred and remaining() > 0:
        f, args, kwargs = _deferred.popleft()
        _begun.append(f)
        _run(f, args, kwargs)
        _begun.pop()
    if _deferred:
        logs.write("WARNING", f"The time is up: deferred calls that wait for the next response: {_waiting()}")


def _run(f: "Callable[..., Any]", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> None:
    try:
        _finish(f(*args, **kwargs))
    except BaseException as exc:
        _log_failure(f"Deferred {_name(f)} failed", exc)


def dropped() -> int:
    """Says in the log how many deferred calls the end of the environment drops, and returns that number."""
    count = len(_deferred)
    if count:
        logs.write("WARNING", f"The environment ends: deferred calls dropped: {_waiting()}")
        _deferred.clear()
    if _begun:
        logs.write("WARNING", f"The environment ends: deferred {_name(_begun[-1])} is not finished")
        _begun.clear()
    return count


def forget() -> None:
    """Empties all queues, in a child process that the function forked: what is in them is for the parent to do."""
    for queue in (_deferred, _begun, environment.shutdown_hooks, _warm):
        queue.clear()


def on_shutdown(f: "F") -> "F":
    """Calls f() when Lambda ends the environment (SIGTERM), last registered first; usable as a decorator.

    Only a runtime that is registered as an extension gets SIGTERM, about 500 ms before SIGKILL: having one hook at
    the end of INIT makes Samovar register ("Lambda Extensions API", shutdown phase). Hooks registered later run only
    where the platform sends SIGTERM anyway. They also run where the environment ends by itself, as by `sys.exit`. A
    SIGTERM handler of the function's own stays in its place: the hooks run when it calls `sys.exit`, and else do not.
    Inside a hook `sys.exit` ends only this hook.
    """
    environment.shutdown_hooks.append(f)
    _watch_sigterm()
    return f


def not_on_shutdown(f: "Callable[[], object]") -> None:
    """Take a shutdown hook back, if it has not been called yet."""
    if f in environment.shutdown_hooks:
        environment.shutdown_hooks.remove(f)


def shut_down() -> None:
    """Runs the shutdown hooks once, the last registered first; exceptions are logged."""
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
                logs.write_exception(f"Shutdown hook {_name(f)} failed", exc)
        dropped()
    finally:
        _ending = 0


if TYPE_CHECKING:

    @overload
    def warm(f: F, /) -> F: ...
    @overload
    def warm(*, required: bool = False) -> Callable[[F], F]: ...


def warm(f: "Any" = None, /, *, required: bool = False) -> "Any":
    """Calls f() at the end of INIT, so that the first caller finds its value there; usable as a decorator, above
    `cached`.

    A failure is logged and left to the first caller; with `required=True` it fails INIT.
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
    """Calls the functions marked `warm`, in order. Raises what a required one raised."""
    for f, required in _warm:
        try:
            _finish(f())
        except BaseException as exc:
            if required:
                raise
            _log_failure(f"Warming {_name(f)} failed", exc)
    _warm.clear()


def _finish(result: "Any") -> None:
    """Run what a coroutine function has only begun when it is called."""
    if hasattr(type(result), "__await__"):
        from samovar import aio

        aio.finish(result)


def _log_failure(message: str, exc: BaseException) -> None:
    """Log a failure; raise what is to end the process."""
    if not is_failure(exc):
        raise exc
    logs.write_exception(message, exc)


def _waiting() -> str:
    """How many deferred calls have not begun, and the first of them."""
    first = [_deferred[at][0] for at in range(min(len(_deferred), 5))]  # other threads may append meanwhile
    return f"{len(_deferred)} ({', '.join(map(_name, first))})"


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
    """Ends the process by the signal, whatever a hook raises: an exception would be the interrupted code's to catch."""
    import _signal

    if _ending == posix.getpid():
        return  # once they are through, the process ends
    try:
        shut_down()
    finally:
        _signal.signal(signum, _signal.SIG_DFL)
        posix.kill(posix.getpid(), signum)


environment.at_init_end.append(run_warm)
environment.after_response.append(run_deferred)
environment.at_fork.append(forget)
environment.at_shutdown.append(shut_down)
