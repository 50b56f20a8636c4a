"""SAMOVAR_METRICS=emf: after every invocation that used the cache, a line on stdout in CloudWatch's embedded metric
format.

Imported only where that variable is set. Knows the caches' counters and the invocation's end.
Source: Amazon CloudWatch user guide, "Specification: Embedded metric format".
"""

import posix
import sys
from time import time

from samovar import codec, logs
from samovar.caching import store
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
    """Begins to count. Raises ValueError for a format other than emf."""
    if value != "emf":
        raise ValueError(f"SAMOVAR_METRICS={value!r}: want emf, or nothing")
    from samovar import hooks  # noqa: F401 (its deferred work comes before the report)

    environment.after_response.append(_report_safely)


def _report_safely() -> None:
    try:
        report()
    except Exception as exc:
        logs.write_exception("The cache's metrics failed", exc)


def report() -> None:
    """Writes what the caches of this environment did since the last report, all of them together; nothing if they did
    nothing.
    """
    now: tuple[float, ...] = _NOTHING
    for cache in [cache for made in store.alive if (cache := made()) is not None]:
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
