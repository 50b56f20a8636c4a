"""A cache's hit on a Python without the GIL, where two threads run it at the same time.

store.py puts this into the cache there. With the GIL nothing comes between the steps of its own `get`, which is faster;
here a hit that another thread's reading of the clocks meets would be lost, or 256 counted for one. Knows entries.
"""

from samovar.caching.entries import MISSING, TRUSTED, lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Any

    from samovar.caching.store import TTLCache


def put_into(cache: "type[TTLCache]") -> None:
    """Give the cache the methods below."""
    read_both = cache._read_both

    def _read_both(self: "TTLCache") -> float:
        found = self._found
        counted = len(found)
        del found[:counted]  # other threads may append meanwhile
        self._trusted += counted
        return read_both(self)

    for method in (get, _read_both, _hits):
        setattr(cache, method.__name__, method)


def get(self: "TTLCache", key: "Hashable", default: "Any" = None) -> "Any":
    """Return the value under `key`, or `default` if there is none or its ttl has passed."""
    entry = self._entries.get(key)
    if entry is not None:
        wall = self._wall()
        low, high, shift = self._window
        found = self._found
        if low < wall < high and len(found) < TRUSTED:
            now = wall + shift
        else:
            with lock:
                now = self._read_both()
        if now < entry.expires:
            if not entry.seen:  # a store would take the entry from the other processors' caches
                entry.seen = True
            found.append(None)  # counts it in one step
            return entry.value
    if default is not MISSING:
        self._missed()
    return default


def _hits(self: "TTLCache") -> int:
    return self._trusted + len(self._found)
