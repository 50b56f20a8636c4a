"""A handler string becomes one callable, whatever the user wrote: one adapter each, chosen at INIT.

Knows how Lambda names handlers and what the official client says when it cannot find one. Knows neither the wire nor
the loop.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

_CO_COROUTINE = 0x80  # inspect.CO_COROUTINE


class Handler:
    """`call(event, context)` gives the result. raw: event and result are the JSON documents themselves, as bytes."""

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
    function = _find(name)
    if _gives_coroutine(function):
        return Handler(lambda event, context: run_coroutine(function(event, context)))
    return Handler(function)


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


def _gives_coroutine(function: "Any") -> bool:
    """Whether calling it gives a coroutine, as the code says: behind functools.partial, or an object's `__call__`."""
    functools = sys.modules.get("functools")
    while functools is not None and isinstance(function, functools.partial):
        function = function.func
    try:
        code = function.__code__ if hasattr(function, "__code__") else type(function).__call__.__code__
        return bool(code.co_flags & _CO_COROUTINE)
    except Exception:  # an object may have any attribute, and raise anything where it has none
        return False


_event_loop: "Any" = None


def run_coroutine(coroutine: "Coroutine[Any, Any, Any]") -> "Any":
    """Runs a coroutine on the environment's one event loop, so that what it keeps (connections, tasks) outlives the
    invocation: the one that the function has set for itself, or else our own.

    Cancelled, it fails with an Exception of that name: CancelledError itself would end the environment.
    """
    import asyncio

    global _event_loop
    if _event_loop is None or _event_loop.is_closed():
        try:
            _event_loop = asyncio.get_event_loop()
        except (RuntimeError, DeprecationWarning):
            pass
        if _event_loop is None or _event_loop.is_closed():
            _event_loop = asyncio.new_event_loop()
            asyncio.set_event_loop(_event_loop)
    try:
        return _event_loop.run_until_complete(coroutine)
    except asyncio.CancelledError as exc:
        failure = type("CancelledError", (Exception,), {})
        raise failure(*exc.args).with_traceback(exc.__traceback__) from None
