"""The embedded cache: a TTL cache in the environment's memory, what keeps a function's results in one, a second tier.

Knows only where things are: the cache is store.py, what it loads loading.py, loads under way flight.py, `cached`
decorator.py, the second tier redis_tier.py; entries.py is what these share.
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

__all__ = ["LoadCycle", "RedisTier", "Stats", "TTLCache", "cached"]

_PLACES = {"LoadCycle": "flight", "RedisTier": "redis_tier", "cached": "decorator"}


def __getattr__(name: str) -> "Any":
    import sys

    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'samovar.caching' has no attribute {name!r}")
    place = f"{__name__}.{place}"
    __import__(place)
    value = globals()[name] = getattr(sys.modules[place], name)
    return value


if metrics_wanted := posix.environ.get(b"SAMOVAR_METRICS"):
    from samovar.caching import metrics

    metrics.switch_on(metrics_wanted.decode())
