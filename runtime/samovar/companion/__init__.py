"""Companion processes: a program in any language, started once, that reads a line of JSON and writes a line of JSON.

    _HANDLER='exec:./main --fast'                            the program is the function (samovar/handler/program.py)
    companion = samovar.Companion(["./main"])                a Python handler asks it (`Companion.call`)
    samovar.companion.serve(handler)                         the program is Python (`serve`)

docs/companions.md describes the protocol, which is lambda_proc's. Each name is imported when first used, so that a
program that serves does not load the supervisor.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from samovar.companion.error import CompanionError as CompanionError
    from samovar.companion.serving import serve as serve
    from samovar.companion.supervisor import Companion as Companion

_MODULES = {"Companion": "supervisor", "CompanionError": "error", "serve": "serving"}
__all__ = ["Companion", "CompanionError", "serve"]


if not TYPE_CHECKING:  # a type checker would take any name for one of the module

    def __getattr__(name: str) -> object:
        import sys

        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module 'samovar.companion' has no attribute {name!r}")
        module = f"{__name__}.{module}"
        __import__(module)
        value = globals()[name] = getattr(sys.modules[module], name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
