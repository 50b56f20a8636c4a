"""The second engine: the orjson that the interpreter finds, which may be the function's own, where it can be trusted.

Imported when orjson would pay. Knows neither the first engine nor what the two do differently.
"""

import sys
from _frozen_importlib import _find_spec  # type: ignore[attr-defined]  # importlib.util is not imported in a cold start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_OLDEST = 3, 10, 2  # before 3.9.15 a deep document ends the process, with 3.10.1 some strings do
# From here on dumps writes past the end of its buffer, after `[["x" * 150] * 417, *[None] * 400]` for one, and does not
# notice that a list is in a tuple that is in the list.
_UNSAFE_DUMPS = 3, 12
_DEEP = 3, 11, 9  # before that, dumps has room for about 35 closing brackets in a row, and does not check
# orjson takes these without a check, and crashes where the function has a module of its own by such a name.
_NEEDED = ("dataclasses", "datetime", "enum", "json", "uuid")
_NEEDED_BEFORE_3_11 = ("sysconfig", "zoneinfo")  # not imported here: that takes 2 ms


def find() -> "tuple[Callable[[Any], Any], Callable[..., bytes] | None, int, bool]":
    """Return orjson's `loads`, its `dumps`, the options for that, and whether it writes deep values within its buffer;
    None for a `dumps` that cannot be trusted.

    Raises an exception that says why there is none to use.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise ImportError("this Python runs without the GIL, and importing orjson would bring it back")
    for name in _NEEDED:
        __import__(name)
    for name in _NEEDED + _NEEDED_BEFORE_3_11:
        origin = _find_spec(name, None).origin
        if not origin.startswith(sys._stdlib_dir):  # type: ignore[attr-defined]
            raise ImportError(f"{origin} hides Python's own {name}, which orjson needs")
    spec = _find_spec("orjson", None)
    if spec is None:
        raise ImportError("it is not installed")
    if spec.submodule_search_locations is None:
        raise ImportError(f"{spec.origin} is another module of that name")
    import orjson

    version = tuple(int(number) for number in orjson.__version__.split(".")[:3])
    if version < _OLDEST:
        raise ImportError(f"{orjson.__version__} in {orjson.__path__[0]} is older than 3.10.2")
    options = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
    return orjson.loads, orjson.dumps if version < _UNSAFE_DUMPS else None, options, version >= _DEEP
