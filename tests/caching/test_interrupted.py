"""A signal handler may raise at any instruction, as that of timeout-decorator does: no key is lost to it.

A tracing function raises in its place, before each bytecode of the package in turn.
"""

import asyncio
import sys
import threading
from pathlib import Path

import pytest

from samovar.caching import TTLCache, flight, store

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
PACKAGE = str(Path(store.__file__).parent)
TIMEOUT = 60  # s; only a deadlock reaches it


class Alarm(Exception):
    """What the signal handler raises."""


def interrupted(f, at):
    """Call f() and raise Alarm in front of the bytecode number `at` of the package; whether it came that far."""
    seen = 0

    def trace(frame, event, arg):
        nonlocal seen
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen += 1
            if seen == at:
                sys.settrace(None)
                raise Alarm
        return trace

    sys.settrace(trace)
    try:
        f()
    except Alarm:
        pass
    finally:
        sys.settrace(None)
    return seen >= at


def load(cache, **options):
    return cache.get_or_load("key", lambda: "loaded", **options)


def load_async(cache, **options):
    async def loader():
        await asyncio.sleep(0)
        return "loaded"

    return asyncio.run(cache.get_or_load_async("key", loader, **options))


def ring(cache):
    keys, entry = [], cache._root.newer
    while entry is not cache._root:
        keys.append(entry.key)
        entry = entry.newer
    return keys


@pytest.mark.parametrize("call", [load, load_async])
@pytest.mark.parametrize("options", [{}, {"stale": 60.0}, {"stale": 60.0, "on_error": "stale"}], ids=["", "swr", "sie"])
@pytest.mark.parametrize("held", [False, True], ids=["empty", "expired"])
def test_at_every_bytecode_of_a_load(clocks, call, options, held, runtime):
    at = 0
    while True:
        at += 1
        cache = clocks.cache(2, ttl=10)
        cache.set("other", 1, ttl=1000)
        if held:
            cache._put("key", "old", 10.0, options.get("stale", 0.0), None)
            clocks.run(10)
        came = interrupted(lambda cache=cache: call(cache, **options), at)
        assert not any(each.done is False for each in cache._flights.values()), at
        value = call(cache)  # without a stale time: whatever is held, a key that is lost would raise LoadCycle
        assert value == "loaded", at
        for i in range(5):
            cache.set(i, i)
        assert sorted(map(str, ring(cache))) == sorted(map(str, cache._entries)), at
        assert len(cache) == len(cache._entries) == 2
        runtime()
        if not came:
            break
    assert at > 300


def test_at_every_bytecode_of_a_waiting_thread():
    """The one that loads notices nothing, and nothing is kept of the one that waited."""
    at = 0
    while True:
        at += 1
        cache = TTLCache(ttl=10)
        begun, go, results = threading.Event(), threading.Event(), []

        def slow(cache=cache, begun=begun, go=go):
            (mine,) = cache._flights.values()
            begun.set()
            while not go.wait(0.0005) and not any(other._wake for other in mine.waiting):
                pass
            return "loaded"

        thread = threading.Thread(
            target=lambda cache=cache, slow=slow, results=results: results.append(cache.get_or_load("key", slow)),
            daemon=True,
        )
        thread.start()
        assert begun.wait(TIMEOUT)
        (other,) = cache._flights.values()
        came = interrupted(lambda cache=cache: cache.get_or_load("key", lambda: "mine"), at)
        go.set()
        if cache._lock._is_owned():  # by the trace alone: CPython runs no signal handler where a `with` block is left
            cache._lock.release()
        while flight._graph._is_owned():
            flight._graph.release()
        thread.join(TIMEOUT)
        assert results == ["loaded"], at
        assert not other.waiting, at
        assert load(cache) == "loaded"
        if not came:
            break
    assert at > 300


def test_at_every_bytecode_of_a_set_and_an_eviction(clocks):
    at = 0
    while True:
        at += 1
        cache = clocks.cache(3, ttl=10, maxbytes=30, sizeof=lambda value: 10)
        for key in "abc":
            cache.set(key, key)
        cache.get("a")

        def change(cache=cache):
            cache.set("d", 1)
            cache.set("a", 2, ttl=5)
            cache.delete("c")
            cache.touch("d")

        came = interrupted(change, at)
        cache.set("b", 1)
        for key in range(10):
            cache.set(key, key)
        assert sorted(map(str, ring(cache))) == sorted(map(str, cache._entries)), at
        assert len(cache._entries) == 3, at
        assert cache._bytes == 30
        if not came:
            break
    assert at > 300


def test_a_signal_handler_that_loads_while_a_load_is_being_noted():
    """The lock of the graph of waits is re-entrant: a handler or a destructor may come in the middle."""
    cache = TTLCache(ttl=10)
    with flight._graph:
        assert load(cache) == "loaded"
