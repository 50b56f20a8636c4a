"""`module.function`: a function of the user's, plain, a coroutine function or a generator function; event and result
are Python values.

Knows how Lambda names handlers and what the official client says when it cannot find one. Knows neither the Runtime API
nor the loop.
"""

import sys

from samovar import codec
from samovar.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from samovar.handler import Handle
    from samovar.invocation import Invocation
    from samovar.response import Response

_JSON = "application/json"
_ASYNC = 0x80 | 0x200  # of a code object: a coroutine function, an async generator function
_VALUES = frozenset((dict, list, str, int, float, bool, type(None)))  # most results: nothing to be awaited, no bytes


def load(name: str) -> "Handle":
    """Return the function that `module.function` or `package/module.function` names, as a handler.

    Raises Fault with the official client's error types, or whatever the module raises while it is imported.
    """
    function = find(name)
    if type(function) is type(load) and function.__code__.co_flags & _ASYNC:
        from samovar import aio

        aio.get_loop()  # in INIT, which has more processor time than an event
    return adapt(function)


def adapt(function: "Callable[[Any, Any], Any]") -> "Handle":
    """Return a function of event and context as a handler. The handler's attribute `function` is that function."""
    loads, dumps = codec.loads, codec.dumps
    aio: Any = None
    stop_time: Any = None

    def handle(invocation: "Invocation") -> "bytes | Response":
        content_type = invocation.content_type
        if content_type is None or content_type == _JSON:
            try:
                event = loads(invocation.take_event())
            except Exception as exc:
                raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {exc}") from None
        else:
            event = bytes(invocation.take_event())
        result = function(event, invocation.context)
        del event
        kind = type(result)
        if kind not in _VALUES:
            context = None
            if hasattr(kind, "__await__"):
                nonlocal aio, stop_time
                if stop_time is None:  # the last to be there: another thread may be importing them
                    from samovar import aio
                    from samovar.deadline import stop_time
                context = aio.fresh()
                result = aio.run(result, context, stop_time(invocation))
                aio.warn_of_tasks()
                kind = type(result)
            if isinstance(result, bytes):
                from samovar.response import Response

                return Response(result, "application/unknown")
            if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
                from samovar import streaming

                return streaming.response(result, invocation, context)
        try:
            return dumps(result)
        except Exception as exc:
            raise Fault("Runtime.MarshalError", f"Unable to marshal response: {exc}") from None

    handle.function = function  # type: ignore[attr-defined]
    return handle


def find(name: str) -> "Any":
    """Return the attribute that `module.function` or `package/module.function` names. Raises as `load` does."""
    module_name, dot, attribute = name.rpartition(".")
    if not dot:
        raise Fault(
            "Runtime.MalformedHandlerName", f"Bad handler '{name}': not enough values to unpack (expected 2, got 1)"
        )
    if module_name.partition(".")[0] in sys.builtin_module_names:
        raise Fault("Runtime.BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module")
    dotted = module_name.replace("/", ".")
    try:
        if dotted.startswith("."):
            import importlib

            importlib.import_module(dotted)
        else:
            __import__(dotted)
    except ImportError as exc:
        raise Fault("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {exc}") from exc
    except SyntaxError as exc:
        trace = [f'  File "{exc.filename}" Line {exc.lineno}\n    {exc.text}']
        raise Fault("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {exc}", trace) from exc
    try:
        return getattr(sys.modules[dotted], attribute)
    except AttributeError:
        raise Fault("Runtime.HandlerNotFound", f"Handler '{attribute}' missing on module '{module_name}'") from None
