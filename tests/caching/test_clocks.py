"""An entry ends when either clock says so, whatever else the clocks do. Every case moves clocks; none sleeps."""

import time

import pytest

from samovar.caching import TTLCache
from samovar.caching.entries import TRUSTED
from samovar.caching.store import WINDOW
from tests.caching.clock import Clocks

# How much each clock moves, in seconds, while 10 s of ttl run; and whether the entry is then over.
MOVES = [
    (0, 0, False),
    (9.75, 9.75, False),
    (10, 10, True),
    (10, 0, True),  # frozen: the monotonic clock stood still
    (3600, 0, True),
    (9.75, 0, False),
    (0, 9.75, False),
    (0, 10, True),  # wall time set back by just as much as has passed
    (-3600, 0, False),
    (-3600, 9.75, False),
    (-3600, 10, True),
    (-3600, 3600, True),
    (3600, 9, True),  # wall time set forward: it says so, so it is over
    (WINDOW / 2, WINDOW / 2, False),
]


@pytest.mark.parametrize(("wall", "monotonic", "over"), MOVES)
def test_each_clock_alone_and_both_together(clocks, wall, monotonic, over):
    store = clocks.cache()
    store.set("a", 1, ttl=10)
    clocks.wall += wall
    clocks.monotonic += monotonic
    assert ("a" not in store) is over
    assert (store.get("a") is None) is over
    assert (store.get_or_load("a", lambda: 2, ttl=10) == 2) is over


@pytest.mark.parametrize(
    "steps", [[(5, 0), (0, 5)], [(0, 5), (5, 0)], [(5, 5), (-5, 5)], [(-20, 5), (20, 5)], [(-9, 0), (1, 10)]]
)
def test_ends_that_add_up_over_several_readings(clocks, steps):
    """Time that one clock saw pass before a reading is not lost to what the other one sees after it."""
    store = clocks.cache()
    store.set("a", 1, ttl=10)
    for at, (wall, monotonic) in enumerate(steps):
        assert store.get("a") == 1, at
        clocks.wall += wall
        clocks.monotonic += monotonic
    assert store.get("a") is None


def test_wall_time_set_back_does_not_lengthen_a_life(clocks):
    store = clocks.cache()
    store.set("a", 1, ttl=10)
    for second in range(10):
        assert store.get("a") == 1, second
        clocks.monotonic += 1
        clocks.wall += 1 - 3600  # set back by an hour, every second
    assert store.get("a") is None


def test_new_entries_live_their_ttl_whatever_the_clocks_did_before(clocks):
    store = clocks.cache()
    for wall, monotonic in [(-3600, 1), (7200, 0), (0, 500), (-1, -1), (3600, 3600)]:
        clocks.wall += wall
        clocks.monotonic += monotonic
        store.set("a", 1, ttl=10)
        assert store.ttl("a") == 10
        clocks.run(9.75)
        assert store.get("a") == 1
        clocks.run(0.25)
        assert store.get("a") is None


def test_a_clock_set_back_by_little_is_made_good_in_full(clocks):
    """Steps too small to be told from the jitter of two readings must not add up to a longer life."""
    store = clocks.cache()
    store.set("a", 1, ttl=10)
    for _ in range(1000):
        clocks.monotonic += 1 / 64
        clocks.wall += 1 / 128
        if store.get("a") is None:
            break
    assert 10 <= clocks.monotonic - 5000 <= 10 + WINDOW + 1 / 32


def test_one_read_of_a_clock_on_the_common_path():
    reads = []
    clocks = Clocks()

    def wall():
        reads.append("wall")
        return clocks.wall

    def monotonic():
        reads.append("monotonic")
        return clocks.monotonic

    store = TTLCache(clocks=(wall, monotonic))
    store.set("a", 1, ttl=60)
    clocks.run(WINDOW / 4)
    del reads[:]
    for _ in range(3):
        store.get("a")
    assert reads == ["wall"] * 3
    clocks.run(WINDOW)
    del reads[:]
    store.get("a")
    assert reads == ["wall", "wall", "monotonic"]


def test_the_real_clocks_are_the_default():
    store = TTLCache()
    store.set("a", 1, ttl=3600)
    assert 3590 < store.ttl("a") <= 3600
    assert store._wall is time.time
    assert store._monotonic is time.monotonic


def test_a_wall_clock_that_stands_still_within_the_window_of_a_reading(clocks):
    """Hits alone trust it, and TRUSTED of them at most; for whatever else is asked the monotonic clock is read."""
    store = clocks.cache()
    store.set("a", 1, ttl=10)
    clocks.wall += WINDOW / 2  # and stands
    hits = 0
    for _ in range(TRUSTED + 1):
        clocks.monotonic += 10
        if store.get("a") is None:
            break
        hits += 1
    assert hits <= TRUSTED
    for ask in (
        lambda: store.ttl("b") is None,
        lambda: "b" not in store,
        lambda: len(store) == 0,
        lambda: not store.delete("b"),
        lambda: not store.touch("b"),
        lambda: list(store) == [],
    ):
        store.set("b", 1, ttl=10)
        store.get("b")
        clocks.wall += WINDOW / 2
        clocks.monotonic += 11
        assert ask()
        store.delete("b")
    assert store.stats().hits == hits + 6


def test_once_it_stands_every_hit_reads_both_clocks(clocks):
    store = clocks.cache()
    store.set("a", 1, ttl=10)
    clocks.wall += WINDOW / 2
    assert store.ttl("a")  # read here
    for _ in range(9):
        clocks.monotonic += 1
        assert store.get("a") == 1
    clocks.monotonic += 1
    assert store.get("a") is None
