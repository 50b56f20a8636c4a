"""TTLCache as a user meets it: values, ttls, bounds, counters."""

import asyncio
import gc
import random
import tracemalloc
import weakref
from dataclasses import dataclass

import pytest

from samovar import cache, cached
from samovar.caching import TTLCache
from samovar.caching.entries import default_maxsize
from tests.threads import WITH_GIL


def test_a_value_is_there_until_its_ttl_ends(clocks):
    store = clocks.cache()
    store.set("a", 1, ttl=60)
    clocks.run(59.75)
    assert store.get("a") == 1
    assert "a" in store
    assert store.ttl("a") == 0.25
    clocks.run(0.25)
    assert store.get("a") is None
    assert store.get("a", 7) == 7
    assert "a" not in store
    assert store.ttl("a") is None


def test_none_is_a_value_like_any_other(clocks):
    store = clocks.cache()
    store.set("a", None, ttl=60)
    assert store.get("a", "default") is None
    assert "a" in store
    assert store.get_or_load("a", lambda: pytest.fail("there is a value")) is None
    assert store.get_or_load("b", lambda: None, ttl=60) is None
    assert store.get_or_load("b", lambda: pytest.fail("there is a value")) is None


def test_each_entry_has_its_own_ttl_and_the_cache_one_for_the_rest(clocks):
    store = clocks.cache(ttl=10)
    store.set("short", 1, ttl=1)
    store.set("own", 2)
    store.set("long", 3, ttl=100)
    clocks.run(1)
    assert list(store) == ["own", "long"]
    clocks.run(9)
    assert list(store) == ["long"]
    assert clocks.cache().get_or_load("a", lambda: 1) == 1


def test_without_a_ttl_an_entry_does_not_end(clocks):
    store = clocks.cache()
    store.set("a", 1)
    clocks.run(1e9)
    assert store.get("a") == 1
    assert store.ttl("a") == float("inf")


def test_touch_gives_a_value_its_time_again(clocks):
    store = clocks.cache()
    store.set("a", 1, ttl=10)
    clocks.run(9)
    assert store.touch("a")
    assert store.ttl("a") == 10
    assert store.touch("a", ttl=30)
    clocks.run(29)
    assert store.get("a") == 1
    clocks.run(1)
    assert not store.touch("a")
    assert not store.touch("b")
    assert "a" not in store


def test_delete_and_clear(clocks):
    store = clocks.cache()
    for key in "abc":
        store.set(key, key, ttl=5)
    assert store.delete("a")
    assert not store.delete("a")
    assert len(store) == 2
    store.clear()
    assert len(store) == 0
    assert list(store) == []
    store.set("d", 1, ttl=5)
    assert list(store) == ["d"]
    clocks.run(5)
    assert not store.delete("d")  # it had expired


def test_the_counters(clocks):
    store = clocks.cache(2, ttl=10)
    store.get("a")
    store.set("a", 1)
    store.get("a")
    store.set("b", 1)
    store.set("c", 1)
    clocks.run(10)

    def slow():
        clocks.run(2.5)
        return 1

    store.get_or_load("d", slow)
    with pytest.raises(KeyError):
        store.get_or_load("e", lambda: {}["x"])
    stats = store.stats()
    assert (stats.hits, stats.misses, stats.loads, stats.load_errors) == (1, 3, 2, 1)
    assert (stats.evictions, stats.expirations, stats.stale) == (1, 2, 0)
    assert (stats.load_seconds, stats.size, stats.maxsize) == (2.5, 1, 2)
    assert "load_errors=1" in repr(stats)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), "60", None])
def test_a_ttl_that_is_none_is_refused(clocks, ttl):
    store = clocks.cache()
    if ttl is None:
        return store.set("a", 1, ttl=None)
    with pytest.raises(ValueError, match=r"^ttl=.*more than 0"):
        store.set("a", 1, ttl=ttl)
    with pytest.raises(ValueError, match=r"^ttl="):
        TTLCache(ttl=ttl)
    with pytest.raises(ValueError, match=r"^ttl="):
        store.get_or_load("a", lambda: pytest.fail("not to be loaded"), ttl=ttl)
    with pytest.raises(ValueError, match=r"^ttl="):
        store.touch("a", ttl=ttl)
    assert len(store) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"maxsize": 0}, "maxsize=0: give a number of entries"),
        ({"maxsize": 1.5}, "maxsize=1.5"),
        ({"maxbytes": 10}, "maxbytes and sizeof go together"),
        ({"sizeof": len}, "maxbytes and sizeof go together"),
        ({"maxbytes": 0, "sizeof": len}, "maxbytes=0: give a number of bytes"),
        ({"tier": object()}, "needs a name="),
    ],
)
def test_bounds_that_are_none_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TTLCache(**arguments)


HUGE = pytest.param(10**400, id="10**400")  # an int that is no float


@pytest.mark.parametrize(
    "ttl", [HUGE, pytest.param(-(10**400), id="-10**400"), True, float("nan"), float("-inf"), "60", b"", [], 0]
)
@pytest.mark.parametrize(
    "call",
    [
        lambda store, ttl: store.set("bad", 1, ttl=ttl),
        lambda store, ttl: store.touch("a", ttl=ttl),
        lambda store, ttl: store.get_or_load("bad", lambda: pytest.fail("not to be loaded"), ttl),
        lambda store, ttl: asyncio.run(store.get_or_load_async("bad", lambda: pytest.fail("not to be loaded"), ttl)),
        lambda store, ttl: TTLCache(ttl=ttl),
        lambda store, ttl: cached(ttl=ttl),
    ],
    ids=["set", "touch", "get_or_load", "get_or_load_async", "TTLCache", "cached"],
)
def test_a_ttl_that_cannot_be_is_refused_by_every_way_in(clocks, call, ttl):
    store = clocks.cache(2)
    store.set("a", 1)
    with pytest.raises(ValueError, match=r"^ttl=.*more than 0"):
        call(store, ttl)
    for key in "bcd":
        store.set(key, 1, ttl=5)
    assert list(store) == ["c", "d"]


@pytest.mark.parametrize("name", ["stale", "retry"])
@pytest.mark.parametrize("value", [-1, HUGE, True, float("nan"), "60", None])
@pytest.mark.parametrize("ttl", [None, 60])
def test_other_times_that_cannot_be_are_refused_by_every_way_in(name, value, ttl):
    store = TTLCache()
    for call in (
        lambda **times: store.get_or_load("bad", lambda: pytest.fail("not to be loaded"), **times),
        lambda **times: asyncio.run(store.get_or_load_async("bad", lambda: pytest.fail("not to be loaded"), **times)),
        cached,
    ):
        with pytest.raises(ValueError, match=f"^{name}="):
            call(**{"ttl": ttl, name: value})
    with pytest.raises(ValueError, match=r"^on_error="):
        store.get_or_load("bad", lambda: pytest.fail("not to be loaded"), stale=1, on_error="ignore")


def test_times_without_end(clocks):
    store = clocks.cache()
    store.set("a", 1, ttl=float("inf"))
    store.get_or_load("b", lambda: 1, ttl=5, stale=float("inf"))
    clocks.run(1e9)
    assert store.get("a") == 1
    assert store.get_or_load("b", lambda: 2, ttl=5, stale=float("inf")) == 1


@pytest.mark.parametrize("size", [float("nan"), "10", None])
def test_a_size_that_is_none_changes_nothing(clocks, size):
    store = clocks.cache(maxbytes=10, sizeof=lambda value: 5 if value == "good" else size)
    store.set("a", "good")
    with pytest.raises((TypeError, ValueError)):
        store.set("a", "bad")
    store.set("b", "good")
    assert list(store) == ["a", "b"]


@pytest.mark.parametrize("maxbytes", [float("nan"), 1.5, "10", True])
def test_a_number_of_bytes_that_is_none_is_refused(maxbytes):
    with pytest.raises(ValueError, match="maxbytes="):
        TTLCache(maxbytes=maxbytes, sizeof=len)


# Keys whose hash changes


@dataclass(unsafe_hash=True)
class Point:
    x: object


def test_a_key_whose_hash_changes_ends(clocks):
    store = clocks.cache(3, ttl=10)
    points = [Point(x) for x in range(3)]
    values = [Value() for _ in points]
    gone = [weakref.ref(value) for value in values]
    for point, value in zip(points, values, strict=True):
        store.set(point, value)
    del values, value
    for point in points:
        point.x += 100
    for key in range(20):
        store.set(key, key)
        assert store.get(key) == key
        assert len(store) <= 3
    assert list(store) == [17, 18, 19]
    assert [ref() for ref in gone] == [None] * 3


def test_a_key_that_cannot_be_hashed_any_more_ends(clocks):
    store = clocks.cache(3, ttl=10, maxbytes=30, sizeof=lambda value: 10)
    point = Point(1)
    store.set(point, 1)
    point.x = []
    for key in range(5):
        store.set(key, key)
    clocks.run(10)
    assert store.get("nothing") is None
    for key in range(5):
        store.set(key, key, ttl=100)
    assert list(store) == [2, 3, 4]
    assert store.stats().size == 3


def test_a_key_that_has_become_another_one_does_not_take_it_along(clocks):
    store = clocks.cache(3)
    one, two = Point(1), Point(2)
    store.set(one, "one")
    store.set(two, "two")
    store.get(two)
    one.x = 2  # equal to two now, and kept at the hash of Point(1)
    store.set("a", 1)
    store.set("b", 1)
    assert store.get(Point(2)) == "two"
    assert len(store) == len(store._entries) <= 3
    for key in range(9):
        store.set(key, key)
    assert len(store._entries) == 3


def test_a_method_of_an_object_whose_hash_changes():
    """As under functools.lru_cache, other keys notice nothing."""

    @dataclass(unsafe_hash=True)
    class Table:
        name: str

        @cached(ttl=60, maxsize=3)
        def row(self, key):
            return self.name, key

    changing, other = Table("a"), Table("other")
    for i in range(20):
        assert changing.row(i) == (changing.name, i)
        changing.name += "b"
        assert other.row(i) == ("other", i)
    assert other.row.cache_info().size <= 3


# Eviction


def test_sieve_keeps_what_was_hit_and_its_hand_goes_on_where_it_stopped(clocks):
    """As in the paper's figure: the hand moves from the oldest towards the newest, and goes on where it stopped."""
    store = clocks.cache(4)
    for key in "abcd":
        store.set(key, key)
    store.get("a")
    store.get("c")
    store.set("e", 1)  # a is passed, its mark taken; b goes; the hand rests at c
    assert list(store) == ["a", "c", "d", "e"]
    store.set("f", 1)  # c is passed; d goes
    assert list(store) == ["a", "c", "e", "f"]
    store.set("g", 1)  # e goes
    store.set("h", 1)  # f goes
    assert list(store) == ["a", "c", "g", "h"]
    store.get("g")
    store.set("i", 1)  # g is passed; h goes, the newest
    assert list(store) == ["a", "c", "g", "i"]
    store.set("j", 1)  # the hand is round: a goes, its mark was taken before
    assert list(store) == ["c", "g", "i", "j"]


def test_when_all_were_hit_the_oldest_goes(clocks):
    store = clocks.cache(3)
    for key in "abc":
        store.set(key, 1)
        store.get(key)
    store.set("d", 1)
    assert list(store) == ["b", "c", "d"]


def test_the_hand_survives_that_its_entry_is_deleted(clocks):
    store = clocks.cache(3)
    for key in "abc":
        store.set(key, 1)
        store.get(key)
    store.set("d", 1)  # the hand rests at b
    store.delete("b")
    store.delete("c")
    store.delete("d")
    for key in "efgh":
        store.set(key, 1)
    assert list(store) == ["f", "g", "h"]


def test_expired_entries_leave_first(clocks):
    store = clocks.cache(3)
    store.set("old", 1)
    store.set("over", 1, ttl=1)
    store.set("young", 1, ttl=100)
    clocks.run(1)
    store.set("new", 1, ttl=100)
    assert list(store) == ["old", "young", "new"]
    assert (store.stats().evictions, store.stats().expirations) == (0, 1)


@pytest.mark.parametrize("again", [lambda store: store.set("a", 2, ttl=60), lambda store: store.touch("a", ttl=60)])
def test_what_has_got_more_time_does_not_end_when_it_first_would_have(clocks, again):
    store = clocks.cache()
    store.set("a", 1, ttl=1)
    again(store)
    clocks.run(2)
    assert store.get("another") is None
    assert len(store) == 1
    assert "a" in store
    assert store.stats().expirations == 0


def test_ends_in_any_order_are_found_in_theirs(clocks):
    """Also when what is void among them has been tidied away many times over."""
    store = clocks.cache(200)
    rng = random.Random(4)
    ends = {}
    for i in range(5000):
        key = rng.randrange(100)
        ends[key] = rng.randrange(1, 1000)
        store.set(key, i, ttl=ends[key])
    for second in range(1, 1001):
        clocks.run(1)
        assert store.stats().size == sum(end > second for end in ends.values())


def test_what_is_stored_again_needs_no_room(clocks):
    store = clocks.cache(2)
    store.set("a", 1)
    store.set("b", 1)
    store.set("a", 2)
    assert (store.get("a"), store.get("b")) == (2, 1)
    assert store.stats().evictions == 0


def test_bytes_are_bounded(clocks):
    store = clocks.cache(100, maxbytes=10, sizeof=len)
    store.set("a", b"1234")
    store.set("b", b"1234")
    store.get("a")
    store.set("c", b"1234")  # b has to go
    assert list(store) == ["a", "c"]
    store.set("d", b"12345678")  # both have to
    assert list(store) == ["d"]
    store.set("e", b"12345678901")  # larger than all of it: not kept, and nothing goes for it
    assert list(store) == ["d"]
    store.set("d", b"12345678901")  # nor is the old value left in its place
    assert list(store) == []
    assert store.get_or_load("f", lambda: b"12345678901") == b"12345678901"
    assert len(store) == 0
    store.set("g", b"1234567890")
    assert len(store) == 1
    with pytest.raises(ValueError, match="sizeof gave -1"):
        clocks.cache(maxbytes=10, sizeof=lambda value: -1).set("a", 1)


def test_the_default_bound_is_the_functions_memory(monkeypatch):
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")
    assert TTLCache().maxsize == default_maxsize() == 1769 * 64
    for unknown in ("", "0", "much"):
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", unknown)
        assert default_maxsize() == 8192
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    assert TTLCache().maxsize == 8192


# Memory


class Value:
    pass


def test_nothing_is_held_of_what_has_left(clocks):
    """By reference counts alone: the collector, which the runtime may put off, is not needed."""
    store = clocks.cache(2, ttl=10)
    values = [Value() for _ in range(7)]
    gone = [weakref.ref(value) for value in values]
    gc.disable()
    try:
        store.set(0, values[0])
        store.set(0, values[1])  # replaced
        store.delete(0)
        store.set(2, values[2])
        store.set(3, values[3])
        store.set(4, values[4])  # evicts 2
        clocks.run(10)
        store.set(5, values[5])  # 3 and 4 have expired
        store.set(6, values[6])
        store.clear()
        del values[:]
        assert [ref() for ref in gone] == [None] * 7
    finally:
        gc.enable()


@pytest.mark.parametrize("ttl_of", [lambda i: 60, lambda i: 60 + i % 977, lambda i: None], ids=["one", "many", "none"])
def test_churn_grows_no_memory(clocks, ttl_of):
    store = clocks.cache(500)

    def churn(begin, count):
        for i in range(begin, begin + count):
            store.set(i, i, ttl=ttl_of(i))
            store.get(i - 100)

    tracemalloc.start()
    peaks = []
    for begin, count in [(0, 6_000), (6_000, 18_000)]:  # each long enough for several rounds of tidying up
        tracemalloc.reset_peak()
        churn(begin, count)
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[1] < peaks[0] + 50_000  # a leak of a single pointer for each would be 144,000
    assert len(store) == 500
    assert len(store._ends) <= 3 * 500 + 17


def test_touching_again_and_again_grows_nothing(clocks):
    store = clocks.cache(10)
    store.set("a", 1, ttl=10)
    for _ in range(1000):
        store.touch("a")
    assert len(store._ends) < 24


def test_a_destructor_may_use_the_cache(clocks):
    store = clocks.cache(2)

    class Noisy:
        def __del__(self):
            store.set("last words", 1)
            store.get("x")
            store.delete("b")

    store.set("a", Noisy())
    store.set("b", 1)
    store.set("c", 1)
    store.set("d", 1)
    assert len(store) <= 2
    assert "d" in store or "last words" in store


# The default instance


def test_the_default_cache_is_a_cache_like_any_other():
    assert type(cache) is TTLCache
    cache.clear()
    cache.set("threshold", 5, ttl=300)
    assert cache.get("threshold", default=0) == 5
    assert cache.get("nothing", default=0) == 0
    assert "threshold" in cache
    assert "nothing" not in cache
    assert len(cache) == 1
    assert list(cache) == ["threshold"]
    assert 299 < cache.ttl("threshold") <= 300
    assert cache.touch("threshold")
    assert cache.get_or_load("threshold", lambda: pytest.fail("it is there")) == 5
    assert cache.delete("threshold")
    assert len(cache) == 0
    assert cache.stats().maxsize == TTLCache().maxsize
    with pytest.raises(AttributeError, match="nonsense"):
        cache.nonsense  # noqa: B018


def test_the_default_cache_is_made_when_first_used(monkeypatch):
    import os
    import subprocess
    import sys

    script = """
import samovar
from samovar import cached
assert "cache" not in vars(samovar)
from samovar import cache
assert samovar.cache is cache
assert cache.get("a", 3) == 3
print(cache.stats().maxsize)
"""
    env = {**os.environ, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"{256 * 64}\n"


def test_importing_the_cache_brings_nothing_else():
    """A function that keeps one value pays for it at every cold start: what is imported is part of the contract."""
    import subprocess
    import sys

    script = """
import sys
import os
before = set(sys.modules)
from samovar import cached, cache
@cached(ttl=60)
def f(x): return x
f.cache_info()
cache.set("a", 1, ttl=5); cache.get("a")
print(*sorted(set(sys.modules) - before))
f(1)
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    first, second = (set(line.split()) for line in done.stdout.splitlines())
    ours = {
        "samovar",
        "samovar.caching",
        "samovar.caching.decorator",
        "samovar.caching.entries",
        "samovar.caching.store",
        "samovar.environment",
        *(() if WITH_GIL else ("samovar.caching.free_threaded",)),
    }
    assert first == ours
    assert second - ours <= {"samovar.caching.flight", "samovar.caching.loading", "_contextvars"}


def test_no_single_caller_pays_for_all_that_has_expired(clocks):
    store = clocks.cache(100)
    values = [Value() for _ in range(50)]
    for i, value in enumerate(values):
        store.set(i, value, ttl=1)
    held = [weakref.ref(value) for value in values]
    del value, values
    clocks.run(1)
    left = [50]
    while left[-1]:
        store.get("nothing")
        left.append(sum(ref() is not None for ref in held))
        assert 1 < left[-2] - left[-1] < 10


def test_a_touched_value_is_kept_as_one_that_was_hit(clocks):
    store = clocks.cache(2)
    store.set("a", 1, ttl=60)
    store.set("b", 1, ttl=60)
    store.touch("a")
    store.set("c", 1, ttl=60)
    assert list(store) == ["a", "c"]
