"""Threads that share a cache at the same time: each call is counted once, and each value loaded once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from samovar.caching import RedisTier, TTLCache, cached, metrics, store
from tests.threads import together

THREADS, TIMES = 8, 2000


def test_hits_and_misses_of_threads_are_counted_once_each() -> None:
    cache = TTLCache(ttl=600)
    cache.set("there", 1)

    def ask(number: int) -> None:
        for i in range(TIMES):
            assert cache.get("there") == 1
            if i % 50 == 0:  # reads the clocks, where hits are gathered
                assert cache.get(f"not there {number}") is None

    together(THREADS, ask)
    stats = cache.stats()
    assert stats.hits == THREADS * TIMES
    assert stats.misses == THREADS * TIMES // 50


def test_a_clock_that_is_set_back_lets_no_thread_see_a_value_after_its_time() -> None:
    moved = [1_700_000_000.0, 5000.0]
    cache = TTLCache(ttl=60, clocks=(lambda: moved[0], lambda: moved[1]))
    for _ in range(200):
        cache.set("key", 1)
        moved[0] -= 3600
        together(4, lambda number: cache.get("key"))
        moved[0], moved[1] = moved[0] + 61, moved[1] + 61
        assert together(4, lambda number: cache.get("key")) == [None] * 4


def test_threads_that_want_other_and_the_same_keys_load_each_once() -> None:
    loaded: list[int] = []

    @cached(ttl=600, maxsize=10_000)
    def load(key: int) -> int:
        loaded.append(key)
        return key * 2

    def ask(number: int) -> bool:
        return all(load(key) == key * 2 for key in range(number, 400 + number))

    assert together(THREADS, ask) == [True] * THREADS
    assert sorted(loaded) == list(range(400 + THREADS - 1))
    assert load.cache_info().loads == len(loaded)
    assert load.cache_info().hits + load.cache_info().misses == THREADS * 400


def test_a_small_cache_stays_whole_while_threads_change_it() -> None:
    cache = TTLCache(maxsize=20, ttl=600)

    def change(number: int) -> None:
        for i in range(500):
            key = (i * 7 + number) % 60
            cache.set(key, key)
            assert cache.get(key, key) == key
            if i % 5 == 0:
                cache.delete((key + 1) % 60)
            if i % 100 == 99:
                cache.clear()

    together(THREADS, change)
    held = list(cache)
    assert len(held) == len(cache) <= 20
    ring, at = [], cache._root.newer
    while at is not cache._root:
        ring.append(at.key)
        at = at.newer
    assert sorted(ring) == sorted(held)


def test_what_overlapping_invocations_did_is_in_one_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store, "alive", [])  # without the caches of other tests
    caches = [TTLCache(ttl=600) for _ in range(3)]

    def invocations(number: int) -> None:
        for i in range(150):
            for cache in caches:
                cache.get_or_load((number, i // 2), lambda: 1)
            metrics.report()

    together(THREADS, invocations)
    metrics.report()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(line["CacheHits"] for line in lines) == sum(cache.stats().hits for cache in caches)
    assert sum(line["CacheMisses"] for line in lines) == sum(cache.stats().misses for cache in caches)
    assert sum(line["CacheLoads"] for line in lines) == len(caches) * THREADS * 75
    assert all(line["CacheHits"] >= 0 and line["CacheMisses"] >= 0 for line in lines)


def test_a_second_tier_counts_each_threads_questions(valkey: Any) -> None:
    tier = RedisTier(valkey.url, timeout=30)

    def ask(number: int) -> None:
        for i in range(20):
            assert tier.fetch(f"{number} {i}", lambda: 1, 60) == 1
            assert tier.fetch(f"{number} {i}", lambda: 2, 60) == 1

    together(THREADS, ask)
    assert (tier.loads, tier.hits, tier.faults) == (THREADS * 20, THREADS * 20, 0)


def test_the_log_names_the_fault_of_a_tier_once_for_threads_that_meet_it_together(said: list[Any]) -> None:
    tier = RedisTier("redis://127.0.0.1:1", timeout=30)
    together(THREADS, lambda number: tier.fetch(str(number), lambda: 1, 60))
    assert tier.loads == THREADS
    assert 1 <= tier.faults <= THREADS
    assert len([line for line in said if "The second tier fails" in line[1]]) == 1
