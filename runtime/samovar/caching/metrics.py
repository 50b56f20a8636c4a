"""SAMOVAR_METRICS=emf: a line on stdout in CloudWatch's embedded metric format, after an invocation that read a cache.

A line has what the environment's caches did since the line before. With several invocations at once that may be another
one's hit, but each is in one line: the sums are right, which is what CloudWatch shows.

Imported only if that variable is set. Knows the caches' counters and what runs after a response; nothing of entries.
Source: Amazon CloudWatch user guide, "Specification: Embedded metric format".
"""

import posix
import sys
from time import time

from samovar import codec, logs
from samovar.caching import store
from samovar.caching.entries import lock
from samovar.environment import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# name and unit of each metric; a cache's counters come in this order
METRICS = (
    ("CacheHits", "Count"),
    ("CacheMisses", "Count"),
    ("CacheStale", "Count"),
    ("CacheLoads", "Count"),
    ("CacheLoadTime", "Milliseconds"),
)
_NOTHING = (0.0,) * len(METRICS)


def switch_on(value: str) -> None:
    """Report after every response from now on. Raises ValueError for a format other than emf."""
    if value != "emf":
        raise ValueError(f"SAMOVAR_METRICS={value!r}: set it to emf, or leave it empty")
    from samovar import hooks  # noqa: F401 (it puts its own work in the list first)

    environment.after_response.append(_report_safely)


def _report_safely() -> None:
    try:
        report()
    except Exception as exc:
        logs.exception("The cache's metrics failed", exc)


def report() -> None:
    """Write what all caches of this environment together did since the last report; nothing if they did nothing."""
    now: tuple[float, ...] = _NOTHING
    with lock:  # from counting to noting what is counted, or a thread would report it as well
        for cache in [cache for made in list(store.alive) if (cache := made()) is not None]:
            counted = cache.counters()
            now = tuple(sum(each) for each in zip(now, counted, cache.reported, strict=True))
            cache.reported = tuple(-count for count in counted)
    if any(now):
        sys.stdout.write(codec.dumps(_line(now)).decode() + "\n")


def _line(values: "tuple[float, ...]") -> "dict[str, Any]":
    invocation = environment.invocation
    return {
        "_aws": {
            "Timestamp": int(time() * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": "Samovar",
                    "Dimensions": [["FunctionName"]],
                    "Metrics": [{"Name": name, "Unit": unit} for name, unit in METRICS],
                }
            ],
        },
        "FunctionName": posix.environ.get(b"AWS_LAMBDA_FUNCTION_NAME", b"").decode() or "unknown",
        "requestId": invocation.id if invocation else "",
        **{name: round(value, 3) for (name, _), value in zip(METRICS, values, strict=True)},
    }
