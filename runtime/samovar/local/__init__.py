"""Tools for a developer's machine: never in a layer or an image, and imported by nothing outside this folder.

`from samovar.local import RIE` is a Lambda environment under AWS's emulator, for tests without pytest; the other names
are what it gives and raises. Each is imported when first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samovar.local.rie import RIE, FunctionError, Init, Invocation, Log, Report, RIEError
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'samovar.local' has no attribute {name!r}")
        from samovar.local import rie

        return globals().setdefault(name, getattr(rie, name))


__all__ = ["RIE", "FunctionError", "Init", "Invocation", "Log", "RIEError", "Report"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
