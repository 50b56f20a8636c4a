"""Unit tests that call a handler in their own process share its globals: this gives each a fresh start.

Used by the fixture `samovar_fresh`. Knows where caches, companions and deferred calls are.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

from samovar import hooks
from samovar.caching.entries import Stats
from samovar.caching.store import Clock, alive

_GRACE = 0.3  # seconds from SIGTERM to SIGKILL, as at a companion's `close`


def start_afresh() -> None:
    """Empty every cache and its counters, end the process of every companion, and drop the deferred calls.

    This covers `samovar.cache`, every TTLCache and every function with `cached`. A second tier is left as it is. A
    companion starts a new process when it is asked again.
    """
    hooks._deferred.clear()
    for cache in [cache for each in list(alive) if (cache := each()) is not None]:
        cache.clear()
        cache._counts = Stats()
        cache.reported = (0.0,) * len(cache.reported)
        Clock.__init__(cache, (cache._wall, cache._monotonic))
    _end_companions()


def _end_companions() -> None:
    if "samovar.companion.supervisor" not in sys.modules:
        return  # looking through 100,000 objects takes 10 ms
    from samovar.companion.supervisor import Companion

    # By type(): isinstance asks a proxy for its class, which may load what it stands for.
    made = [each for each in gc.get_objects() if issubclass(type(each), Companion)]
    workers = [worker for companion in made if companion._owner == os.getpid() for worker in companion._workers]
    for worker in workers:
        if worker._process is not None:
            worker._process.signal(signal.SIGTERM)
    for worker in workers:
        worker.end(_GRACE)
        worker._failures, worker._not_before = 0, 0.0
