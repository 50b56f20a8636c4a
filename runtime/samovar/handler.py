"""A handler string becomes one callable, whatever the user wrote: one adapter each, chosen at INIT.

Knows how Lambda names handlers and what the official client says when it cannot find one. Knows neither the wire nor
the loop.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Any

VALUES = frozenset((dict, list, str, int, float, bool, type(None)))
"""Types of most results, which need no look at whether they are to be awaited, or bytes."""


class Handler:
    """`call(event, context)` gives the result, or what has to be awaited for it. raw: event and result are the JSON
    documents themselves, as bytes.
    """

    __slots__ = ("call", "raw")

    def __init__(self, call: "Callable[[Any, Any], Any]", raw: bool = False) -> None:
        self.call = call
        self.raw = raw


def load(name: str) -> Handler:
    """The handler that `_HANDLER` names: `module.function`, `package/module.function`, or `exec:./program arguments`.

    Raises Fault with the official client's error types, or whatever the module raises while it is imported.
    """
    if name.startswith("exec:"):
        from samovar import companion

        return Handler(companion.adapter(name[5:]), raw=True)
    return Handler(_find(name))


def _find(name: str) -> "Any":
    module_name, dot, attribute = name.rpartition(".")
    if not dot:
        raise fault(
            "Runtime.MalformedHandlerName", f"Bad handler '{name}': not enough values to unpack (expected 2, got 1)"
        )
    if module_name.partition(".")[0] in sys.builtin_module_names:
        raise fault("Runtime.BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module")
    dotted = module_name.replace("/", ".")
    try:
        if dotted.startswith("."):
            import importlib

            importlib.import_module(dotted)
        else:
            __import__(dotted)
    except ImportError as exc:
        raise fault("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {exc}") from exc
    except SyntaxError as exc:
        trace = [f'  File "{exc.filename}" Line {exc.lineno}\n    {exc.text}']
        raise fault("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {exc}", trace) from exc
    try:
        return getattr(sys.modules[dotted], attribute)
    except AttributeError:
        raise fault("Runtime.HandlerNotFound", f"Handler '{attribute}' missing on module '{module_name}'") from None


def fault(error_type: str, message: str, trace: "list[str] | None" = None) -> Exception:
    """A Fault; its module is imported only when there is one."""
    from samovar.fault import Fault

    return Fault(error_type, message, trace)


def is_failure(exc: BaseException) -> bool:
    """Return whether exc is a failure of one invocation: an Exception, or asyncio's CancelledError, which is not one to
    Python. All else ends the process.
    """
    if isinstance(exc, Exception):
        return True
    asyncio = sys.modules.get("asyncio.exceptions")
    return asyncio is not None and isinstance(exc, asyncio.CancelledError)


_event_loop: "Any" = None
_run: "Any" = None  # a context variable: tells the tasks of one coroutine from those which others have left running


def run_coroutine(coroutine: "Awaitable[Any]") -> "Any":
    """Run a coroutine on the environment's one event loop, so that what it keeps (connections, tasks) outlives the
    invocation: the one that the function has set for itself, or else our own.

    Where something raises out of the event loop (a signal handler), the tasks of this coroutine are cancelled and have
    ended before it is raised again, as in asyncio.run.
    """
    import asyncio

    global _event_loop, _run
    if _event_loop is None or _event_loop.is_closed():
        try:
            _event_loop = asyncio.get_event_loop()
        except (RuntimeError, DeprecationWarning):
            pass
        if _event_loop is None or _event_loop.is_closed():
            _event_loop = asyncio.new_event_loop()
            asyncio.set_event_loop(_event_loop)
    if _run is None:
        from contextvars import ContextVar

        _run = ContextVar("samovar")
    mark = object()
    _run.set(mark)
    try:
        return _event_loop.run_until_complete(coroutine)
    except BaseException as exc:
        if getattr(coroutine, "cr_frame", None) is not None:  # it has not ended
            _end_tasks(mark)
        exc.__traceback__ = _below(exc.__traceback__)
        raise


def _below(tb: "TracebackType | None") -> "TracebackType | None":
    """Return the traceback below run_coroutine and run_until_complete: the latter's frame holds the task, which holds
    the exception, and with it the event until the next collection.
    """
    tb = tb and tb.tb_next
    return tb and tb.tb_next


def _end_tasks(mark: object) -> None:
    """Cancel what a coroutine has started and not waited for, and the coroutine itself, and let it end."""
    import asyncio

    tasks = [task for task in asyncio.all_tasks(_event_loop) if _mark(task) is mark]
    for task in tasks:
        task.cancel()
    if tasks:
        _event_loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def _mark(task: "Any") -> object:
    if hasattr(task, "get_context"):
        return task.get_context().get(_run)
    import gc  # before Python 3.12 nothing else shows a task's context
    from contextvars import Context

    return next((held.get(_run) for held in gc.get_referents(task) if isinstance(held, Context)), None)
