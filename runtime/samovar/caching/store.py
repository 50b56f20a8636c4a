"""The TTL cache: a dict of entries, a ring of them in SIEVE's order, and a heap of their ends.

Lives in the environment's memory, and so lasts as long as the environment. Knows clocks and entries; loading.py, which
it imports at the first load, does the rest. Does not know the decorator.

Two clocks, one read. A frozen environment's monotonic clock may stand still while wall time passes, and wall time may
be set back, so an entry ends when either clock says so. The cache's own time is wall time plus a shift, which grows by
as much as the wall clock is found to have been set back. A hit reads the wall clock alone, which shows a freeze at
once. Both clocks are read, and the shift is adjusted, when wall time is outside the WINDOW that follows the last
reading of both, after TRUSTED hits, and by everything but a hit and a `set`. The price: wall time that is set back by
less than 10 ms, is set back into these 10 ms, or stands still in them, is noticed up to TRUSTED hits late.
CLOCK_BOOTTIME does not help: it counts the machine's own suspend, but a virtual machine that its host pauses, or
restores from a snapshot, never sees one.

Threads. A hit takes no lock: it reads the dict, the tuple of the clock and the entry, each in one step; an entry's key
and value never change. Everything else holds the lock. Without the GIL, free_threaded.py has what a hit does.

The dict is the truth; ring and heap follow it. A key's hash may change while it is held, and a signal handler may raise
in the middle of a change: when that shows, the ring is made anew from the dict.
"""

import posix
import sys
from _weakref import ref
from time import monotonic, time

from samovar.caching.entries import (
    FOREVER,
    MISSING,
    TRUSTED,
    Entry,
    Failure,
    Stats,
    Terms,
    check_ttl,
    default_maxsize,
    find,
    findable,
    lock,
)
from samovar.environment import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterator
    from typing import Any

    from samovar.caching.entries import Clocks, OnError, OnRestore, Tier
    from samovar.caching.flight import Flight

WINDOW = 0.010  # s; for how long a reading of both clocks is good, and by what they may differ unless one has been set


class Clock:
    """A cache's own time, by a wall clock and a monotonic clock.

    The cache is a clock instead of having one, because another object on the way would make a hit 3 % slower.

    _window   between the first two numbers wall time is trusted; the third is the shift
    _left     hits for which the last reading is still good
    _trusted  hits for which earlier readings were good
    _found    without the GIL: an item for each hit since the last reading
    """

    __slots__ = ("_found", "_lead", "_left", "_monotonic", "_trusted", "_wall", "_window")

    def __init__(self, clocks: "Clocks") -> None:
        self._wall, self._monotonic = clocks
        wall = self._wall()
        self._lead = wall - self._monotonic()  # of the wall clock over the other one
        self._window = (wall, wall + WINDOW, 0.0)
        self._left = TRUSTED
        self._trusted = 0
        self._found: list[None] = []

    def _read_both(self) -> float:
        """Read both clocks, note their relation, and return the time. The caller holds the lock."""
        wall = self._wall()
        lead = wall - self._monotonic()
        shift = self._window[2]
        if lead > self._lead:  # frozen, or the wall clock set forward: time is what the wall clock says
            self._lead = lead
        elif self._lead - lead > WINDOW:  # set back: time goes on by the monotonic clock
            shift += self._lead - lead
            self._lead = lead
        self._window = (wall, wall + WINDOW, shift)
        left, self._left = self._left, TRUSTED
        self._trusted += TRUSTED - left
        return wall + shift

    def _hits(self) -> int:
        """Return how many hits it was trusted for."""
        return self._trusted + TRUSTED - self._left


class TTLCache(Clock):
    """Keeps values for their ttl, within a bound, until the environment ends. Keys are hashable; None is a value.

    Args:
        maxsize: entries at most; by default 64 for each MB of AWS_LAMBDA_FUNCTION_MEMORY_SIZE.
        ttl: seconds an entry lives that is stored without a ttl of its own; by default it does not end.
        maxbytes: bytes at most, by `sizeof(value)`; a larger value is not kept.
        sizeof: a function that returns a value's size in bytes.
        tier: a second tier, shared by environments (samovar.caching.redis_tier), which get_or_load reads and writes.
        name: tells this cache's keys from others' in the tier, and names it in the log.
        snapshot: with SnapStart, "keep" keeps entries that have a ttl over a restore; by default they are dropped, as
            they may be hours old.
        clocks: wall time and a monotonic clock, both in seconds, for tests that move them.

    Raises:
        ValueError: for an argument that cannot be.
    """

    __slots__ = (
        "__weakref__",
        "_bytes",
        "_counts",
        "_ends",
        "_entries",
        "_flights",
        "_hand",
        "_keeps",
        "_root",
        "_sizeof",
        "_stamp",
        "_tier",
        "_ttl",
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
        snapshot: "OnRestore" = "drop",
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
        if snapshot not in ("drop", "keep"):
            raise ValueError(f'snapshot={snapshot!r}: give "drop" or "keep"')
        self.maxsize = maxsize
        self.maxbytes = maxbytes
        self.name = name
        self.reported: tuple[float, ...] = (0.0,) * 5  # the values of `counters` already reported, negated
        self._sizeof = sizeof
        self._ttl = check_ttl(ttl)
        self._tier = tier
        self._keeps = snapshot == "keep"
        super().__init__(clocks)
        self._counts = Stats()
        self._entries: dict[Hashable, Entry] = {}
        self._ends: list[tuple[float, int, Hashable]] = []  # a heap; a tuple whose stamp is not its entry's is void
        self._stamp = 0
        self._bytes = 0
        self._windows = False  # whether any entry was ever stored with a stale time
        self._root = self._hand = Entry()  # closes SIEVE's ring: root.newer is the oldest entry, root.older the newest
        self._root.newer = self._root.older = self._root
        self._root.key = MISSING  # if the ring is empty and the dict is not, the root is what gets evicted
        self._root.seen = False
        self._whole = True  # False while the ring is being changed, and so after a change that was broken off
        self._flights: dict[Hashable, Flight] = {}
        alive.append(ref(self, alive.remove))

    # The hit path. What `get` does is here, and for a Python without the GIL in free_threaded.py.

    def get(self, key: "Hashable", default: "Any" = None) -> "Any":
        """Return the value under `key`, or `default` if there is none or its ttl has passed."""
        entry = self._entries.get(key)
        if entry is not None:
            wall = self._wall()
            low, high, shift = self._window
            if low < wall and wall < high and (left := self._left):  # in a chain the comparisons take 3 % longer
                if wall + shift < entry.expires:
                    entry.seen = True
                    self._left = left - 1
                    return entry.value
            elif self._read_both() < entry.expires:
                entry.seen = True
                self._left -= 1
                return entry.value
        if default is not MISSING:
            self._missed()
        return default

    def _missed(self) -> None:
        """Count a miss, and drop what has expired."""
        with lock:
            self._counts.misses += 1
            now = self._read_both()
            if self._ends and self._ends[0][0] <= now:
                self._expire(now)

    # Storing and taking out.

    def set(self, key: "Hashable", value: "Any", ttl: float | None = None) -> None:
        """Store `value` for `ttl` seconds instead of what was there; by default for the cache's own ttl.

        A load of this key that is under way is not stored, because this value is newer; those that wait for it get it.

        Raises:
            ValueError: for a ttl that cannot be.
            TypeError: for a key that cannot be hashed.
        """
        self._put(key, value, self._ttl if ttl is None else check_ttl(ttl), 0.0, None)

    def _put(self, key: "Hashable", value: "Any", ttl: float, stale: float, flight: "Flight | None") -> None:
        """Store a value. One that a load brought (`flight`) ages from when the load began, and is stored only if the
        key was not set, deleted or cleared meanwhile.
        """
        size, limit = 0, self.maxbytes
        if limit is not None and type(value) is not Failure:
            size = self._sizeof(value)  # type: ignore[misc]
            if not size >= 0:
                raise ValueError(f"sizeof gave {size!r} for the value of {key!r}: give its size in bytes, 0 or more")
        entry = Entry()
        entry.key = key
        entry.value = value
        entry.ttl = ttl
        entry.stale = stale
        entry.size = size
        entry.seen = False
        gone: Any = None  # pairs, so that no value's destructor runs while the ring is changed; a list takes 3 % longer
        with lock:  # what may raise comes before the first change
            if flight is not None and self._flights.get(key) is not flight:
                return
            wall = self._wall()
            low, high, shift = self._window
            now = wall + shift if low < wall < high else self._read_both()
            old = self._entries.get(key)
            if flight is None:
                self._date(entry, now)
                if self._flights:
                    self._flights.pop(key, None)
            else:
                self._date(entry, flight.since)
            if not self._whole:
                self._mend()
            self._whole = False
            if old is not None:
                gone = self._unlink(old), gone
                entry.seen = True  # re-storing counts as a hit, as in the SIEVE reference implementation
            ends = self._ends
            if ends and ends[0][0] <= now:
                gone = self._expire(now), gone
            if entry.dies > now and (limit is None or size <= limit):  # a load may take longer than its value may live
                if limit is not None:
                    while self._bytes + size > limit:
                        gone = self._evict(), gone
                while len(self._entries) >= self.maxsize:
                    gone = self._evict(), gone
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
            held = self._entries.values()
            stamps = {each.stamp for each in held}
            valid = [end for end in ends if end[1] in stamps]
            if len(valid) < len(held):  # some have no end, or lost it when a change was broken off
                valid = [(each.dies, each.stamp, each.key) for each in held if each.dies < FOREVER]
            ends[:] = sorted(valid)
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
            if not size or ends[(size - 1) >> 1] <= end:  # as always with one ttl for all: it is a heap already
                ends.append(end)
            else:
                from _heapq import heappush  # an extension module, so not at the top

                heappush(ends, end)

    def _unlink(self, entry: Entry) -> Entry:
        """Take an entry out of dict and ring. The caller sets `_whole` to False before, and back after it."""
        try:
            found = self._entries.pop(entry.key)
        except Exception:
            found = None
        if found is not entry:
            return self._restore(entry, found)
        older = entry.older
        older.newer = newer = entry.newer
        newer.older = older
        if self._hand is entry:
            self._hand = newer
        if entry.size:
            self._bytes -= entry.size
        return entry

    def _restore(self, entry: Entry, found: Entry | None) -> Entry:
        """Put back what was taken out instead of an entry: its key's hash has changed, or the ring was broken."""
        if found is not None:
            self._entries[found.key] = found
        self._mend()
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

    def _evict(self) -> Entry:
        """SIEVE (Zhang et al., NSDI 2024): from the hand towards the newer, the first not hit since the hand passed."""
        root = self._root
        entry = self._hand if self._hand is not root else root.newer
        while entry.seen:
            entry.seen = False
            entry = entry.newer if entry.newer is not root else root.newer
        self._hand = entry.newer
        self._counts.evictions += 1
        try:  # what `_unlink` does: calling it takes 3 % of a `set`
            found = self._entries.pop(entry.key)
        except Exception:
            found = None
        if found is not entry:
            return self._restore(entry, found)
        older = entry.older
        older.newer = newer = entry.newer
        newer.older = older
        if entry.size:
            self._bytes -= entry.size
        return entry

    def _expire(self, now: float, limit: int = 4) -> "list[Entry]":
        """Take out what has ended, the earliest first, and return it; `limit` of them, so that no single caller pays
        for all.
        """
        gone: list[Entry] = []
        ends = self._ends
        while ends and ends[0][0] <= now and limit:
            from _heapq import heappop

            _, stamp, key = heappop(ends)
            entry = find(self._entries, key)
            if entry is not None and entry.stamp == stamp:
                gone.append(self._take_out(entry))
                self._counts.expirations += 1
                limit -= 1
        return gone

    def _take_out(self, entry: Entry) -> Entry:
        """Take an entry out of dict and ring; a ring that is broken stays marked so."""
        whole, self._whole = self._whole, False
        self._unlink(entry)
        self._whole = whole
        return entry

    def delete(self, key: "Hashable") -> bool:
        """Take `key` out, of the second tier as well. A load of it under way is not stored.

        Returns:
            Whether there was a fresh value here.
        """
        with lock:
            self._flights.pop(key, None)
            entry = self._entries.get(key)
            there = entry is not None and self._read_both() < entry.expires
            if entry is not None:
                self._take_out(entry)
        if self._tier is not None:
            self._tier.delete(self._shared_key(key))
        return there

    def touch(self, key: "Hashable", ttl: float | None = None) -> bool:
        """Let the value live for `ttl` seconds from now; by default for its own ttl again.

        Returns:
            Whether there was a fresh value.

        Raises:
            ValueError: for a ttl that cannot be.
        """
        seconds = check_ttl(ttl)
        with lock:
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
        """Return the seconds that the value has left: infinite if it was stored without end, None if there is none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        with lock:
            left = entry.expires - self._read_both()
        return left if left > 0 else None

    def clear(self) -> None:
        """Take out everything here; the second tier and the counters stay. Loads under way are not stored."""
        with lock:
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
        with lock:
            now = self._read_both()
            return [key for key, entry in self._entries.items() if now < entry.expires]

    def __iter__(self) -> "Iterator[Hashable]":
        """Iterate over the keys that have not expired, as they are now."""
        return iter(self._fresh())

    def __len__(self) -> int:
        """Return how many entries have not expired."""
        with lock:
            self._expire(self._read_both(), limit=sys.maxsize)
            return len(self._fresh()) if self._windows else len(self._entries)

    def stats(self) -> Stats:
        """Return the counters since the cache was made, and its size: entries held, stale ones included."""
        stats = Stats()
        with lock:
            self._expire(self._read_both(), limit=sys.maxsize)
            for name in Stats.__slots__:
                setattr(stats, name, getattr(self._counts, name))
            stats.hits += self._hits()
            stats.size = len(self._entries)
            stats.maxsize = self.maxsize
        return stats

    def counters(self) -> "tuple[float, ...]":
        """Return what the metrics report: hits, misses, stale values served, loads, milliseconds spent loading."""
        counts = self._counts
        with lock:
            hits = counts.hits + self._hits()
            return hits, counts.misses, counts.stale, counts.loads, counts.load_seconds * 1000

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
        """Return the value under `key`, or what `loader()` gives, and keep that.

        Callers that come while it is being loaded, in any thread, wait and get its value or its exception.

        Args:
            key: hashable.
            loader: a function without parameters.
            ttl: seconds that the value lives, counted from when it began to load; by default the cache's own ttl.
            stale: seconds after the ttl in which a caller gets the old value at once, and one refresh is deferred until
                after the response. A refresh that fails is logged, and the old value stays until this time is over.
            on_error: with "stale", a caller in that time loads, and gets the old value if that fails.
            retry: seconds in which a load that failed is not tried again: callers get the old value while `stale`
                allows it, or else the same exception (a copy, without its traceback). By default each caller loads.

        Raises:
            LoadCycle: if the loader asks for its own key, directly or through other loaders.
            TypeError: if the loader gives an iterator or an awaitable.
            ValueError: for an argument that cannot be.
            Exception: what the loader raises.
        """
        value = self.get(key, MISSING)
        if value is not MISSING:
            return value
        return self._load(key, loader, Terms(self._ttl if ttl is None else ttl, stale, on_error, retry))

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
        """Do what `get_or_load` does, for a coroutine function: waiting holds up neither the event loop nor other keys.

        The load is part of the first caller's task: if that is cancelled, one of the callers that wait loads instead.
        """
        value = self.get(key, MISSING)
        if value is not MISSING:
            return value
        return await self._load_async(key, loader, Terms(self._ttl if ttl is None else ttl, stale, on_error, retry))

    def _load(self, key: "Hashable", loader: "Callable[[], Any]", terms: Terms) -> "Any":
        """Do what `get_or_load` does once `get` has found nothing; for `cached`."""
        return (_loading or _import_loading()).load(self, key, loader, terms)

    def _load_async(self, key: "Hashable", loader: "Callable[[], Awaitable[Any]]", terms: Terms) -> "Awaitable[Any]":
        """Do what `load` does, for a coroutine function."""
        awaitable: Awaitable[Any] = (_loading or _import_loading()).load_async(self, key, loader, terms)
        return awaitable

    def _shared_key(self, key: "Hashable") -> str:
        """Return the key in the second tier."""
        _check_shared(key)
        return f"{self.name}:{key!r}"

    def forked(self, changing: bool) -> None:
        """Make the cache usable in a child process, which does not have the threads that were loading.

        changing: whether such a thread was in the middle of a change, of this cache or another one.
        """
        if changing:
            self.clear()
        self._flights = {}
        if self._windows:
            for entry in self._entries.values():
                entry.refreshing = False

    def restored(self) -> None:
        """Take out what has a ttl, unless the cache keeps it, in an environment restored from a snapshot."""
        gone = []
        with lock:
            wall = self._wall()
            self._lead = wall - self._monotonic()  # which another machine may count from another start
            self._window = (wall, wall + WINDOW, self._window[2])
            if not self._keeps:
                self._flights.clear()
                for entry in [each for each in self._entries.values() if each.expires < FOREVER]:
                    gone.append(self._take_out(entry))


if not getattr(sys, "_is_gil_enabled", lambda: True)():
    from samovar.caching import free_threaded

    free_threaded.put_into(TTLCache)


_SHARED_TYPES = (str, bytes, int, float, bool, type(None))


def _check_shared(key: "Hashable") -> None:
    """Raise TypeError for a key whose repr differs between environments, such as an object's with its address in it."""
    if type(key) is tuple:
        for part in key:
            _check_shared(part)
    elif type(key) not in _SHARED_TYPES:
        raise TypeError(
            f"{key!r} cannot be part of a key in the second tier, where it must read the same in every environment: "
            "use str, bytes, int, float, bool, None or tuples of them, or have key= make one"
        )


_loading: "Any" = None  # the module, from the first load on


def _import_loading() -> "Any":
    """Import loading.py once: an import statement costs 0.3 us at every load."""
    global _loading
    from samovar.caching import loading

    _loading = loading
    return loading


alive: "list[ref[TTLCache]]" = []  # all caches that there are


def _forked() -> None:
    if changing := not lock.acquire(blocking=False):
        lock._at_fork_reinit()  # type: ignore[attr-defined]
    else:
        lock.release()
    for each in alive:
        if (cache := each()) is not None:
            cache.forked(changing)


def _restored() -> None:
    for each in list(alive):
        if (cache := each()) is not None:
            cache.restored()


posix.register_at_fork(after_in_child=_forked)
environment.at_restore.append(_restored)
