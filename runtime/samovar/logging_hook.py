"""Sets up `logging` the moment it is first imported, so that a function that does not log need not import it.

Knows the import system, and who sets up.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


class LoggingHook:
    """A finder that sets up the root logger as soon as `logging` has been imported, and then is gone."""

    def find_spec(self, name: str, path: "Any" = None, target: "ModuleType | None" = None) -> "ModuleSpec | None":
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _AfterExec(spec.loader)  # type: ignore[assignment]
                return spec
        return None


class _AfterExec:
    """The loader of `logging`, and after it the set-up."""

    def __init__(self, loader: "Any") -> None:
        self._loader = loader

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: "ModuleType") -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        set_up_logging()


def set_up_logging() -> None:
    """Put the runtime's handler on the root logger. Imports `logging`."""
    from samovar import logging_records

    logging_records.set_up()


def install() -> None:
    """Set up `logging` now where it is imported already, else the moment it is."""
    if "logging" in sys.modules:
        set_up_logging()
    else:
        sys.meta_path.insert(0, LoggingHook())
