"""What is served after its ttl, and what is done for it after the response."""

import asyncio

import pytest

from samovar import cached
from samovar.caching import LoadCycle, decorator


class Failed(Exception):
    pass


class Source:
    """A loader that counts, and fails when told to."""

    def __init__(self):
        self.loads = 0
        self.fails = False

    def __call__(self):
        self.loads += 1
        if self.fails:
            raise Failed("the database is away")
        return self.loads

    async def coroutine(self):
        await asyncio.sleep(0)
        return self()


@pytest.fixture
def source():
    return Source()


def test_a_caller_gets_the_old_value_at_once_and_one_refresh_follows_the_response(clocks, source, runtime):
    store = clocks.cache(ttl=60)

    def call():
        return store.get_or_load("key", source, stale=30)

    assert call() == 1
    clocks.run(60)
    assert [call() for _ in range(5)] == [1] * 5
    assert source.loads == 1  # nobody has waited
    runtime()
    assert source.loads == 2  # one refresh for the five
    assert call() == 2
    stats = store.stats()
    assert (stats.hits, stats.misses, stats.stale, stats.loads) == (1, 1, 5, 2)
    clocks.run(59)
    assert store.ttl("key") == 1  # a full ttl from the refresh on


def test_past_the_stale_time_a_caller_loads(clocks, source, runtime):
    store = clocks.cache(ttl=60)
    store.get_or_load("key", source, stale=30)
    clocks.run(90)
    assert store.get_or_load("key", source, stale=30) == 2
    runtime()
    assert source.loads == 2


def test_a_stale_value_is_for_get_or_load_only(clocks, source):
    store = clocks.cache(ttl=60)
    store.get_or_load("key", source, stale=30)
    clocks.run(60)
    assert store.get("key") is None
    assert "key" not in store
    assert list(store) == []
    assert len(store) == 0
    assert store.ttl("key") is None
    assert not store.touch("key")
    assert store.stats().size == 1  # it is held all the same


def test_a_caller_who_takes_no_stale_value_gets_none(clocks, source, runtime):
    store = clocks.cache(ttl=60)
    store.get_or_load("key", source, stale=30)
    clocks.run(60)
    assert store.get_or_load("key", source) == 2


def test_a_refresh_that_fails_is_logged_and_the_old_value_stays_until_its_time_is_over(clocks, source, runtime, said):
    store = clocks.cache(ttl=60, name="settings")
    assert store.get_or_load("key", source, stale=30) == 1
    source.fails = True
    clocks.run(60)
    for _ in range(3):  # each is followed by another try
        assert store.get_or_load("key", source, stale=30) == 1
        runtime()
        clocks.run(9)
    assert source.loads == 4
    assert len(said) == 3
    level, message = said[0]
    assert level == "WARNING"
    assert message.startswith("settings: the refresh of 'key' failed")
    assert "Failed: the database is away" in message
    clocks.run(3)
    with pytest.raises(Failed):
        store.get_or_load("key", source, stale=30)


def test_a_refresh_that_fails_is_tried_once_for_each_response(clocks, source, runtime, said):
    store = clocks.cache(ttl=60)
    store.get_or_load("key", source, stale=30)
    clocks.run(60)
    source.fails = True
    assert [store.get_or_load("key", source, stale=30) for _ in range(5)] == [1] * 5
    runtime()
    assert source.loads == 2
    assert len(said) == 1


def test_by_default_a_failed_load_goes_to_the_caller(clocks, source):
    store = clocks.cache(ttl=60)
    store.get_or_load("key", source)
    clocks.run(60)
    source.fails = True
    with pytest.raises(Failed):
        store.get_or_load("key", source)


def test_on_error_stale_loads_first_and_serves_the_old_value_if_that_fails(clocks, source, runtime):
    store = clocks.cache(ttl=60)

    def call():
        return store.get_or_load("key", source, stale=30, on_error="stale")

    assert call() == 1
    clocks.run(60)
    source.fails = True
    assert [call(), call()] == [1, 1]
    assert source.loads == 3
    stats = store.stats()
    assert (stats.stale, stats.load_errors) == (2, 2)
    source.fails = False
    assert call() == 4  # the caller has the new value at once
    source.fails = True
    clocks.run(90)
    with pytest.raises(Failed):
        call()


def test_on_error_stale_when_the_load_itself_takes_the_stale_time(clocks, source):
    store = clocks.cache(ttl=60)
    store.get_or_load("key", source, stale=30, on_error="stale")
    clocks.run(60)

    def slow():
        clocks.run(30)
        raise Failed

    with pytest.raises(Failed):
        store.get_or_load("key", slow, stale=30, on_error="stale")


def test_a_refresh_is_not_made_twice_when_somebody_stored_meanwhile(clocks, source, runtime):
    store = clocks.cache(ttl=60)
    store.get_or_load("key", source, stale=30)
    clocks.run(60)
    store.get_or_load("key", source, stale=30)
    store.set("key", "set", ttl=60)
    runtime()
    assert source.loads == 1
    assert store.get("key") == "set"


def test_a_refresh_of_what_was_deleted_does_not_bring_it_back_from_before(clocks, source, runtime):
    store = clocks.cache(ttl=60)
    store.get_or_load("key", source, stale=30)
    clocks.run(60)
    store.get_or_load("key", source, stale=30)

    def during():
        store.delete("key")
        return "read before the delete"

    clocks.run(30)
    store.get_or_load("key", during)
    assert "key" not in store


def test_each_key_has_its_own_refresh_in_the_order_of_the_calls(clocks, runtime):
    store = clocks.cache(ttl=60)
    order = []
    for key in "abc":
        store.get_or_load(key, lambda: 1, stale=30)
    clocks.run(60)
    for key in "bca" * 2:
        store.get_or_load(key, lambda key=key: order.append(key), stale=30)
    runtime()
    assert order == ["b", "c", "a"]


def test_a_stale_value_counts_as_used_when_room_is_needed(clocks, source, runtime):
    store = clocks.cache(2, ttl=60)
    store.get_or_load("key", source, stale=1000)
    store.set("other", 1, ttl=1000)
    clocks.run(60)
    store.get_or_load("key", source, stale=1000)
    store.set("third", 1)
    assert store.get_or_load("key", source, stale=1000) == 1
    assert store.get("other") is None


def test_outside_the_runtime_the_refresh_is_made_at_once(clocks, source):
    store = clocks.cache(ttl=60)
    store.get_or_load("key", source, stale=30)
    clocks.run(60)
    assert store.get_or_load("key", source, stale=30) == 1
    assert source.loads == 2
    assert store.get("key") == 2


# Coroutine functions


def test_in_the_runtime_the_callers_event_loop_refreshes_after_the_response(clocks, source, runtime):
    store = clocks.cache(ttl=60)
    loop = asyncio.new_event_loop()
    loops = set()

    async def load():
        loops.add(asyncio.get_running_loop())
        return await source.coroutine()

    async def call():
        return await store.get_or_load_async("key", load, stale=30)

    assert loop.run_until_complete(call()) == 1
    clocks.run(60)
    assert [loop.run_until_complete(call()) for _ in range(3)] == [1, 1, 1]
    assert source.loads == 1
    runtime()
    assert source.loads == 2
    assert loops == {loop}
    assert loop.run_until_complete(call()) == 2
    loop.close()


def test_a_refresh_whose_event_loop_is_closed_gets_a_new_one(clocks, source, runtime):
    """As with a plain handler that calls asyncio.run for each event."""
    store = clocks.cache(ttl=60)

    def call():
        return asyncio.run(store.get_or_load_async("key", source.coroutine, stale=30))

    assert call() == 1
    clocks.run(60)
    assert call() == 1
    runtime()
    assert call() == 2


def test_outside_the_runtime_a_coroutine_refreshes_beside_the_caller(clocks, source, said):
    store = clocks.cache(ttl=60)

    async def main():
        async def call():
            return await store.get_or_load_async("key", source.coroutine, stale=30)

        assert await call() == 1
        clocks.run(60)
        assert [await call() for _ in range(3)] == [1, 1, 1]
        assert source.loads == 1
        while store.get("key") is None:
            await asyncio.sleep(0)
        assert await call() == 2
        clocks.run(60)
        source.fails = True
        assert await call() == 2
        while not said:
            await asyncio.sleep(0)
        assert await call() == 2

    asyncio.run(asyncio.wait_for(main(), 60))
    assert "the database is away" in said[0][1]


def test_a_refresh_that_never_began_does_not_keep_later_ones_away(clocks, said):
    """Outside the runtime the event loop may end at once, and with it a refresh that had not begun."""
    store = clocks.cache(ttl=60)
    loads = []

    async def load():
        loads.append(1)
        return len(loads)

    def call():
        return asyncio.run(store.get_or_load_async("key", load, stale=60))

    assert call() == 1
    clocks.run(90)
    assert call() == 1
    clocks.run(60)
    loaded = call()
    assert loaded == len(loads)
    clocks.run(90)

    async def again():
        value = await store.get_or_load_async("key", load, stale=60)
        while len(loads) == loaded:
            await asyncio.sleep(0)
        return value

    assert asyncio.run(asyncio.wait_for(again(), 60)) == loaded


def test_async_on_error_stale(clocks, source):
    store = clocks.cache(ttl=60)

    def call():
        return asyncio.run(store.get_or_load_async("key", source.coroutine, stale=30, on_error="stale"))

    assert call() == 1
    clocks.run(60)
    source.fails = True
    assert call() == 1
    assert store.stats().stale == 1
    clocks.run(30)
    with pytest.raises(Failed):
        call()


def test_the_decorator_passes_it_all_on(clocks, source, runtime, monkeypatch, said):
    monkeypatch.setattr(decorator, "TTLCache", clocks.cache)

    @cached(ttl=60, stale=30)
    def swr():
        return source()

    @cached(ttl=60, stale=30, on_error="stale")
    def sie():
        return source()

    assert (swr(), sie()) == (1, 2)
    clocks.run(60)
    assert (swr(), sie()) == (1, 3)
    runtime()
    assert (swr(), sie()) == (4, 3)
    source.fails = True
    clocks.run(60)
    assert (swr(), sie()) == (4, 3)
    runtime()
    assert "test_stale." in said[0][1]
    assert swr.cache_info().stale == 2
    assert sie.cache_info().stale == 1


# A pause after a failure


def test_a_failed_load_is_not_tried_again_for_the_time_of_retry(clocks, source):
    store = clocks.cache(ttl=60)
    source.fails = True
    errors = []
    for _ in range(10):
        with pytest.raises(Failed, match=r"^the database is away$") as caught:
            store.get_or_load("key", source, retry=5)
        errors.append(caught.value)
    assert source.loads == 1
    assert store.stats().misses == 10
    assert len(set(map(id, errors))) == 10  # copies: what one caller adds to its own is not the next one's
    assert store.get("key") is None
    assert "key" not in store
    assert len(store) == 0
    assert store.ttl("key") is None
    assert not store.touch("key")
    for seconds, loads in ((4.5, 1), (0.5, 2)):
        clocks.run(seconds)
        with pytest.raises(Failed):
            store.get_or_load("key", source, retry=5)
        assert source.loads == loads
    source.fails = False
    clocks.run(5)
    assert store.get_or_load("key", source, retry=5) == 3
    assert store.stats().load_errors == 2


def test_a_pause_ends_with_what_is_set_deleted_or_cleared(clocks, source):
    store = clocks.cache(ttl=60)

    def fail():
        source.fails = True
        with pytest.raises(Failed):
            store.get_or_load("key", source, retry=5)
        source.fails = False

    fail()
    store.set("key", 7)
    assert store.get_or_load("key", source, retry=5) == 7
    store.delete("key")
    fail()
    store.delete("key")
    assert store.get_or_load("key", source, retry=5) == 3
    store.clear()
    fail()
    store.clear()
    assert store.get_or_load("key", source, retry=5) == 5


def test_while_there_is_an_old_value_it_serves_during_the_pause(clocks, source):
    store = clocks.cache(ttl=60)

    def call():
        return store.get_or_load("key", source, stale=30, on_error="stale", retry=5)

    assert call() == 1
    clocks.run(60)
    source.fails = True
    assert [call() for _ in range(5)] == [1] * 5
    assert source.loads == 2
    clocks.run(5)
    assert call() == 1
    assert source.loads == 3
    clocks.run(25)
    with pytest.raises(Failed):
        call()


def test_a_refresh_that_failed_pauses_too(clocks, source, runtime, said):
    store = clocks.cache(ttl=60)

    def call():
        value = store.get_or_load("key", source, stale=30, retry=5)
        runtime()
        return value

    assert call() == 1
    clocks.run(60)
    source.fails = True
    assert [call() for _ in range(5)] == [1] * 5
    assert source.loads == 2
    assert len(said) == 1
    clocks.run(5)
    assert call() == 1
    assert source.loads == 3


def test_a_pause_for_coroutine_functions(clocks, source):
    @cached(ttl=60, retry=5, clocks=(lambda: clocks.wall, lambda: clocks.monotonic))
    async def load():
        return await source.coroutine()

    source.fails = True
    for _ in range(3):
        with pytest.raises(Failed):
            asyncio.run(load())
    assert source.loads == 1


def test_exceptions_of_all_kinds_are_given_again(clocks):
    class Own(Exception):
        def __init__(self, code, *, where):
            super().__init__(f"code {code}")
            self.code, self.where = code, where

    class Odd(Exception):
        def __new__(cls, needed, *, other):
            return super().__new__(cls, needed)

        def __init__(self, needed, *, other):
            pass

    def decode():
        b"\xff".decode()

    def opened():
        open("/nowhere")

    def own():
        raise Own(5, where="here")

    def odd():
        raise Odd(1, other=2)

    for load in (decode, opened, own, lambda: {}["x"], lambda: 1 / 0):
        store = clocks.cache(ttl=60)
        seen = []
        for _ in range(2):
            with pytest.raises(Exception) as caught:
                store.get_or_load("key", load, retry=5)
            seen.append(caught.value)
        one, two = seen
        assert type(one) is type(two)
        assert one is not two
        assert (str(one), one.args, vars(one)) == (str(two), two.args, vars(two))
        assert store.stats().loads == 1
    for _ in range(2):  # one that cannot be copied is not kept
        with pytest.raises(Odd):
            store.get_or_load("odd", odd, retry=5)
    assert store.stats().loads == 3


def test_a_cycle_is_not_kept_as_a_failure(clocks):
    store = clocks.cache(ttl=60)
    with pytest.raises(LoadCycle):
        store.get_or_load("key", lambda: store.get_or_load("key", lambda: 1), retry=5)
    assert store.get_or_load("key", lambda: 2, retry=5) == 2
