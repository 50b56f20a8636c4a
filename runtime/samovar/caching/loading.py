"""Loading what a cache does not hold: one load at a time for a key, and refreshes after the response.

Imported at the first load. Each step is written once, for threads and for tasks; `load` and `refresh` put the steps in
order, and so do their async twins. Knows entries, flights, the second tier, and of the runtime only `hooks`, `aio` and
the log, which it imports when a value is stale; knows nothing of the ring and the heap.
"""

from samovar.caching.entries import MISSING, Failure, find, lock
from samovar.caching.flight import Flight, LoadCycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable
    from typing import Any

    from samovar.caching.entries import Entry, Terms
    from samovar.caching.store import TTLCache

# What cannot be an awaitable or an iterator: looking for the methods of these takes 0.2 us for each value.
_PLAIN = frozenset((bool, bytes, dict, float, frozenset, int, list, set, str, tuple, type(None)))


def load(cache: "TTLCache", key: "Hashable", loader: "Callable[[], Any]", terms: "Terms") -> "Any":
    """Return a value that was not found fresh. Raises what the loader does, or LoadCycle."""
    with Flight(cache, key, terms) as flight, flight:
        while True:
            try:
                value = _look(cache, flight)
                if value is not MISSING:
                    break
                value = flight.wait() if flight.joined else _loaded(cache, flight, _call(cache, flight, loader))
            except Exception as error:
                if not _old_serves(cache, flight, error):
                    raise
                value = flight.old.value  # type: ignore[union-attr]
            if value is not MISSING:
                return value
        if flight.refreshes is not None:
            from samovar import hooks

            hooks.defer(refresh, cache, flight.refreshes, key, loader, terms)
            flight.refreshes = None
        return _given(value)


async def load_async(
    cache: "TTLCache", key: "Hashable", loader: "Callable[[], Awaitable[Any]]", terms: "Terms"
) -> "Any":
    """Do what `load` does, for a coroutine function."""
    with Flight(cache, key, terms) as flight, flight:
        while True:
            try:
                value = _look(cache, flight)
                if value is not MISSING:
                    break
                if flight.joined:
                    value = await flight.wait_async()
                else:
                    value = _loaded(cache, flight, await _call_async(cache, flight, loader))
            except Exception as error:
                if not _old_serves(cache, flight, error):
                    raise
                value = flight.old.value  # type: ignore[union-attr]
            if value is not MISSING:
                return value
        if flight.refreshes is not None:
            from samovar import aio, hooks

            again = flight.refreshes
            # On the caller's own event loop if that is still open by then, or on a new one.
            hooks.defer(aio.finisher(lambda: refresh_async(cache, again, key, loader, terms)))
            flight.refreshes = None
        return _given(value)


def _look(cache: "TTLCache", flight: Flight) -> "Any":
    """Return what there is for a caller that found nothing fresh: a value, or a Failure.

    MISSING: `flight` has joined another one, or is to load. If it has an entry to refresh, the refresh is to be queued.
    """
    key, terms, counts = flight.key, flight.terms, cache._counts
    with lock:
        now = cache._read_both()
        entry = cache._entries.get(key)
        other = cache._flights.get(key)
        if entry is not None:
            if now < entry.expires:  # stored a moment ago
                counts.hits += 1
                return entry.value
            if type(entry.value) is Failure:
                if now < entry.dies:
                    counts.misses += not flight.counted
                    return entry.value
                entry = None
            elif now >= min(entry.dies, entry.expires + terms.stale):
                entry = None
            elif terms.on_error != "stale" or now < entry.retry:
                counts.stale += 1
                entry.seen = True
                if terms.on_error != "stale" and not entry.refreshing and other is None and now >= entry.retry:
                    flight.refreshes = entry
                    entry.refreshing = True
                return entry.value
        if not flight.counted:
            flight.counted = True
            counts.misses += 1
            cache._expire(now)
        if other is None or not flight.join(other):
            flight.begin(cache, now, other is None)
        flight.old = entry
        return MISSING


def _given(value: "Any") -> "Any":
    if type(value) is Failure:
        raise value.copy()
    return value


def _call(cache: "TTLCache", flight: Flight, loader: "Callable[[], Any]") -> "Any":
    flight.enter()
    tier = cache._tier
    value = loader() if tier is None else tier.fetch(cache._shared_key(flight.key), loader, flight.terms.ttl)
    if type(value) not in _PLAIN and hasattr(type(value), "__await__"):
        if hasattr(value, "close"):
            value.close()
        raise TypeError(f"the loader of {flight.key!r} gave an awaitable: use get_or_load_async")
    return value


def _call_async(cache: "TTLCache", flight: Flight, loader: "Callable[[], Awaitable[Any]]") -> "Awaitable[Any]":
    flight.enter()
    tier = cache._tier
    return loader() if tier is None else tier.fetch_async(cache._shared_key(flight.key), loader, flight.terms.ttl)


def _loaded(cache: "TTLCache", flight: Flight, value: "Any") -> "Any":
    """Store what the loader gave, and return it. Raises TypeError for an iterator."""
    kind = type(value)
    if kind not in _PLAIN and _is_iterator(kind):
        raise TypeError(
            f"the loader of {flight.key!r} gave a {kind.__name__}, which can be iterated over only once: give a list"
        )
    cache._put(flight.key, value, flight.terms.ttl, flight.terms.stale, flight)
    flight.value = value
    return value


def _is_iterator(kind: type) -> bool:
    """Return whether it is what generator functions, `map` and the like give. An object that can do more than be
    iterated over, such as an open file, may be meant to be kept.
    """
    return kind.__module__ in ("builtins", "itertools") and (hasattr(kind, "__next__") or hasattr(kind, "__anext__"))


def _old_serves(cache: "TTLCache", flight: Flight, error: Exception) -> bool:
    """Note a load's failure, and return whether the caller gets the old value instead."""
    if flight.begun is not None:
        _note(cache, flight, error)
    if flight.old is None:
        return False
    with lock:
        if cache._read_both() >= flight.old.dies:
            return False
        cache._counts.stale += 1
        return True


def _note(cache: "TTLCache", flight: Flight, error: Exception) -> None:
    """Note a load's exception for the callers that wait, and for `retry` seconds for those that come later."""
    flight.fail(error)
    retry = flight.terms.retry
    if not retry or isinstance(error, LoadCycle):
        return
    try:
        failure = Failure(error)
    except Exception:  # a class that cannot be copied
        failure = None
    with lock:
        if find(cache._flights, flight.key) is not flight:
            return
        old, now = find(cache._entries, flight.key), cache._read_both()
        if old is not None and type(old.value) is not Failure and now < old.dies:
            old.retry = now + retry
        elif failure is not None:
            flight.since = now
            # Past its ttl from the first, and by more than the clocks may jitter: only _look gives it.
            cache._put(flight.key, failure, -1.0, 1.0 + retry, flight)


# Refreshing a stale value, after the response.


def refresh(cache: "TTLCache", old: "Entry", key: "Hashable", loader: "Callable[[], Any]", terms: "Terms") -> None:
    """Load a stale value anew. A failure is logged."""
    try:
        with Flight(cache, key, terms) as flight, flight:
            try:
                if _take_off(cache, flight):
                    _loaded(cache, flight, _call(cache, flight, loader))
            except Exception as error:
                _refresh_failed(cache, flight, error)
    finally:
        old.refreshing = False


async def refresh_async(
    cache: "TTLCache", old: "Entry", key: "Hashable", loader: "Callable[[], Awaitable[Any]]", terms: "Terms"
) -> None:
    """Do what `refresh` does, for a coroutine function."""
    try:
        with Flight(cache, key, terms) as flight, flight:
            try:
                if _take_off(cache, flight):
                    _loaded(cache, flight, await _call_async(cache, flight, loader))
            except Exception as error:
                _refresh_failed(cache, flight, error)
    finally:
        old.refreshing = False


def _take_off(cache: "TTLCache", flight: Flight) -> bool:
    """Begin a refresh, and return True, unless another caller is loading the key or has stored it."""
    with lock:
        entry, now = cache._entries.get(flight.key), cache._read_both()
        if flight.key in cache._flights or (entry is not None and now < entry.expires):
            return False
        flight.begin(cache, now, True)
        return True


def _refresh_failed(cache: "TTLCache", flight: Flight, error: Exception) -> None:
    from samovar import logs

    _note(cache, flight, error)
    what = f"{cache.name}: the refresh of {flight.key!r}" if cache.name else f"The refresh of {flight.key!r}"
    logs.record(
        "WARNING",
        f"{what} failed, the old value serves until its stale time is over: {type(error).__name__}: {error}",
    )
