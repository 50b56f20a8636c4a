"""Samovar: a Lambda runtime that keeps a function's in-memory state warm between invocations. The public names, each
imported when first used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from samovar.caching import TTLCache
    from samovar.caching.decorator import cached as cached
    from samovar.caching.typed import Cached as Cached
    from samovar.companion import Companion as Companion
    from samovar.companion import CompanionError as CompanionError
    from samovar.environment import current as current
    from samovar.hooks import after_restore as after_restore
    from samovar.hooks import before_snapshot as before_snapshot
    from samovar.hooks import defer as defer
    from samovar.hooks import on_shutdown as on_shutdown
    from samovar.hooks import remaining as remaining
    from samovar.hooks import warm as warm
    from samovar.streaming import Head as Head
    from samovar.streaming import stream as stream

    cache: TTLCache

__version__ = "0.1.0"

_MODULES = {
    "Cached": "samovar.caching.typed",
    "after_restore": "samovar.hooks",
    "before_snapshot": "samovar.hooks",
    "cached": "samovar.caching.decorator",
    "Companion": "samovar.companion.supervisor",
    "CompanionError": "samovar.companion.error",
    "Head": "samovar.streaming",
    "current": "samovar.environment",
    "defer": "samovar.hooks",
    "on_shutdown": "samovar.hooks",
    "remaining": "samovar.hooks",
    "stream": "samovar.streaming",
    "warm": "samovar.hooks",
}
__all__ = [
    "Cached",
    "Companion",
    "CompanionError",
    "Head",
    "after_restore",
    "before_snapshot",
    "cache",
    "cached",
    "current",
    "defer",
    "on_shutdown",
    "remaining",
    "stream",
    "warm",
]


if not TYPE_CHECKING:  # a type checker would take any name for one of the module

    def __getattr__(name: str) -> object:
        import sys

        if name == "cache":
            __import__("samovar.caching")
            return globals().setdefault(name, sys.modules["samovar.caching"].TTLCache(name="samovar.cache"))
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module 'samovar' has no attribute {name!r}")
        __import__(module)
        value = globals()[name] = getattr(sys.modules[module], name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
