"""A cache in an environment that was restored from a snapshot, whose clocks may have jumped in either direction."""

import threading

import pytest

from samovar import cached
from samovar.caching import TTLCache


@pytest.mark.parametrize("snapshot", ["drop", "keep"])
def test_what_has_a_ttl_is_dropped_unless_the_cache_keeps_it(clocks, snapshot):
    store = clocks.cache(snapshot=snapshot)
    store.set("a", 1, ttl=10)
    store.set("b", 2)
    store.restored()
    assert store.get("a") == (None if snapshot == "drop" else 1)
    assert store.get("b") == 2
    assert store.stats().size == (1 if snapshot == "drop" else 2)


def test_a_cache_goes_on_after_a_restore_within_its_bounds(clocks):
    store = clocks.cache(maxsize=4, maxbytes=40, sizeof=len)
    for key in range(4):
        store.set(key, "x" * 10, ttl=10 if key % 2 else None)
    store.restored()
    assert sorted(store) == [0, 2]
    for key in range(10, 20):
        store.set(key, "y" * 10, ttl=10)
    assert len(store) == 4
    assert store.stats().evictions == 8


@pytest.mark.parametrize("jump", [-5_000.0, -1.0, 0.0, 1.0, 1_000_000.0])
def test_what_is_kept_ages_by_wall_time_however_the_monotonic_clock_has_jumped(clocks, jump):
    store = clocks.cache(snapshot="keep")
    store.set("a", 1, ttl=10)
    clocks.wall += 4
    clocks.monotonic += jump
    store.restored()
    assert store.ttl("a") == 6
    clocks.run(5.75)
    assert store.get("a") == 1
    clocks.run(0.25)
    assert store.get("a") is None


@pytest.mark.parametrize("jump", [-5_000.0, 1_000_000.0])
def test_what_is_stored_after_a_restore_lives_for_its_ttl_however_the_clock_has_jumped(clocks, jump):
    store = clocks.cache()
    clocks.monotonic += jump
    store.restored()
    store.set("a", 1, ttl=10)
    clocks.run(9.75)
    assert store.get("a") == 1
    clocks.run(0.25)
    assert store.get("a") is None


def test_stale_values_and_failures_are_dropped_too(clocks, runtime):
    store = clocks.cache()
    store.get_or_load("stale", lambda: "old", ttl=10, stale=1000)
    with pytest.raises(ZeroDivisionError):
        store.get_or_load("failed", lambda: 1 / 0, retry=1000)
    clocks.run(11)
    store.restored()
    assert store.get_or_load("stale", lambda: "new", ttl=10, stale=1000) == "new"
    assert store.get_or_load("failed", lambda: "fine", retry=1000) == "fine"


def test_a_load_that_began_before_the_snapshot_is_not_stored(clocks):
    store = clocks.cache(ttl=10)
    begun, restored = threading.Event(), threading.Event()
    got = []

    def load():
        begun.set()
        restored.wait()
        return "of before"

    thread = threading.Thread(target=lambda: got.append(store.get_or_load("a", load)))
    thread.start()
    begun.wait()
    store.restored()
    restored.set()
    thread.join()
    assert got == ["of before"]
    assert store.get("a") is None


def test_a_destructor_of_what_is_dropped_may_use_the_cache(clocks):
    store = clocks.cache()

    class Held:
        def __del__(self):
            store.set("said", "gone")

    store.set("a", Held(), ttl=10)
    store.restored()
    assert store.get("said") == "gone"


def test_another_value_for_snapshot_is_refused():
    with pytest.raises(ValueError, match='snapshot=\'yes\': give "drop" or "keep"'):
        TTLCache(snapshot="yes")
    with pytest.raises(ValueError, match="snapshot=True: give"):
        cached(ttl=1, snapshot=True)(len)
