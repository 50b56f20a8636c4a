"""The name `awslambdaric`, for functions and agents that import it: this module is a finder, asked before all others.

The runtime's own stand-ins come before the official modules that it replaces, so that annotations, `isinstance` and
patches meet the classes that are used here. Every other official module is the real one, where there is one.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


def find_spec(name: str, path: "Any" = None, target: "ModuleType | None" = None) -> "ModuleSpec | None":
    """Return where `awslambdaric` and its modules come from; only then are the stand-ins imported."""
    if not name.startswith("awslambdaric"):
        return None
    from samovar import attach

    return attach.find_spec(name, path, target)


def install() -> None:
    """Have the name found from now on."""
    sys.meta_path.insert(0, sys.modules[__name__])  # a class for it would cost every cold start 10 µs
