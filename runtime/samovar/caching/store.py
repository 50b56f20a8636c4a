"""The TTL cache: a dict of entries, a ring of them in SIEVE's order, a heap of their ends; one load at a time a key.

Lives in the environment's memory, so it lasts as long as the environment does. Knows clocks, locks and loaders; not the
decorator, and of the runtime only `hooks` and the log, asked for when first needed. A second tier is anything
that has Tier's methods.

Two clocks, one read. A frozen environment's monotonic clock may stand still while wall time passes, and wall time may
be set back, so an entry ends when either clock says so. The cache's own time is wall time plus a shift, which grows by
as much as the wall clock is found to have been set back. A hit reads the wall clock alone: the passing of a freeze
shows in it at once. Both clocks are read, and the shift is made good, whenever wall time is not inside the WINDOW that
follows the last reading of both, after TRUSTED hits, and by everything but a hit and a `set`. What that gives up: wall
time that is set back by less than 10 ms, is set back into these 10 ms, or stands still in them, is noticed TRUSTED hits
late at most. CLOCK_BOOTTIME would not do instead: it counts the sleep of the machine itself, and a virtual machine that
its host stops, or restores from a snapshot, knows of none.

Threads. A hit takes no lock: it reads the dict, the tuple of the clock and the entry, each in one step, both with the
GIL and on the free-threaded build; an entry's key and value never change. All else holds the cache's lock, under which
no loader ever runs.

The dict is the truth; ring and heap follow it. A key's hash may change while it is held, and a signal handler may raise
in the middle of a change: where that shows, the ring is made anew from the dict.
"""

import posix
import sys
from _thread import RLock
from _weakref import ref
from time import monotonic, time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterator
    from typing import Any, Literal, Protocol, TypeVar

    from samovar.caching.flight import Flight

    class Keyed(Protocol):
        key: Hashable

    Held = TypeVar("Held", bound=Keyed)

    Clocks = tuple[Callable[[], float], Callable[[], float]]
    OnError = Literal["raise", "stale"]

    class Tier(Protocol):
        """A cache behind this one, shared by environments. Loads what it does not have; fails only as loading does."""

        def fetch(self, key: str, loader: "Callable[[], Any]", ttl: float) -> Any: ...
        async def fetch_async(self, key: str, loader: "Callable[[], Awaitable[Any]]", ttl: float) -> Any: ...
        def delete(self, key: str) -> None: ...


MISSING: "Any" = object()  # no value; None is one
FOREVER = float("inf")
NAN = float("nan")
WINDOW = 0.010  # s; for how long a reading of both clocks is good, and by what they may differ unless one has been set
TRUSTED = 256  # hits for which it is good; up to this number CPython has all ints ready, and counting allocates none


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
    """A value. `expires` ends its ttl, `dies` its stale time; `older` and `newer` stand beside it in SIEVE's ring.

    `refreshing` and `retry` are there with a stale time only: whether a refresh is queued (it may never come to run),
    and before what time a load that failed is not repeated.
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
    """In place of a value: an exception that callers get until the load is tried again."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = _copy(error)


def default_maxsize() -> int:
    """64 entries for each MB of the function's memory (if not known, 128): entries of 1 KB take a sixteenth of it."""
    memory = posix.environ.get(b"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", b"")
    return 64 * (int(memory) if memory.isdigit() and int(memory) else 128)


def check_times(ttl: float | None, stale: float = 0.0, on_error: str = "raise", retry: float = 0.0) -> float:
    """Return the ttl to use, a float. Raises ValueError where one of the four cannot be; times are in seconds."""
    seconds = FOREVER if ttl is None else _seconds(ttl)
    if not seconds > 0:
        raise ValueError(f"ttl={ttl!r}: give the seconds to keep a value, more than 0, or None for no end")
    if not _seconds(stale) >= 0:
        raise ValueError(f"stale={stale!r}: give the seconds after the ttl in which the old value may still be served")
    if on_error not in ("raise", "stale"):
        raise ValueError(f'on_error={on_error!r}: give "raise" or "stale"')
    if not _seconds(retry) >= 0:
        raise ValueError(f"retry={retry!r}: give the seconds after a failed load in which it is not tried again")
    return seconds


def _seconds(value: "Any") -> float:
    """Return a number as a float; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return NAN
    try:
        return float(value)
    except OverflowError:
        return NAN


class TTLCache:
    """Keeps values for their ttl, within a bound, for as long as the environment lives.

    maxsize   entries at most; by default 64 for each MB of AWS_LAMBDA_FUNCTION_MEMORY_SIZE
    ttl       seconds an entry lives that is stored without its own; by default it never ends
    maxbytes  at most so much by `sizeof(value)`; a value larger than all of it is not kept
    tier      a second tier, shared by environments (samovar.caching.redis_tier), that get_or_load reads through and writes to
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
        "_root",
        "_served_stale",
        "_sizeof",
        "_stamp",
        "_tier",
        "_trusted",
        "_ttl",
        "_wall",
        "_whole",
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
        clocks: "Clocks" = (time, monotonic),
    ) -> None:
        if maxsize is None:
            maxsize = default_maxsize()
        if not isinstance(maxsize, int) or isinstance(maxsize, bool) or maxsize < 1:
            raise ValueError(f"maxsize={maxsize!r}: give a number of entries, 1 or more")
        if (maxbytes is None) != (sizeof is None):
            raise ValueError(
                "maxbytes and sizeof go together: sizeof(value) is a value's size in bytes, as len is for bytes"
            )
        if maxbytes is not None and (not isinstance(maxbytes, int) or isinstance(maxbytes, bool) or maxbytes < 1):
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
        self._root.key = MISSING  # where the ring is empty and the dict is not, it is the root that is to be evicted
        self._root.seen = False
        self._whole = True  # False while the ring is being changed, and so after a change that was broken off
        self._flights: dict[Hashable, Flight] = {}
        self._lock = RLock()  # re-entrant, because a destructor that the collector runs may come back here
        self._wall, self._monotonic = clocks
        wall = self._wall()
        self._lead = wall - self._monotonic()  # of the wall clock over the other one
        self._clock = (wall, wall + WINDOW, 0.0)  # between the first two wall time is trusted; the shift
        self._trusted = TRUSTED  # hits left to the reading; those that it has had are not in _hits yet
        self._hits = self._misses = self._loads = self._load_errors = 0
        self._evictions = self._expirations = self._served_stale = 0
        self._load_seconds = 0.0
        alive.append(ref(self, alive.remove))

    # The hit path. What `get` does is here and nowhere else.

    def get(self, key: "Hashable", default: "Any" = None) -> "Any":
        """The value under `key`, or `default` where there is none or its ttl has passed."""
        entry = self._entries.get(key)
        if entry is not None:
            wall = self._wall()
            low, high, shift = self._clock
            if low < wall < high and (left := self._trusted):
                if wall + shift < entry.expires:
                    entry.seen = True
                    self._trusted = left - 1
                    return entry.value
            elif self._read_both() < entry.expires:
                entry.seen = True
                self._trusted -= 1
                return entry.value
        if default is not MISSING:
            with self._lock:
                self._misses += 1
                self._expire(self._read_both())
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
            left, self._trusted = self._trusted, TRUSTED
            self._hits += TRUSTED - left
            return wall + shift

    # Storing and taking out.

    def set(self, key: "Hashable", value: "Any", ttl: float | None = None) -> None:
        """Stores `value` for `ttl` seconds (the cache's own where not given), in place of what was there.

        A load of this key that is under way goes to those who wait for it and is not stored: this value is newer.
        """
        self._put(key, value, self._ttl if ttl is None else check_times(ttl), 0.0, None)

    def _put(
        self,
        key: "Hashable",
        value: "Any",
        ttl: float,
        stale: float,
        flight: "Flight | None",
        since: float | None = None,
    ) -> None:
        """Store a value; one that a load brought (`flight`) only if nobody set, deleted or cleared meanwhile.

        since: the time from which its age counts, by default now. All that may raise comes before the first change.
        """
        size = 0
        if self._sizeof is not None and not isinstance(value, Failure):
            size = self._sizeof(value)
            if not size >= 0:
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
            wall = self._wall()
            low, high, shift = self._clock
            now = wall + shift if low < wall < high else self._read_both()
            old = self._entries.get(key)
            self._date(entry, now if since is None else since)
            if self._flights and flight is None:
                self._flights.pop(key, None)
            if old is not None:
                gone.append(self._unlink(old))
                entry.seen = True  # to be stored again counts as a hit, as it does in SIEVE's own simulator
            ends = self._ends
            if ends and ends[0][0] <= now:
                self._expire(now, gone)
            if entry.dies <= now:  # it took longer to load than it may live
                return
            if self.maxbytes is not None:
                if size > self.maxbytes:
                    return
                while self._bytes + size > self.maxbytes:
                    gone.append(self._evict())
            while len(self._entries) >= self.maxsize:
                gone.append(self._evict())
            if not self._whole:
                self._mend()
            self._whole = False
            root = self._root
            entry.newer = root
            entry.older = newest = root.older
            newest.newer = root.older = entry
            if size:
                self._bytes += size
            self._entries[key] = entry
            self._whole = True

    def _date(self, entry: Entry, since: float) -> None:
        """Give an entry its end, counted from `since`."""
        ends = self._ends
        if len(ends) > 3 * len(self._entries) + 16:  # mostly void: a pass is paid for by as many stores
            ends[:] = [(each.dies, each.stamp, each.key) for each in self._entries.values() if each.dies < FOREVER]
            ends.sort()
        entry.expires = since + entry.ttl
        entry.dies = entry.expires + entry.stale
        self._stamp = entry.stamp = self._stamp + 1
        if entry.stale:
            entry.refreshing = False
            entry.retry = 0.0
            self._windows = True
        if entry.dies < FOREVER:
            size = len(ends)
            end = (entry.dies, entry.stamp, entry.key)
            if not size or ends[(size - 1) >> 1] <= end:  # as always with one ttl for all: the heap is one already
                ends.append(end)
            else:
                from _heapq import heappush  # an extension module, so not at the top

                heappush(ends, end)

    def _unlink(self, entry: Entry) -> Entry:
        whole = self._whole
        self._whole = False
        try:
            found = self._entries.pop(entry.key)
        except Exception:
            found = None
        if found is not entry or not whole:
            if found is not entry and found is not None:
                self._entries[found.key] = found
            self._mend()
            return entry
        older = entry.older
        older.newer = newer = entry.newer
        newer.older = older
        if self._hand is entry:
            self._hand = newer
        if entry.size:
            self._bytes -= entry.size
        self._whole = True
        return entry

    def _mend(self) -> None:
        """Make the ring anew from the dict, without the entries that their keys do not find any more."""
        before = self._entries
        after = findable(before)
        root = at = self._hand = self._root
        for entry in before.values():  # neighbours that point at each other would be left to the cycle collector
            entry.older = entry.newer = root
        total = 0
        for entry in after.values():  # in the order in which they were stored, which is the ring's
            entry.older = at
            at.newer = entry
            at = entry
            total += entry.size
        at.newer = root
        root.older = at
        self._bytes = total
        self._entries = after
        self._whole = True

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
            entry = find(self._entries, key)
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
            there = entry is not None and self._read_both() < entry.expires
            if entry is not None:
                self._unlink(entry)
        if self._tier is not None:
            self._tier.delete(self._shared_key(key))
        return there

    def touch(self, key: "Hashable", ttl: float | None = None) -> bool:
        """Lets the value live for `ttl` seconds from now, by default for its own ttl again; whether there was one."""
        seconds = check_times(ttl)
        with self._lock:
            entry = self._entries.get(key)
            now = self._read_both()
            if entry is None or now >= entry.expires:
                return False
            if ttl is not None:
                entry.ttl = seconds
            self._date(entry, now)
            entry.seen = True
            return True

    def ttl(self, key: "Hashable") -> float | None:
        """Seconds that the value has left, infinite where it was stored without end; None where there is no value."""
        entry = self._entries.get(key)
        left = -1.0 if entry is None else entry.expires - self._read_both()
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
            now = self._read_both()
            return [key for key, entry in self._entries.items() if now < entry.expires]

    def __iter__(self) -> "Iterator[Hashable]":
        """The keys that have not expired, as they are now."""
        return iter(self._fresh())

    def __len__(self) -> int:
        """How many entries have not expired."""
        with self._lock:
            self._expire(self._read_both(), limit=sys.maxsize)
            return len(self._fresh()) if self._windows else len(self._entries)

    def stats(self) -> Stats:
        """The counters since the cache was made, and its size: entries held, the stale ones too."""
        stats = Stats()
        with self._lock:
            self._expire(self._read_both(), limit=sys.maxsize)
            stats.size = len(self._entries)
            stats.maxsize = self.maxsize
            stats.hits = self._hits + TRUSTED - self._trusted
            stats.misses, stats.stale = self._misses, self._served_stale
            stats.loads, stats.load_errors, stats.load_seconds = self._loads, self._load_errors, self._load_seconds
            stats.evictions, stats.expirations = self._evictions, self._expirations
        return stats

    def counters(self) -> "tuple[float, ...]":
        """What the metrics tell: hits, misses, stale values served, loads, and milliseconds spent loading."""
        with self._lock:
            hits = self._hits + TRUSTED - self._trusted
            return hits, self._misses, self._served_stale, self._loads, self._load_seconds * 1000

    # Loading: one load at a time for a key, the others wait for it.

    def get_or_load(
        self,
        key: "Hashable",
        loader: "Callable[[], Any]",
        ttl: float | None = None,
        *,
        stale: float = 0.0,
        on_error: "OnError" = "raise",
        retry: float = 0.0,
    ) -> "Any":
        """The value under `key`, or what `loader()` gives, kept for `ttl` seconds (the cache's own where not given),
        counted from when it began to load.

        Callers that come while it is being loaded, in any thread, wait and get its value or its exception. With
        `stale`, a caller within so many seconds after the ttl gets the old value at once, and one refresh is deferred
        until after the response; a refresh that fails is logged, and the old value stays until that time is over. With
        on_error="stale" such a caller loads, and gets the old value if that fails. With `retry`, a load that failed is
        not tried again for so many seconds: callers get the old value where there is one, or else the same exception
        (a copy, without its traceback); by default an exception is not kept. Raises LoadCycle where the loader asks for
        its own key, directly or by way of other loaders, and TypeError where it gives an iterator or an awaitable.
        """
        value = self.get(key, MISSING)
        if value is not MISSING:
            return value
        ttl = check_times(self._ttl if ttl is None else ttl, stale, on_error, retry)
        from samovar.caching.flight import Flight

        with Flight(self, key) as flight, flight:
            while True:
                value = self._look(flight, stale, on_error)
                if value is not MISSING:
                    if flight.refreshes is not None:
                        _defer(self._refresh, flight.refreshes, key, loader, ttl, stale, retry)
                        flight.refreshes = None
                    return _given(value)
                value = self._fly(flight, loader, ttl, stale, retry)
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
        retry: float = 0.0,
    ) -> "Any":
        """`get_or_load` for a coroutine function: waiting holds up neither the event loop nor other keys.

        The load is part of the first caller's task: if that is cancelled, one of those who wait loads in its place.
        """
        value = self.get(key, MISSING)
        if value is not MISSING:
            return value
        ttl = check_times(self._ttl if ttl is None else ttl, stale, on_error, retry)
        from samovar.caching.flight import Flight

        with Flight(self, key) as flight, flight:
            while True:
                value = self._look(flight, stale, on_error)
                if value is not MISSING:
                    if flight.refreshes is not None:
                        self._defer_async(flight.refreshes, key, loader, ttl, stale, retry)
                        flight.refreshes = None
                    return _given(value)
                value = await self._fly_async(flight, loader, ttl, stale, retry)
                if value is not MISSING:
                    return value

    def _look(self, flight: "Flight", stale: float, on_error: "OnError") -> "Any":
        """What there is for a caller who found nothing fresh: a value, or a Failure.

        MISSING: `flight` has joined another one, or is to load. Where it has an entry to refresh, that is to be queued.
        """
        key = flight.key
        with self._lock:
            now = self._read_both()
            entry = self._entries.get(key)
            other = self._flights.get(key)
            if entry is not None:
                if now < entry.expires:  # somebody has just stored it
                    self._hits += 1
                    return entry.value
                if type(entry.value) is Failure:
                    if now < entry.dies:
                        self._misses += not flight.counted
                        return entry.value
                    entry = None
                elif now >= min(entry.dies, entry.expires + stale):
                    entry = None
                elif on_error != "stale" or now < entry.retry:
                    self._served_stale += 1
                    entry.seen = True
                    if on_error != "stale" and not entry.refreshing and other is None and now >= entry.retry:
                        flight.refreshes = entry
                        entry.refreshing = True
                    return entry.value
            if not flight.counted:
                flight.counted = True
                self._misses += 1
                self._expire(now)
            flight.old = entry
            if other is None or not flight.join(other):
                self._begin(flight, now, other is None)
            return MISSING

    def _begin(self, flight: "Flight", now: float, for_others: bool) -> None:
        flight.since = now
        flight.begun = self._monotonic()
        if for_others:
            self._flights[flight.key] = flight

    def _still_serves(self, old: Entry) -> bool:
        with self._lock:
            if self._read_both() >= old.dies:
                return False
            self._served_stale += 1
            return True

    def _fly(self, flight: "Flight", loader: "Callable[[], Any]", ttl: float, stale: float, retry: float) -> "Any":
        try:
            return flight.wait() if flight.joined else self._load(flight, loader, ttl, stale, retry)
        except Exception:
            if flight.old is not None and self._still_serves(flight.old):
                return flight.old.value
            raise

    async def _fly_async(
        self, flight: "Flight", loader: "Callable[[], Awaitable[Any]]", ttl: float, stale: float, retry: float
    ) -> "Any":
        try:
            if flight.joined:
                return await flight.wait_async()
            return await self._load_async(flight, loader, ttl, stale, retry)
        except Exception:
            if flight.old is not None and self._still_serves(flight.old):
                return flight.old.value
            raise

    def _load(self, flight: "Flight", loader: "Callable[[], Any]", ttl: float, stale: float, retry: float) -> "Any":
        try:
            flight.enter()
            tier = self._tier
            value = loader() if tier is None else tier.fetch(self._shared_key(flight.key), loader, ttl)
            kind = type(value)
            if hasattr(kind, "__await__"):
                if hasattr(value, "close"):
                    value.close()
                raise TypeError(f"the loader of {flight.key!r} gave an awaitable: use get_or_load_async")
            if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
                _check_iterator(kind, flight.key)
            self._put(flight.key, value, ttl, stale, flight, flight.since)
        except Exception as error:
            self._failed(flight, error, retry)
            raise
        flight.value = value
        return value

    async def _load_async(
        self, flight: "Flight", loader: "Callable[[], Awaitable[Any]]", ttl: float, stale: float, retry: float
    ) -> "Any":
        try:
            flight.enter()
            tier = self._tier
            value = await (loader() if tier is None else tier.fetch_async(self._shared_key(flight.key), loader, ttl))
            kind = type(value)
            if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
                _check_iterator(kind, flight.key)
            self._put(flight.key, value, ttl, stale, flight, flight.since)
        except Exception as error:
            self._failed(flight, error, retry)
            raise
        flight.value = value
        return value

    def _failed(self, flight: "Flight", error: Exception, retry: float) -> None:
        """Note a load's exception for those who wait, and for `retry` seconds for those who come later."""
        from samovar.caching.flight import LoadCycle

        flight.fail(error)
        if not retry or isinstance(error, LoadCycle):
            return
        with self._lock:
            if find(self._flights, flight.key) is not flight:
                return
            old, now = find(self._entries, flight.key), self._read_both()
            if old is not None and type(old.value) is not Failure and now < old.dies:
                old.retry = now + retry
                return
            try:
                failure = Failure(error)
            except Exception:  # a class that cannot be copied
                return
            # Past its ttl from the first, and by more than the clocks may jitter: only _look gives it.
            self._put(flight.key, failure, -1.0, 1.0 + retry, flight)

    def land(self, flight: "Flight") -> None:
        """Take a flight out of those under way. Called again where a signal handler broke the first call off."""
        with self._lock:
            if flight.landed or flight.begun is None:
                return
            flights = self._flights
            if find(flights, flight.key) is flight:
                del flights[flight.key]
            elif flights:  # deleted or set meanwhile; or its key's hash has changed, and would leave it there for ever
                self._flights = findable(flights)
            self._loads += 1
            self._load_seconds += self._monotonic() - flight.begun
            if flight.value is MISSING:
                self._load_errors += 1
            flight.landed = True

    def forked(self) -> None:
        """Make the cache usable in a child process, where the threads that were loading or held the lock are not."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:  # somebody was in the middle of a change
            self._lock = RLock()
            self.clear()
        self._flights = {}
        if self._windows:
            for entry in self._entries.values():
                entry.refreshing = False

    # Refreshing what has gone stale, after the response.

    def _take_off(self, flight: "Flight") -> bool:
        """Whether a refresh is to load, as nobody else is loading the key or has stored it anew."""
        with self._lock:
            entry, now = self._entries.get(flight.key), self._read_both()
            if flight.key in self._flights or (entry is not None and now < entry.expires):
                return False
            self._begin(flight, now, True)
            return True

    def _refresh(
        self, old: Entry, key: "Hashable", loader: "Callable[[], Any]", ttl: float, stale: float, retry: float
    ) -> None:
        from samovar.caching.flight import Flight

        try:
            with Flight(self, key) as flight, flight:
                if self._take_off(flight):
                    self._load(flight, loader, ttl, stale, retry)
        except Exception as error:
            self._log_refresh(key, error)
        finally:
            old.refreshing = False

    async def _refresh_async(
        self,
        old: Entry,
        key: "Hashable",
        loader: "Callable[[], Awaitable[Any]]",
        ttl: float,
        stale: float,
        retry: float,
    ) -> None:
        from samovar.caching.flight import Flight

        try:
            with Flight(self, key) as flight, flight:
                if self._take_off(flight):
                    await self._load_async(flight, loader, ttl, stale, retry)
        except Exception as error:
            self._log_refresh(key, error)
        finally:
            old.refreshing = False

    def _defer_async(
        self,
        old: Entry,
        key: "Hashable",
        loader: "Callable[[], Awaitable[Any]]",
        ttl: float,
        stale: float,
        retry: float,
    ) -> None:
        """Queue a refresh that needs an event loop: the caller's own if it is still open by then, or a new one."""
        from samovar import aio

        _defer(aio.finisher(lambda: self._refresh_async(old, key, loader, ttl, stale, retry)))

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


def _check_iterator(kind: type, key: "Hashable") -> None:
    """Raises TypeError for what generator functions, `map` and their like give. An object that can do more than be
    iterated over, such as an open file, may be what is to be kept.
    """
    if kind.__module__ in ("builtins", "itertools"):
        raise TypeError(f"the loader of {key!r} gave a {kind.__name__}, to be gone through once only: give a list")


def _given(value: "Any") -> "Any":
    if type(value) is Failure:
        raise _copy(value.error)
    return value


def _copy(error: Exception) -> Exception:
    """An exception like this one without its traceback, cause and context, which hold all that the loader held."""
    kind = type(error)
    # A class of the user's may take other arguments than those that it hands to Exception.
    copy = kind(*error.__reduce__()[1]) if kind.__module__ == "builtins" else kind.__new__(kind, *error.args)
    copy.__dict__.update(error.__dict__)
    return copy


def find(held: "dict[Hashable, Held]", key: "Hashable") -> "Held | None":
    """Return what is held under a key that is not the caller's, who is not to get what its hash raises."""
    try:
        return held.get(key)
    except Exception:
        return None


def findable(held: "dict[Hashable, Held]") -> "dict[Hashable, Held]":
    """Return what its own key still finds, in the same order."""
    return {each.key: each for each in list(held.values()) if find(held, each.key) is each}


def _defer(f: "Callable[..., Any]", *args: "Any") -> None:
    from samovar import hooks

    hooks.defer(f, *args)


alive: "list[ref[TTLCache]]" = []


def _forked() -> None:
    for each in alive:
        if (cache := each()) is not None:
            cache.forked()


posix.register_at_fork(after_in_child=_forked)
