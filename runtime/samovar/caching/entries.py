"""What the files of the cache share: entries, counters, times, the interface of a second tier, the lock.

The ground floor of the package: imports nothing of it.
"""

import posix
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable
    from typing import Any, Literal, Protocol, TypeVar

    class Keyed(Protocol):
        key: Hashable

    Held = TypeVar("Held", bound=Keyed)

    Clocks = tuple[Callable[[], float], Callable[[], float]]
    OnError = Literal["raise", "stale"]
    OnRestore = Literal["drop", "keep"]

    class Tier(Protocol):
        """A cache behind this one, shared by environments. Loads what it does not have; fails only as loading does."""

        def fetch(self, key: str, loader: "Callable[[], Any]", ttl: float) -> Any: ...
        async def fetch_async(self, key: str, loader: "Callable[[], Awaitable[Any]]", ttl: float) -> Any: ...
        def delete(self, key: str) -> None: ...


MISSING: "Any" = object()  # no value; None is one
FOREVER = float("inf")
TRUSTED = 256  # hits for which a reading of both clocks is good; CPython has ints up to this ready: counting makes none
NAN = float("nan")

# Guards every change of every cache, and the graph of loads that wait for each other. A hit does not take it, and no
# loader runs under it. There is one lock because the collector may close an abandoned load while any lock is held, and
# that load's cache is to be changed then: with a lock for each cache, two threads could wait for each other. It is
# re-entrant because the load that is closed may be one of the same thread, and so may what a signal handler asks for.
lock = RLock()


class Stats:
    """A cache's counters since it was made, and its size.

    Attributes:
        hits, misses: calls that found a fresh value, and calls that did not.
        stale: values served after their ttl.
        loads, load_errors: calls of a loader, and those of them that brought no value.
        load_seconds: the time spent loading.
        evictions, expirations: entries that left because room was needed, and because their time was over.
        size: the entries held, stale ones included. maxsize: the most that may be held.
    """

    __slots__ = (
        "evictions",
        "expirations",
        "hits",
        "load_errors",
        "load_seconds",
        "loads",
        "maxsize",
        "misses",
        "size",
        "stale",
    )

    def __init__(self) -> None:
        self.hits = self.misses = self.loads = self.load_errors = 0
        self.evictions = self.expirations = self.stale = 0
        self.load_seconds = 0.0
        self.size = self.maxsize = 0

    def __repr__(self) -> str:
        return f"Stats({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class Entry:
    """A value. `expires` ends its ttl, `dies` its stale time; `older` and `newer` are its neighbours in SIEVE's ring.

    `refreshing` and `retry` are set with a stale time only: whether a refresh is queued (it may never run), and the
    time before which a failed load is not repeated.
    """

    __slots__ = (
        "dies",
        "expires",
        "key",
        "newer",
        "older",
        "refreshing",
        "retry",
        "seen",
        "size",
        "stale",
        "stamp",
        "ttl",
        "value",
    )
    key: "Hashable"
    value: "Any"
    expires: float
    dies: float
    ttl: float
    stale: float
    stamp: int
    size: int
    seen: bool
    refreshing: bool
    retry: float
    newer: "Entry"
    older: "Entry"


class Failure:
    """Held instead of a value: an exception that callers get until the load is tried again."""

    __slots__ = ("_error",)

    def __init__(self, error: Exception) -> None:
        self._error = error
        self._error = self.copy()

    def copy(self) -> Exception:
        """Return an exception like it without traceback, cause and context, which hold all that the loader held."""
        error = self._error
        kind = type(error)
        # A class of the user's may take other arguments than those that it hands to Exception.
        copy = kind(*error.__reduce__()[1]) if kind.__module__ == "builtins" else kind.__new__(kind, *error.args)
        copy.__dict__.update(error.__dict__)
        return copy


class Terms:
    """For how long a value lives, and what callers get after that: the arguments of `get_or_load`, checked."""

    __slots__ = ("on_error", "retry", "stale", "ttl")

    def __init__(self, ttl: float | None, stale: float, on_error: "OnError", retry: float) -> None:
        """Raises ValueError for an argument that cannot be; times are in seconds."""
        self.ttl = check_ttl(ttl)
        self.stale = _seconds(stale)
        self.on_error = on_error
        self.retry = _seconds(retry)
        if not self.stale >= 0:
            raise ValueError(
                f"stale={stale!r}: give the seconds after the ttl in which the old value may still be served"
            )
        if on_error not in ("raise", "stale"):
            raise ValueError(f'on_error={on_error!r}: give "raise" or "stale"')
        if not self.retry >= 0:
            raise ValueError(f"retry={retry!r}: give the seconds after a failed load in which it is not tried again")


def check_ttl(ttl: float | None) -> float:
    """Return the ttl in seconds, infinite for None. Raises ValueError for one that cannot be."""
    seconds = FOREVER if ttl is None else _seconds(ttl)
    if not seconds > 0:
        raise ValueError(f"ttl={ttl!r}: give the seconds to keep a value, more than 0, or None for no end")
    return seconds


def _seconds(value: "Any") -> float:
    """Return a number as a float; NaN for anything else."""
    if type(value) is float:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return NAN
    try:
        return float(value)
    except OverflowError:
        return NAN


def default_maxsize() -> int:
    """Return 64 entries for each MB of the function's memory (if not known, 128): entries of 1 KB take a sixteenth."""
    memory = posix.environ.get(b"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", b"")
    return 64 * (int(memory) if memory.isdigit() and int(memory) else 128)


def find(held: "dict[Hashable, Held]", key: "Hashable") -> "Held | None":
    """Return what is held under a key, None if its hash raises: the key may not be the caller's own."""
    try:
        return held.get(key)
    except Exception:
        return None


def findable(held: "dict[Hashable, Held]") -> "dict[Hashable, Held]":
    """Return what its own key still finds, in the same order."""
    return {each.key: each for each in list(held.values()) if find(held, each.key) is each}
