"""The embedded cache. `samovar.cache` is this package and, as an object, the environment's default TTLCache, made on
first use.

    from samovar import cache
    cache.set("threshold", 5, ttl=300); cache.get("threshold"); "threshold" in cache; len(cache)

Knows only where things are: the cache is store.py, loads under way flight.py, `cached` decorator.py, the second tier
shared.py.
"""

import posix
import sys

from samovar.caching.store import Stats, TTLCache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator
    from types import ModuleType
    from typing import Any

    from samovar.caching.flight import LoadCycle as LoadCycle

    _default = TTLCache()
    clear = _default.clear
    delete = _default.delete
    get = _default.get
    get_or_load = _default.get_or_load
    get_or_load_async = _default.get_or_load_async
    set = _default.set
    stats = _default.stats
    touch = _default.touch
    ttl = _default.ttl
else:
    ModuleType = type(sys)

__all__ = ["LoadCycle", "Stats", "TTLCache"]

_METHODS = ("clear", "delete", "get", "get_or_load", "get_or_load_async", "set", "stats", "touch", "ttl")


def default() -> TTLCache:
    """The environment's default cache."""
    try:
        return _default
    except NameError:
        made = globals()["_default"] = TTLCache(name="samovar.cache")
        return made


def __getattr__(name: str) -> "Any":
    if name == "LoadCycle":
        from samovar.caching.flight import LoadCycle

        return LoadCycle
    if name not in _METHODS:
        raise AttributeError(f"module 'samovar.cache' has no attribute {name!r}")
    method = globals()[name] = getattr(default(), name)
    return method


class _Package(ModuleType):
    """This package, with what Python looks up on a type only."""

    def __contains__(self, key: "Hashable") -> bool:
        return key in default()

    def __iter__(self) -> "Iterator[Hashable]":
        return iter(default())

    def __len__(self) -> int:
        return len(default())

    def __bool__(self) -> bool:
        return True


sys.modules[__name__].__class__ = _Package

if metrics_wanted := posix.environ.get(b"SAMOVAR_METRICS"):
    from samovar.caching import metrics

    metrics.switch_on(metrics_wanted.decode())
