"""Set up `logging` at the moment of its first import, so that a function that does not log need not import it.

Knows the import system, and that `logging_records` does the set-up.
"""

import sys
from _frozen_importlib import _find_spec  # type: ignore[attr-defined]  # importlib.util is not imported in a cold start
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


class LoggingHook:
    """A finder that gets the root logger set up as soon as `logging` is imported, and then removes itself.

    It finds `logging` by asking the import system, so that all other finders and their rules apply.
    """

    def __init__(self) -> None:
        self._asking: set[int] = set()  # threads whose search comes back here

    def find_spec(self, name: str, path: "Any" = None, target: "ModuleType | None" = None) -> "ModuleSpec | None":
        if name != "logging" or (thread := get_ident()) in self._asking:
            return None
        self._asking.add(thread)
        try:
            spec: ModuleSpec | None = _find_spec(name, path, target)
        finally:
            self._asking.discard(thread)
        if spec is not None and spec.loader is not None:
            spec.loader = _AfterExec(spec.loader, self)  # type: ignore[assignment]
        return spec


class _AfterExec:
    """The loader of `logging`, followed by the set-up."""

    def __init__(self, loader: "Any", hook: LoggingHook) -> None:
        self._loader = loader
        self._hook = hook

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: "ModuleType") -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        if sys.modules.get("logging") is module:  # not a second copy that the function makes
            if self._hook in sys.meta_path:
                sys.meta_path.remove(self._hook)
            set_up_logging()


def set_up_logging() -> None:
    """Put the runtime's handler on the root logger, if `logging` is Python's own and no module of the function's."""
    if not hasattr(sys.modules["logging"], "makeLogRecord"):
        return
    from samovar import logging_records

    logging_records.set_up()


def install() -> None:
    """Set up `logging` now if it is imported already, or else at its first import."""
    if "logging" in sys.modules:
        set_up_logging()
    else:
        sys.meta_path.insert(0, LoggingHook())
