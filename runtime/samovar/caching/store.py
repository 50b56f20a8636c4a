"""The TTL cache: a dict of entries, a ring of them in SIEVE's order, a heap of their ends; one load at a time a key.

Lives in the environment's memory, so it lasts as long as the environment does. Knows clocks, locks and loaders; not the
decorator, and of the runtime only `hooks` and the log, asked for when first needed. A second tier is anything
that has Tier's methods.

Two clocks, one read. A frozen environment's monotonic clock may stand still while wall time passes, and wall time may
be set back, so an entry ends when either clock says so. The cache's own time is wall time plus a shift, which grows by
as much as the wall clock is found to have been set back. A hit reads the wall clock alone: the passing of a freeze
shows in it at once. Both clocks are read, and the shift is made good, whenever wall time is not inside the WINDOW that
follows the last reading of both; so also when it went back or stands still. What that gives up: wall time set back by
less than 10 ms, or so as to land inside these 10 ms, is noticed 10 ms late. CLOCK_BOOTTIME would not do instead: it
counts the sleep of the machine itself, and a virtual machine that its host stops, or restores from a snapshot, knows of
none.

Threads. A hit takes no lock: it reads the dict, the tuple of the clock and the entry, each in one step, both with the
GIL and on the free-threaded build; an entry's key and value never change. All else holds the cache's lock, under which
no loader ever runs.
"""

import posix
import sys
from _thread import RLock
from time import monotonic, time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterator
    from typing import Any, Literal, Protocol

    from samovar.caching.flight import Flight

    OnError = Literal["raise", "stale"]

    class Tier(Protocol):
        """A cache behind this one, shared by environments. Loads what it does not have; fails only as loading does."""

        def fetch(self, key: str, loader: "Callable[[], Any]", ttl: float) -> Any: ...
        async def fetch_async(self, key: str, loader: "Callable[[], Awaitable[Any]]", ttl: float) -> Any: ...
        def delete(self, key: str) -> None: ...


MISSING: "Any" = object()  # no value; None is one
FOREVER = float("inf")
WINDOW = 0.010  # s; for how long a reading of both clocks is good, and by what they may differ unless one has been set


class Stats:
    """A cache's counters since it was made, and its size now, in entries. `load_seconds` is time spent loading.

    A hit is counted without a lock: on the free-threaded build `hits` may fall a little short.
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
    hits: int
    misses: int
    loads: int
    load_errors: int
    evictions: int
    expirations: int
    stale: int
    load_seconds: float
    size: int
    maxsize: int

    def __repr__(self) -> str:
        return f"Stats({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class Entry:
    """A value. `expires` ends its ttl, `dies` its stale time; `older` and `newer` stand beside it in SIEVE's ring."""

    __slots__ = ("dies", "expires", "key", "newer", "older", "seen", "size", "stale", "stamp", "ttl", "value")
    key: "Hashable"
    value: "Any"
    expires: float
    dies: float
    ttl: float
    stale: float
    stamp: int
    size: int
    seen: bool
    newer: "Entry"
    older: "Entry"


def default_maxsize() -> int:
    """64 entries for each MB of the function's memory (if not known, 128): entries of 1 KB take a sixteenth of it."""
    memory = posix.environ.get(b"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", b"")
    return 64 * (int(memory) if memory.isdigit() and int(memory) else 128)


def check_times(ttl: float | None, stale: float = 0.0) -> float:
    """The ttl to use. Raises ValueError where it is not above 0, or stale is below it; both are seconds."""
    if ttl is None:
        return FOREVER
    if not isinstance(ttl, (int, float)) or not ttl > 0:
        raise ValueError(f"ttl={ttl!r}: give the seconds to keep a value, more than 0, or None for no end")
    if not isinstance(stale, (int, float)) or not stale >= 0:
        raise ValueError(f"stale={stale!r}: give the seconds after the ttl in which the old value may still be served")
    return ttl


class TTLCache:
    """Keeps values for their ttl, within a bound, for as long as the environment lives.

    maxsize   entries at most; by default 64 for each MB of AWS_LAMBDA_FUNCTION_MEMORY_SIZE
    ttl       seconds an entry lives that is stored without its own; by default it never ends
    maxbytes  at most so much by `sizeof(value)`; a value larger than all of it is not kept
    tier      a second tier, shared by environments (RedisTier), that get_or_load reads through and writes to
    name      what tells this cache's keys from others in the tier, and names it in the log
    clocks    wall time and a monotonic clock, both in seconds, for tests that move them

    None is a value like any other. Keys are hashable.
    """

    __slots__ = (
        "__weakref__",
        "_bytes",
        "_clock",
        "_ends",
        "_entries",
        "_evictions",
        "_expirations",
        "_flights",
        "_hand",
        "_hits",
        "_lead",
        "_load_errors",
        "_load_seconds",
        "_loads",
        "_lock",
        "_misses",
        "_monotonic",
        "_refreshing",
        "_root",
        "_served_stale",
        "_sizeof",
        "_stamp",
        "_tier",
        "_ttl",
        "_wall",
        "_windows",
        "maxbytes",
        "maxsize",
        "name",
        "reported",
    )

    def __init__(
        self,
        maxsize: int | None = None,
        ttl: float | None = None,
        *,
        maxbytes: int | None = None,
        sizeof: "Callable[[Any], int] | None" = None,
        tier: "Tier | None" = None,
        name: str = "",
        clocks: "tuple[Callable[[], float], Callable[[], float]]" = (time, monotonic),
    ) -> None:
        if maxsize is None:
            maxsize = default_maxsize()
        if not isinstance(maxsize, int) or maxsize < 1:
            raise ValueError(f"maxsize={maxsize!r}: give a number of entries, 1 or more")
        if (maxbytes is None) != (sizeof is None):
            raise ValueError(
                "maxbytes and sizeof go together: sizeof(value) is a value's size in bytes, as len is for bytes"
            )
        if maxbytes is not None and maxbytes < 1:
            raise ValueError(f"maxbytes={maxbytes!r}: give a number of bytes, 1 or more")
        if tier is not None and not name:
            raise ValueError("a cache with a second tier needs a name=, which tells its keys from other caches'")
        self.maxsize = maxsize
        self.maxbytes = maxbytes
        self.name = name
        self.reported: tuple[float, ...] = (0.0,) * 5  # less what the metrics have told of `counters`
        self._sizeof = sizeof
        self._ttl = check_times(ttl)
        self._tier = tier
        self._entries: dict[Hashable, Entry] = {}
        self._ends: list[tuple[float, int, Hashable]] = []  # a heap; a tuple whose stamp is not its entry's is void
        self._stamp = 0
        self._bytes = 0
        self._windows = False  # whether any entry was ever stored with a stale window
        self._root = self._hand = Entry()  # closes SIEVE's ring: root.newer is the oldest entry, root.older the newest
        self._root.newer = self._root.older = self._root
        self._flights: dict[Hashable, Flight] = {}
        self._refreshing: dict[Hashable, Entry] = {}  # what a refresh is queued for; it may never come to run
        self._lock = RLock()  # re-entrant, because a destructor that the collector runs may come back here
        self._wall, self._monotonic = clocks
        wall = self._wall()
        self._lead = wall - self._monotonic()  # of the wall clock over the other one
        self._clock = (wall, wall + WINDOW, 0.0)  # between the first two wall time is trusted; the shift
        self._hits = self._misses = self._loads = self._load_errors = 0
        self._evictions = self._expirations = self._served_stale = 0
        self._load_seconds = 0.0
        if register is not None:
            register(self)

    # The hit path. What `get` does is here and nowhere else.

    def get(self, key: "Hashable", default: "Any" = None) -> "Any":
        """The value under `key`, or `default` where there is none or its ttl has passed."""
        entry = self._entries.get(key)
        if entry is not None:
            wall = self._wall()
            low, high, shift = self._clock
            if (wall + shift if low < wall < high else self._read_both()) < entry.expires:
                entry.seen = True
                self._hits += 1
                return entry.value
        if default is not MISSING:
            with self._lock:
                self._misses += 1
                self._expire(self._now())
        return default

    def _read_both(self) -> float:
        """The cache's time now, by both clocks, whose relation is noted anew."""
        with self._lock:
            wall = self._wall()
            lead = wall - self._monotonic()
            shift = self._clock[2]
            if lead > self._lead:  # frozen, or the wall clock set forward: time is what the wall clock says
                self._lead = lead
            elif self._lead - lead > WINDOW:  # set back: time goes on by the monotonic clock
                shift += self._lead - lead
                self._lead = lead
            self._clock = (wall, wall + WINDOW, shift)
            return wall + shift

    def _now(self) -> float:
        wall = self._wall()
        low, high, shift = self._clock
        return wall + shift if low < wall < high else self._read_both()

    # Storing and taking out.

    def set(self, key: "Hashable", value: "Any", ttl: float | None = None) -> None:
        """Stores `value` for `ttl` seconds (the cache's own where not given), in place of what was there.

        A load of this key that is under way goes to those who wait for it and is not stored: this value is newer.
        """
        self._put(key, value, self._ttl if ttl is None else check_times(ttl), 0.0, None)

    def _put(self, key: "Hashable", value: "Any", ttl: float, stale: float, flight: "Flight | None") -> None:
        """Stores a value; one that a load brought (`flight`) only if nobody set, deleted or cleared meanwhile."""
        size = 0
        if self._sizeof is not None and (size := self._sizeof(value)) < 0:
            raise ValueError(f"sizeof gave {size!r} for the value of {key!r}: give its size in bytes, 0 or more")
        entry = Entry()
        entry.key = key
        entry.value = value
        entry.ttl = ttl
        entry.stale = stale
        entry.size = size
        entry.seen = False
        gone: list[Entry] = []  # so that no value's destructor runs while the ring is being changed
        with self._lock:
            if flight is not None and self._flights.get(key) is not flight:
                return
            if self._flights:
                self._flights.pop(key, None)
            entries = self._entries
            now = self._now()
            old = entries.get(key)
            if old is not None:
                gone.append(self._unlink(old))
                entry.seen = True  # to be stored again counts as a hit, as it does in SIEVE's own simulator
            ends = self._ends
            if ends and ends[0][0] <= now:
                self._expire(now, gone)
            if self.maxbytes is not None:
                if size > self.maxbytes:
                    return
                while self._bytes + size > self.maxbytes:
                    gone.append(self._evict())
                self._bytes += size
            if len(entries) >= self.maxsize:
                gone.append(self._evict())
            root = self._root
            entry.older = root.older
            entry.newer = root
            entry.older.newer = root.older = entry
            self._date(entry, now)
            entries[key] = entry

    def _date(self, entry: Entry, now: float) -> None:
        """Gives an entry its end, counted from now."""
        entry.expires = now + entry.ttl
        entry.dies = entry.expires + entry.stale
        self._stamp = entry.stamp = self._stamp + 1
        if entry.stale:
            self._windows = True
        if entry.dies < FOREVER:
            ends = self._ends
            size = len(ends)
            if size > 3 * len(self._entries) + 16:  # mostly void: a pass over it is paid for by as many stores
                get = self._entries.get
                ends[:] = [end for end in ends if (held := get(end[2])) is not None and held.stamp == end[1]]
                ends.sort()
                size = len(ends)
            end = (entry.dies, entry.stamp, entry.key)
            if not size or ends[(size - 1) >> 1] <= end:  # as always with one ttl for all: the heap is one already
                ends.append(end)
            else:
                from _heapq import heappush  # an extension module, so not at the top

                heappush(ends, end)

    def _unlink(self, entry: Entry) -> Entry:
        del self._entries[entry.key]
        entry.older.newer = entry.newer
        entry.newer.older = entry.older
        if self._hand is entry:
            self._hand = entry.newer
        self._bytes -= entry.size
        return entry

    def _evict(self) -> Entry:
        """SIEVE (Zhang et al., NSDI 2024): from the hand towards the newer, the first not hit since the hand passed."""
        root = self._root
        entry = self._hand if self._hand is not root else root.newer
        while entry.seen:
            entry.seen = False
            entry = entry.newer if entry.newer is not root else root.newer
        self._hand = entry
        self._evictions += 1
        return self._unlink(entry)

    def _expire(self, now: float, gone: "list[Entry] | None" = None, limit: int = 4) -> None:
        """Takes out what has ended, the earliest first; `limit` of them, so that no single caller pays for all."""
        ends = self._ends
        while ends and ends[0][0] <= now and limit:
            from _heapq import heappop

            _, stamp, key = heappop(ends)
            entry = self._entries.get(key)
            if entry is not None and entry.stamp == stamp:
                self._unlink(entry)
                self._expirations += 1
                limit -= 1
                if gone is not None:
                    gone.append(entry)

    def delete(self, key: "Hashable") -> bool:
        """Takes `key` out, of the second tier as well; whether it was here. A load of it under way is not stored."""
        with self._lock:
            self._flights.pop(key, None)
            entry = self._entries.get(key)
            there = entry is not None and self._now() < entry.expires
            if entry is not None:
                self._unlink(entry)
        if self._tier is not None:
            self._tier.delete(self._shared_key(key))
        return there

    def touch(self, key: "Hashable", ttl: float | None = None) -> bool:
        """Lets the value live for `ttl` seconds from now, by default for its own ttl again; whether there was one."""
        check_times(ttl)
        with self._lock:
            entry = self._entries.get(key)
            now = self._now()
            if entry is None or now >= entry.expires:
                return False
            if ttl is not None:
                entry.ttl = ttl
            self._date(entry, now)
            entry.seen = True
            return True

    def ttl(self, key: "Hashable") -> float | None:
        """Seconds that the value has left, infinite where it was stored without end; None where there is no value."""
        entry = self._entries.get(key)
        left = -1.0 if entry is None else entry.expires - self._now()
        return left if left > 0 else None

    def clear(self) -> None:
        """Takes out everything here; the second tier and the counters stay. Loads under way are not stored."""
        with self._lock:
            gone, self._entries, self._ends = self._entries, {}, []
            self._flights.clear()
            self._bytes = 0
            self._hand = self._root
            self._root.newer = self._root.older = self._root
        for entry in gone.values():  # the ring of neighbours would leave them to the cycle collector
            del entry.newer, entry.older

    def __contains__(self, key: "Hashable") -> bool:
        return self.ttl(key) is not None

    def _fresh(self) -> "list[Hashable]":
        with self._lock:
            now = self._now()
            return [key for key, entry in self._entries.items() if now < entry.expires]

    def __iter__(self) -> "Iterator[Hashable]":
        """The keys that have not expired, as they are now."""
        return iter(self._fresh())

    def __len__(self) -> int:
        """How many entries have not expired."""
        with self._lock:
            self._expire(self._now(), limit=sys.maxsize)
            return len(self._fresh()) if self._windows else len(self._entries)

    def stats(self) -> Stats:
        """The counters since the cache was made, and its size: entries held, the stale ones too."""
        stats = Stats()
        with self._lock:
            self._expire(self._now(), limit=sys.maxsize)
            stats.size = len(self._entries)
            stats.maxsize = self.maxsize
            stats.hits, stats.misses, stats.stale = self._hits, self._misses, self._served_stale
            stats.loads, stats.load_errors, stats.load_seconds = self._loads, self._load_errors, self._load_seconds
            stats.evictions, stats.expirations = self._evictions, self._expirations
        return stats

    def counters(self) -> "tuple[float, ...]":
        """What the metrics tell: hits, misses, stale values served, loads, and milliseconds spent loading."""
        with self._lock:
            return self._hits, self._misses, self._served_stale, self._loads, self._load_seconds * 1000

    # Loading: one load at a time for a key, the others wait for it.

    def get_or_load(
        self,
        key: "Hashable",
        loader: "Callable[[], Any]",
        ttl: float | None = None,
        *,
        stale: float = 0.0,
        on_error: "OnError" = "raise",
    ) -> "Any":
        """The value under `key`, or what `loader()` gives, kept for `ttl` seconds (the cache's own where not given).

        Callers that come while it is being loaded, in any thread, wait and get its value or its exception; an exception
        is not kept. With `stale`, a caller within so many seconds after the ttl gets the old value at once, and one
        refresh is deferred until after the response; a refresh that fails is logged, and the old value stays until that
        time is over. With on_error="stale" such a caller loads, and gets the old value if that fails. Raises LoadCycle
        where the loader asks for its own key, directly or by way of other loaders.
        """
        value = self.get(key, MISSING)
        if value is not MISSING:
            return value
        ttl = self._ttl if ttl is None else check_times(ttl, stale)
        old = None
        counted = False
        while True:
            value, flight, mine, kept = self._look(key, stale, on_error, counted)
            if flight is None:
                if mine:
                    _defer(self._refresh, key, loader, ttl, stale)
                return value
            old = old or kept
            counted = True
            try:
                value = self._load(flight, loader, ttl, stale) if mine else flight.wait()
            except Exception:
                if old is not None and self._still_serves(old):
                    return old.value
                raise
            if value is not MISSING:
                return value

    async def get_or_load_async(
        self,
        key: "Hashable",
        loader: "Callable[[], Awaitable[Any]]",
        ttl: float | None = None,
        *,
        stale: float = 0.0,
        on_error: "OnError" = "raise",
    ) -> "Any":
        """`get_or_load` for a coroutine function: waiting holds up neither the event loop nor other keys.

        The load is part of the first caller's task: if that is cancelled, one of those who wait loads in its place.
        """
        value = self.get(key, MISSING)
        if value is not MISSING:
            return value
        ttl = self._ttl if ttl is None else check_times(ttl, stale)
        old = None
        counted = False
        while True:
            value, flight, mine, kept = self._look(key, stale, on_error, counted)
            if flight is None:
                if mine:
                    self._defer_async(key, loader, ttl, stale)
                return value
            old = old or kept
            counted = True
            try:
                value = await (self._load_async(flight, loader, ttl, stale) if mine else flight.wait_async())
            except Exception:
                if old is not None and self._still_serves(old):
                    return old.value
                raise
            if value is not MISSING:
                return value

    def _look(
        self, key: "Hashable", stale: float, on_error: "OnError", counted: bool
    ) -> "tuple[Any, Flight | None, bool, Entry | None]":
        """What there is for a caller who found nothing fresh: (value, flight, mine, old).

        No flight: the value is the answer, and if `mine` it is for this caller to queue a refresh. A flight: to be
        flown if `mine`, else to be waited for, and `old` may be served if it fails.
        """
        from samovar.caching.flight import Flight

        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                now = self._now()
                if now < entry.expires:  # somebody has just stored it
                    self._hits += 1
                    return entry.value, None, False, None
                if now >= min(entry.dies, entry.expires + stale):
                    entry = None
                elif on_error != "stale":
                    self._served_stale += 1
                    entry.seen = True
                    first = self._refreshing.get(key) is not entry and key not in self._flights
                    if first:
                        self._refreshing[key] = entry
                    return entry.value, None, first, None
            if not counted:
                self._misses += 1
                self._expire(self._now())
            flight = self._flights.get(key)
            if flight is not None:
                return MISSING, flight, False, entry
            flight = self._flights[key] = Flight(key, self._monotonic(), self._landed)
            return MISSING, flight, True, entry

    def _still_serves(self, old: Entry) -> bool:
        with self._lock:
            if self._now() >= old.dies:
                return False
            self._served_stale += 1
            return True

    def _load(self, flight: "Flight", loader: "Callable[[], Any]", ttl: float, stale: float) -> "Any":
        with flight:
            tier = self._tier
            value = loader() if tier is None else tier.fetch(self._shared_key(flight.key), loader, ttl)
            if hasattr(type(value), "__await__"):
                if hasattr(value, "close"):
                    value.close()
                raise TypeError(f"the loader of {flight.key!r} gave an awaitable: use get_or_load_async")
            self._put(flight.key, value, ttl, stale, flight)
            flight.value = value
        return value

    async def _load_async(
        self, flight: "Flight", loader: "Callable[[], Awaitable[Any]]", ttl: float, stale: float
    ) -> "Any":
        with flight:
            tier = self._tier
            value = await (loader() if tier is None else tier.fetch_async(self._shared_key(flight.key), loader, ttl))
            self._put(flight.key, value, ttl, stale, flight)
            flight.value = value
        return value

    def _landed(self, flight: "Flight") -> None:
        with self._lock:
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
            self._loads += 1
            self._load_seconds += self._monotonic() - flight.begun
            if flight.value is MISSING:
                self._load_errors += 1

    # Refreshing what has gone stale, after the response.

    def _take_off(self, key: "Hashable") -> "Flight | None":
        """A flight for a refresh, unless somebody is loading the key already or has stored it anew."""
        from samovar.caching.flight import Flight

        with self._lock:
            entry = self._entries.get(key)
            if key in self._flights or (entry is not None and self._now() < entry.expires):
                return None
            flight = self._flights[key] = Flight(key, self._monotonic(), self._landed)
            return flight

    def _refresh(self, key: "Hashable", loader: "Callable[[], Any]", ttl: float, stale: float) -> None:
        try:
            if (flight := self._take_off(key)) is not None:
                self._load(flight, loader, ttl, stale)
        except Exception as error:
            self._log_refresh(key, error)
        finally:
            self._refreshing.pop(key, None)

    async def _refresh_async(
        self, key: "Hashable", loader: "Callable[[], Awaitable[Any]]", ttl: float, stale: float
    ) -> None:
        try:
            if (flight := self._take_off(key)) is not None:
                await self._load_async(flight, loader, ttl, stale)
        except Exception as error:
            self._log_refresh(key, error)
        finally:
            self._refreshing.pop(key, None)

    def _defer_async(self, key: "Hashable", loader: "Callable[[], Awaitable[Any]]", ttl: float, stale: float) -> None:
        """Queue a refresh that needs an event loop: the caller's own if it is still open by then, or a new one."""
        from samovar import aio

        _defer(aio.finisher(lambda: self._refresh_async(key, loader, ttl, stale)))

    def _log_refresh(self, key: "Hashable", error: Exception) -> None:
        from samovar import logs

        what = f"{self.name}: the refresh of {key!r}" if self.name else f"The refresh of {key!r}"
        logs.write(
            "WARNING",
            f"{what} failed, the old value serves until its stale time is over: {type(error).__name__}: {error}",
        )

    def _shared_key(self, key: "Hashable") -> str:
        _check_shared(key)
        return f"{self.name}:{key!r}"


_SHARED_TYPES = (str, bytes, int, float, bool, type(None))


def _check_shared(key: "Hashable") -> None:
    """Raises TypeError for a key whose repr differs between environments, as that of an object with its address in it
    does.
    """
    if type(key) is tuple:
        for part in key:
            _check_shared(part)
    elif type(key) not in _SHARED_TYPES:
        raise TypeError(
            f"{key!r} cannot be part of a key in the second tier, where it must read the same in every environment: "
            "use str, bytes, int, float, bool, None or tuples of them, or have key= make one"
        )


def _defer(f: "Callable[..., Any]", *args: "Any") -> None:
    from samovar import hooks

    hooks.defer(f, *args)


register: "Callable[[TTLCache], None] | None" = None  # set by the metrics, where they are on
