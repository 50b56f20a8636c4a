"""What `_HANDLER` names becomes one callable: an Invocation in, a response out. A file a kind, chosen by the prefix.

Knows the kinds' names; what each does is in its file. None knows the Runtime API or the loop.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.invocation import Invocation
    from samovar.response import Response

    # bytes: a JSON document. Raises an Exception for a failed invocation.
    Handle = Callable[[Invocation], bytes | Response]


def load(name: str) -> "Handle":
    """Return the handler that `name` names: `module.function`, or `exec:./program arguments`.

    Raises Fault with the official client's error types, or whatever the function's module raises.
    """
    if name.startswith("exec:"):
        from samovar.handler import program

        return program.load(name[5:])
    from samovar.handler import function

    return function.load(name)
