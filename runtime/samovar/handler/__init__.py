"""What `_HANDLER` names becomes one callable: an Invocation in, a response out. A file a kind, chosen by the prefix.

Knows the kinds' names; what each does is in its file. None knows the Runtime API or the loop.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.invocation import Invocation
    from samovar.response import Response

    # bytes: a JSON document; None: it has posted by itself. Raises an exception for a failed invocation.
    Handle = Callable[[Invocation], bytes | Response | None]

KINDS = {
    "asgi": "asgi",
    "exec": "program",
    "wsgi": "wsgi",
}  # prefix of the handler string -> the module here whose load() takes the rest


def load(name: str) -> "Handle":
    """Return the handler that `name` names: `module.function`, `exec:./program arguments`, `asgi:module:application` or
    `wsgi:module:application`.

    Raises Fault with the official client's error types, or whatever the function's module raises.
    """
    prefix, colon, rest = name.partition(":")
    if not colon or prefix not in KINDS:
        from samovar.handler import function

        return function.load(name)
    module = f"samovar.handler.{KINDS[prefix]}"
    __import__(module)
    handle: Handle = sys.modules[module].load(rest)
    return handle
