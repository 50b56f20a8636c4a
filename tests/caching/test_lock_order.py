"""The collector may close an abandoned load at any time, also while a cache is being changed: no two threads wait for
each other then.
"""

import asyncio
import threading

import pytest

from samovar.caching import TTLCache

TIMEOUT = 60  # s; only a deadlock reaches it
MEANWHILE = 0.2  # s; for what cannot happen with one lock


def abandoned(cache, key="abandoned"):
    """A load under way that nobody will go on with; closing it is what the collector does."""

    async def loader():
        await asyncio.sleep(0)

    coroutine = cache.get_or_load_async(key, loader)
    coroutine.send(None)
    return coroutine


class Key:
    """A key that runs `compared` when the graph of waits compares it."""

    def __init__(self, compared):
        self.compared = compared

    def __hash__(self):
        return 7

    def __eq__(self, other):
        self.compared()
        return self is other


@pytest.fixture
def in_threads():
    def run(*functions):
        threads = [threading.Thread(target=f, daemon=True) for f in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert not any(thread.is_alive() for thread in threads)

    return run


class Meeting:
    """A clock that stops its thread inside a cache's change, once it is armed, until the other thread is in its own."""

    def __init__(self):
        self.here, self.then = threading.Event(), None

    def wall(self):
        if self.then is not None:
            then, self.then = self.then, None
            self.here.set()
            then()
        return 1_700_000_000.0

    def cache(self):
        return TTLCache(ttl=60, clocks=(self.wall, lambda: 5000.0))


def test_two_threads_that_each_close_a_load_of_the_other_ones_cache(in_threads):
    one, two = Meeting(), Meeting()
    first, second = one.cache(), two.cache()
    of_first, of_second = abandoned(first), abandoned(second)

    def close(other, coroutine):
        other.here.wait(MEANWHILE)
        coroutine.close()

    one.then = lambda: close(two, of_second)
    two.then = lambda: close(one, of_first)
    in_threads(lambda: first.get("nothing"), lambda: second.get("nothing"))
    assert not first._flights
    assert not second._flights
    assert first.stats().load_errors == second.stats().load_errors == 1


def test_a_load_that_is_closed_while_the_waits_are_compared(in_threads):
    """One thread is about to join that load, the other one is finding out whether a wait would end."""
    meeting = Meeting()
    store, inside = meeting.cache(), threading.Event()
    given_up = abandoned(store)

    def compared():
        inside.set()
        meeting.here.wait(MEANWHILE)
        given_up.close()

    key = Key(compared)

    async def loader():
        return await asyncio.ensure_future(waits.get_or_load_async(key, own))

    async def own():
        return 1

    waits, results = TTLCache(ttl=60), []
    meeting.then = lambda: inside.wait(MEANWHILE)
    in_threads(
        lambda: results.append(asyncio.run(waits.get_or_load_async(key, loader))),
        lambda: results.append(inside.wait(TIMEOUT) and store.get_or_load("abandoned", lambda: 1)),
    )
    assert results == [1, 1]
