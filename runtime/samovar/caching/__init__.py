"""The embedded cache: a TTL cache in the environment's memory, what keeps a function's results in one, a second tier.

Knows only where things are: the cache is store.py, what it loads loading.py, loads under way flight.py, `cached`
decorator.py, its type typed.py, the second tier redis_tier.py; entries.py is what these share.
"""

import posix

from samovar.caching.entries import Stats
from samovar.caching.store import TTLCache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from samovar.caching.decorator import cached as cached
    from samovar.caching.flight import LoadCycle as LoadCycle
    from samovar.caching.redis_tier import RedisTier as RedisTier
    from samovar.caching.typed import Cached as Cached

__all__ = ["Cached", "LoadCycle", "RedisTier", "Stats", "TTLCache", "cached"]

_PLACES = {"Cached": "typed", "LoadCycle": "flight", "RedisTier": "redis_tier", "cached": "decorator"}


if not TYPE_CHECKING:  # a type checker would take any name for one of the module

    def __getattr__(name: str) -> "Any":
        import sys

        place = _PLACES.get(name)
        if place is None:
            raise AttributeError(f"module 'samovar.caching' has no attribute {name!r}")
        place = f"{__name__}.{place}"
        __import__(place)
        value = globals()[name] = getattr(sys.modules[place], name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


if metrics_wanted := posix.environ.get(b"SAMOVAR_METRICS"):
    from samovar.caching import metrics

    metrics.switch_on(metrics_wanted.decode())
