"""One load at a time for a key, in threads and in tasks; and no wait that would never end."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import itertools
import random
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from samovar import cached
from samovar.caching import LoadCycle, TTLCache
from samovar.caching.store import alive

TIMEOUT = 60  # s; only a deadlock reaches it


def in_threads(count, f):
    """f(i) in `count` threads at once: their results or exceptions."""
    results = [None] * count

    def run(i):
        try:
            results[i] = f(i)
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive(), "deadlock"
    return results


def until(condition):
    """Waits, giving way to other threads, until condition()."""
    deadline = threading.Event()
    timer = threading.Timer(TIMEOUT, deadline.set)
    timer.start()
    try:
        while not condition():
            assert not deadline.wait(0.001), "never happened"
    finally:
        timer.cancel()


@pytest.mark.parametrize("fails", [False, True])
def test_a_thousand_threads_one_load(fails):
    store = TTLCache(ttl=60)
    loads = []

    def loader():
        loads.append(threading.get_ident())
        until(lambda: store.stats().misses == 1000)  # all the others have come, and wait
        if fails:
            raise KeyError("not today")
        return object()

    stack = threading.stack_size(256 * 1024)
    try:
        results = in_threads(1000, lambda i: store.get_or_load("key", loader))
    finally:
        threading.stack_size(stack)
    assert len(loads) == 1
    assert len(set(map(id, results))) == 1  # the same value, or the same exception, for all
    if fails:
        assert isinstance(results[0], KeyError)
        depth, trace = 0, results[0].__traceback__
        while trace is not None:
            depth, trace = depth + 1, trace.tb_next
        assert depth < 20  # being raised a thousand times has not lengthened it
        assert "key" not in store
    assert (store.stats().loads, store.stats().load_errors) == (1, int(fails))


@pytest.mark.parametrize("fails", [False, True])
def test_a_thousand_tasks_one_load(fails):
    loads = []

    @cached(ttl=60)
    async def load(key):
        loads.append(key)
        await asyncio.sleep(0)
        while load.cache_info().misses < 1000:
            await asyncio.sleep(0)
        if fails:
            raise KeyError("not today")
        return object()

    async def main():
        return await asyncio.gather(*(load("key") for _ in range(1000)), return_exceptions=True)

    results = asyncio.run(asyncio.wait_for(main(), TIMEOUT))
    assert loads == ["key"]
    assert len(set(map(id, results))) == 1
    assert isinstance(results[0], KeyError) is fails


def test_a_failed_load_is_not_kept():
    store = TTLCache(ttl=60)
    with pytest.raises(ZeroDivisionError):
        store.get_or_load("key", lambda: 1 / 0)
    assert store.get_or_load("key", lambda: 2) == 2


def test_other_keys_are_not_held_up():
    store = TTLCache(ttl=60)
    go = threading.Event()
    thread = threading.Thread(target=store.get_or_load, args=("slow", lambda: go.wait(TIMEOUT)), daemon=True)
    thread.start()
    until(lambda: store.stats().misses == 1)
    assert store.get_or_load("other", lambda: 1) == 1
    store.set("third", 3)
    assert store.get("third") == 3
    assert "slow" not in store
    go.set()
    thread.join(TIMEOUT)
    assert store.get("slow") is True


def test_what_another_thread_stored_after_the_first_look_is_not_loaded_again():
    class Raced(TTLCache):
        def get(self, key, default=None):
            value = super().get(key, default)
            self.set(key, "stored meanwhile")
            return value

    store = Raced(ttl=60)
    assert store.get_or_load("key", lambda: pytest.fail("it is there")) == "stored meanwhile"
    assert asyncio.run(store.get_or_load_async("other", lambda: pytest.fail("it is there"))) == "stored meanwhile"
    assert (store.stats().hits, store.stats().misses) == (2, 0)


def test_what_is_set_during_a_load_is_the_newer_value():
    store = TTLCache(ttl=60)

    def loader():
        store.set("key", "set")
        return "loaded"

    assert store.get_or_load("key", loader) == "loaded"
    assert store.get("key") == "set"


@pytest.mark.parametrize("forget", [lambda store: store.delete("key"), lambda store: store.clear()])
def test_what_was_loaded_before_a_delete_is_not_stored_after_it(forget):
    store = TTLCache(ttl=60)

    def loader():
        forget(store)
        return "loaded before"

    assert store.get_or_load("key", loader) == "loaded before"
    assert "key" not in store


def test_who_comes_after_a_delete_does_not_join_the_load_before_it():
    store = TTLCache(ttl=60)
    go = threading.Event()
    results = []

    def old():
        go.wait(TIMEOUT)
        return "old"

    thread = threading.Thread(target=lambda: results.append(store.get_or_load("key", old)), daemon=True)
    thread.start()
    until(lambda: store.stats().misses == 1)
    store.delete("key")
    assert store.get_or_load("key", lambda: "new") == "new"
    go.set()
    thread.join(TIMEOUT)
    assert results == ["old"]
    assert store.get("key") == "new"


# Loaders that ask for what is being loaded


def test_a_loader_that_asks_for_its_own_key():
    store = TTLCache(ttl=60)
    with pytest.raises(LoadCycle, match=r"the loader of 'key' asks for 'key', which is being loaded"):
        store.get_or_load("key", lambda: store.get_or_load("key", lambda: 1))
    assert store.get_or_load("key", lambda: 1) == 1


def test_a_recursive_function():
    @cached(ttl=60)
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    @cached(ttl=60)
    def endless(n):
        return endless(n)

    assert fibonacci(60) == 1548008755920
    assert fibonacci.cache_info().loads == 61
    with pytest.raises(LoadCycle, match=r"\(1,\)"):
        endless(1)


def test_through_another_key_and_another_cache():
    @cached(ttl=60)
    def a():
        return b()

    @cached(ttl=60)
    def b():
        return a()

    with pytest.raises(LoadCycle):
        a()
    with pytest.raises(LoadCycle):
        b()


def test_two_threads_that_wait_for_each_other():
    """A loads b and B loads a: one of them gets the error, and with it both end."""
    store = TTLCache(ttl=60)
    both = threading.Barrier(2, timeout=TIMEOUT)

    def load(mine, other):
        def loader():
            both.wait()
            return store.get_or_load(other, lambda: pytest.fail("it is being loaded"))

        return store.get_or_load(mine, loader)

    results = in_threads(2, lambda i: load(*("ab" if i == 0 else "ba")))
    assert [type(result) for result in results] == [LoadCycle, LoadCycle]
    assert results[0] is results[1]
    assert store.get_or_load("a", lambda: 1) == 1


def test_three_threads_in_a_ring_with_a_load_inside_a_load():
    store, inner = TTLCache(ttl=60), TTLCache(ttl=60)
    all_in = threading.Barrier(3, timeout=TIMEOUT)

    def load(i):
        def outer_loader():
            return inner.get_or_load(i, inner_loader)

        def inner_loader():
            all_in.wait()
            return store.get_or_load((i + 1) % 3, lambda: pytest.fail("it is being loaded"))

        return store.get_or_load(i, outer_loader)

    assert {type(result) for result in in_threads(3, load)} == {LoadCycle}


def test_waiting_for_another_threads_load_within_a_load_is_no_cycle():
    store = TTLCache(ttl=60)
    go = threading.Event()
    results = []

    def slow():
        go.wait(TIMEOUT)
        return 1

    def quick():
        go.set()
        return store.get_or_load("a", slow) + 1

    first = threading.Thread(target=lambda: results.append(store.get_or_load("a", slow)), daemon=True)
    first.start()
    until(lambda: store.stats().misses == 1)
    assert store.get_or_load("b", quick) == 2
    first.join(TIMEOUT)
    assert results == [1]


def test_a_coroutine_that_asks_for_its_own_key():
    @cached(ttl=60)
    async def load(n):
        return await load(n)

    with pytest.raises(LoadCycle):
        asyncio.run(asyncio.wait_for(load(1), TIMEOUT))


def test_a_coroutine_that_asks_for_its_own_key_in_another_task():
    @cached(ttl=60)
    async def load(n):
        (value,) = await asyncio.gather(load(n))
        return value

    with pytest.raises(LoadCycle):
        asyncio.run(asyncio.wait_for(load(1), TIMEOUT))


def test_two_tasks_that_wait_for_each_other():
    store = TTLCache(ttl=60)

    async def load(mine, other):
        async def loader():
            await asyncio.sleep(0)
            return await store.get_or_load_async(other, loader)

        return await store.get_or_load_async(mine, loader)

    async def main():
        return await asyncio.gather(load("a", "b"), load("b", "a"), return_exceptions=True)

    results = asyncio.run(asyncio.wait_for(main(), TIMEOUT))
    assert [type(result) for result in results] == [LoadCycle, LoadCycle]


def test_a_load_in_a_thread_of_a_load():
    """asyncio.to_thread takes the context along, so it is known there whose load this is."""
    store = TTLCache(ttl=60)

    async def loader():
        return await asyncio.to_thread(store.get_or_load, "key", lambda: 1)

    with pytest.raises(LoadCycle):
        asyncio.run(asyncio.wait_for(store.get_or_load_async("key", loader), TIMEOUT))


def test_a_load_in_an_executor_of_a_load():
    """An executor's thread inherits no context: the caller hands it over, or the cycle is not seen."""
    store = TTLCache(ttl=60)

    def loader():
        with ThreadPoolExecutor() as executor:
            ask = functools.partial(store.get_or_load, "key", lambda: 1)
            return executor.submit(contextvars.copy_context().run, ask).result(TIMEOUT)

    with pytest.raises(LoadCycle):
        store.get_or_load("key", loader)


def test_a_thread_that_would_wait_for_its_own_event_loop():
    store = TTLCache(ttl=60)

    async def slow():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return 1

    async def main():
        task = asyncio.create_task(store.get_or_load_async("key", slow))
        await asyncio.sleep(0)
        with pytest.raises(LoadCycle, match="get_or_load_async"):
            store.get_or_load("key", lambda: 2)
        return await task

    assert asyncio.run(asyncio.wait_for(main(), TIMEOUT)) == 1


def test_threads_and_tasks_wait_for_each_other():
    store = TTLCache(ttl=60)
    go = threading.Event()

    async def main():
        loop = asyncio.get_running_loop()
        in_thread = loop.run_in_executor(None, store.get_or_load, "thread's", lambda: go.wait(TIMEOUT))
        while store.stats().misses < 1:
            await asyncio.sleep(0)
        waits = asyncio.create_task(store.get_or_load_async("thread's", lambda: pytest.fail("it is being loaded")))

        async def slow():
            while store.stats().misses < 4:
                await asyncio.sleep(0)
            go.set()
            return 2

        loads = asyncio.create_task(store.get_or_load_async("task's", slow))
        while store.stats().misses < 3:
            await asyncio.sleep(0)
        other = loop.run_in_executor(None, store.get_or_load, "task's", lambda: pytest.fail("it is being loaded"))
        return await asyncio.gather(in_thread, waits, loads, other)

    assert asyncio.run(asyncio.wait_for(main(), TIMEOUT)) == [True, True, 2, 2]


def test_a_sync_loader_that_gives_a_coroutine_is_told_so():
    store = TTLCache(ttl=60)

    async def loader():
        return 1

    with pytest.raises(TypeError, match="get_or_load_async"):
        store.get_or_load("key", loader)
    assert "key" not in store


def test_a_value_with_any_attribute_is_no_awaitable():
    class Proxy:
        def __getattr__(self, name):
            return self

    store = TTLCache(ttl=60)
    value = store.get_or_load("client", Proxy)
    assert store.get("client") is value


# Loads that are given up


def test_when_the_loading_task_is_cancelled_another_one_loads():
    store = TTLCache(ttl=60)
    loads = []

    async def loader():
        loads.append(asyncio.current_task())
        if len(loads) == 1:
            await asyncio.sleep(TIMEOUT)
        return len(loads)

    async def main():
        first = asyncio.create_task(store.get_or_load_async("key", loader))
        await asyncio.sleep(0)
        others = [asyncio.create_task(store.get_or_load_async("key", loader)) for _ in range(10)]
        await asyncio.sleep(0)
        first.cancel()
        results = await asyncio.gather(*others)
        with pytest.raises(asyncio.CancelledError):
            await first
        return results

    assert asyncio.run(asyncio.wait_for(main(), TIMEOUT)) == [2] * 10
    assert len(loads) == 2


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_when_the_loading_task_is_collected_unfinished_another_one_loads():
    store = TTLCache(ttl=60)

    async def never():
        await asyncio.get_running_loop().create_future()  # nobody else knows it: the task is garbage

    async def begin():
        asyncio.create_task(store.get_or_load_async("key", never))  # noqa: RUF006
        await asyncio.sleep(0)

    async def again():
        return await asyncio.wait_for(store.get_or_load_async("key", lambda: asyncio.sleep(0, "loaded")), TIMEOUT)

    loop = asyncio.new_event_loop()
    try:
        loop.set_exception_handler(lambda loop, what: None)  # "Task was destroyed but it is pending!"
        loop.run_until_complete(begin())
        assert store.stats().loads == 0
        gc.collect()
        assert (store.stats().loads, store.stats().load_errors) == (1, 1)
        assert loop.run_until_complete(again()) == "loaded"
    finally:
        loop.close()


def test_a_waiting_task_whose_event_loop_is_closed_does_not_fail_the_load():
    store = TTLCache(ttl=60)
    waiting = []

    async def ask():
        waiting.append(asyncio.create_task(store.get_or_load_async("key", lambda: asyncio.sleep(0, 2))))
        await asyncio.sleep(0)

    def load():
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda loop, what: None)  # "Task was destroyed but it is pending!"
        contextvars.Context().run(loop.run_until_complete, ask())  # not from within this load
        loop.close()
        return 1

    assert store.get_or_load("key", load) == 1
    assert not waiting[0].done()


def test_when_a_waiting_task_is_cancelled_the_others_do_not_notice():
    store = TTLCache(ttl=60)

    async def main():
        go = asyncio.Event()

        async def loader():
            await go.wait()
            return 1

        tasks = [asyncio.create_task(store.get_or_load_async("key", loader)) for _ in range(5)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(asyncio.wait_for(main(), TIMEOUT))
    assert [result for result in results if result == 1] == [1] * 4
    assert isinstance(results[2], asyncio.CancelledError)


def test_when_the_loading_thread_exits_another_one_loads():
    store = TTLCache(ttl=60)
    loads = []

    def loader():
        loads.append(1)
        if len(loads) == 1:
            until(lambda: store.stats().misses == 4)
            raise SystemExit
        return len(loads)

    results = []

    def call():
        try:
            results.append(store.get_or_load("key", loader))
        except SystemExit:
            results.append("exit")

    threads = [threading.Thread(target=call, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert sorted(results, key=str) == [2, 2, 2, "exit"]


# Stress


@pytest.fixture
def often():
    """Threads change places as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("often")
def test_many_threads_and_keys_one_load_each():
    store = TTLCache(maxsize=300, ttl=3600)
    loads = []
    together = threading.Barrier(8, timeout=TIMEOUT)

    def work(number):
        seen = []
        together.wait()
        for i in range(300):
            key = (i * 7 + number) % 300
            seen.append(store.get_or_load(key, lambda key=key: loads.append(key) or (key, object())))
        return sorted(seen, key=lambda pair: pair[0])

    first, *others = in_threads(8, work)
    assert sorted(loads) == list(range(300))
    for other in others:
        assert all(mine[1] is its[1] for mine, its in zip(first, other, strict=True))


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("seed", range(3))
def test_threads_at_once_lose_no_update(seed):
    """What is set after a load began is never overwritten by it, no thread sees time run backwards, nothing breaks the
    ring.
    """
    store = TTLCache(maxsize=24, ttl=3600)
    keys = range(32)
    truth = dict.fromkeys(keys, 0)  # only ever counted up
    writing = {key: threading.Lock() for key in keys}

    def work(number):
        rng = random.Random(f"{seed}/{number}")
        seen = dict.fromkeys(keys, 0)
        for _ in range(400):
            key = rng.choice(keys)
            action = rng.random()
            if action < 0.1:
                with writing[key]:
                    truth[key] += 1
                    store.set(key, (key, truth[key]))
            elif action < 0.15:
                store.touch(key, 60)
            elif action < 0.17:
                len(store), list(store), store.stats()
            else:
                of, value = store.get_or_load(key, lambda key=key: (key, truth[key]))
                assert of == key
                assert value >= seen[key]
                seen[key] = value
        return "done"

    assert in_threads(8, work) == ["done"] * 8
    for key in keys:
        if (value := store.get(key)) is not None:
            assert value == (key, truth[key])
    ring, entry = [], store._root.newer
    while entry is not store._root:
        ring.append(entry.key)
        entry = entry.newer
    assert sorted(ring) == sorted(store._entries)
    assert len(ring) <= 24


def test_a_load_that_a_delete_overtook_does_not_end_the_one_after_it():
    store = TTLCache(ttl=60)
    begun, go_on = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]

    def loader(i):
        begun[i].set()
        assert go_on[i].wait(TIMEOUT)
        return i

    threads = []
    for i in range(2):
        threads.append(threading.Thread(target=store.get_or_load, args=("k", lambda i=i: loader(i)), daemon=True))
        threads[i].start()
        assert begun[i].wait(TIMEOUT)
        if i == 0:
            store.delete("k")
    for i in range(2):
        go_on[i].set()
        threads[i].join(TIMEOUT)
    assert store.get("k") == 1


def test_a_caller_is_one_miss_however_often_it_has_to_look():
    store = TTLCache(ttl=60)
    begun, give_up = threading.Event(), threading.Event()

    def exits():
        begun.set()
        assert give_up.wait(TIMEOUT)
        sys.exit()  # the load is given up: who waits has to load

    def first():
        with contextlib.suppress(SystemExit):
            store.get_or_load("k", exits)

    threading.Thread(target=first, daemon=True).start()
    assert begun.wait(TIMEOUT)
    second = threading.Thread(target=lambda: store.get_or_load("k", lambda: 2), daemon=True)
    second.start()
    until(lambda: store.stats().misses == 2)  # the second has come, and waits
    give_up.set()
    second.join(TIMEOUT)
    assert store.get("k") == 2
    assert store.stats().misses == 2


def test_a_task_is_one_miss_however_often_it_has_to_look():
    store = TTLCache(ttl=60)

    async def never():
        await asyncio.Event().wait()

    async def loads():
        return 2

    async def main():
        first = asyncio.create_task(store.get_or_load_async("k", never))
        await asyncio.sleep(0)
        second = asyncio.create_task(store.get_or_load_async("k", loads))
        await asyncio.sleep(0)
        assert store.stats().misses == 2
        first.cancel()
        assert await second == 2
        assert store.stats().misses == 2

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))


def test_an_awaitable_that_cannot_be_closed_is_refused_as_a_coroutine_is():
    class Awaitable:
        def __await__(self):
            yield

    with pytest.raises(TypeError, match="gave an awaitable: use get_or_load_async"):
        TTLCache(ttl=60).get_or_load("k", Awaitable)


# What stays behind


class Big:
    """What a loader holds, and a weak reference can watch."""


@pytest.fixture
def uncollected():
    """By reference counts alone, as between two events of a function that makes little garbage."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("options", [{}, {"stale": 60, "on_error": "stale"}, {"retry": 60}])
def test_nothing_of_a_failed_load_stays(options):
    held = []

    @cached(ttl=60, **options)
    def load():
        big = Big()
        held.append(weakref.ref(big))
        raise KeyError("not today")

    for _ in range(2):
        with pytest.raises(KeyError):
            load()
    assert [ref() for ref in held] == [None] * len(held)


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("options", [{}, {"retry": 60}])
def test_nothing_of_a_failed_load_in_a_task_stays(options):
    held = []

    @cached(ttl=60, **options)
    async def load():
        big = Big()
        held.append(weakref.ref(big))
        raise KeyError("not today")

    async def call():
        with pytest.raises(KeyError):
            await load()

    asyncio.run(call())
    assert held[0]() is None


@pytest.mark.usefixtures("uncollected")
def test_nothing_of_a_failed_refresh_stays(clocks, said):
    held = []

    @cached(ttl=60, stale=60, clocks=(lambda: clocks.wall, lambda: clocks.monotonic))
    def load():
        if not held:
            return held.append(None)
        big = Big()
        held.append(weakref.ref(big))
        raise KeyError("not today")

    load()
    clocks.run(60)
    load()
    assert held[1]() is None
    assert len(said) == 1


@pytest.mark.usefixtures("uncollected")
def test_nothing_of_a_failed_load_stays_with_those_who_waited():
    store = TTLCache(ttl=60)
    held = []

    def loader():
        big = Big()
        held.append(weakref.ref(big))
        until(lambda: store.stats().misses == 5)
        raise KeyError("not today")

    def call(i):
        with pytest.raises(KeyError):
            store.get_or_load("key", loader)

    in_threads(5, call)
    assert [ref() for ref in held] == [None]


@pytest.mark.usefixtures("uncollected")
def test_nothing_of_a_failed_load_stays_with_the_tasks_that_waited():
    store = TTLCache(ttl=60)
    held = []

    async def loader():
        big = Big()
        held.append(weakref.ref(big))
        while store.stats().misses < 5:
            await asyncio.sleep(0)
        raise KeyError("not today")

    async def call():
        with pytest.raises(KeyError):
            await store.get_or_load_async("key", loader)

    async def main():
        await asyncio.gather(*(call() for _ in range(5)))

    asyncio.run(main())
    assert [ref() for ref in held] == [None]


def test_a_key_that_a_load_changes_leaves_no_load_behind():
    @dataclass(unsafe_hash=True)
    class Table:
        loads: int = 0

        @cached(ttl=60)
        def row(self, key):
            self.loads += 1
            return key

    table = Table()
    assert [table.row(1) for _ in range(20)] == [1] * 20
    # The last: without the GIL another test's is not freed at once.
    *_, cache = [each for made in alive if (each := made()) is not None and each.name.endswith("Table.row")]
    assert not cache._flights


# Tasks that a loader makes


def test_a_task_that_the_loader_does_not_wait_for_gets_the_value():
    results, later = [], []

    @cached(ttl=60)
    async def load(key):
        async def ask():
            results.append(await load(key))

        if not later:
            later.append(asyncio.create_task(ask()))
        for _ in range(5):  # the task asks meanwhile
            await asyncio.sleep(0)
        return key

    async def main():
        value = await load("a")
        await later[0]
        return value

    assert asyncio.run(asyncio.wait_for(main(), TIMEOUT)) == "a"
    assert results == ["a"]
    assert load.cache_info().load_errors == 0
    assert load.cache_info().size == 1


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "inside another load"])
def test_a_task_that_the_loader_does_not_wait_for_may_ask_for_what_waits_for_the_load(inside):
    """The task is no part of the load: that another one waits for the load closes no circle."""
    store = TTLCache(ttl=60)
    go, tasks = asyncio.Event(), []

    async def a():
        tasks.append(asyncio.create_task(store.get_or_load_async("b", lambda: asyncio.sleep(0, "b for itself"))))
        await go.wait()
        return "a"

    async def b():
        return "b and " + await store.get_or_load_async("a", a)

    async def main():
        load = store.get_or_load_async("a", a)
        loads = asyncio.create_task(store.get_or_load_async("outer", lambda: load) if inside else load)
        waits = asyncio.create_task(store.get_or_load_async("b", b))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        go.set()
        return await loads, await waits, await tasks[0]

    values = asyncio.run(asyncio.wait_for(main(), TIMEOUT))
    assert values == ("a", "b and a", "b for itself")


def test_a_load_whose_tasks_ask_for_it_again_and_again():
    """The circle is found where the tasks are waited for, by way of two keys."""

    @cached(ttl=60)
    async def a():
        return await asyncio.gather(b())

    @cached(ttl=60)
    async def b():
        return await asyncio.gather(a())

    with pytest.raises(LoadCycle):
        asyncio.run(asyncio.wait_for(a(), TIMEOUT))


@pytest.mark.usefixtures("uncollected")
def test_a_task_that_the_loader_made_does_not_keep_the_value(clocks):
    held, tasks = [], []

    @cached(ttl=60, clocks=(lambda: clocks.wall, lambda: clocks.monotonic))
    async def load():
        tasks.append(asyncio.create_task(asyncio.Event().wait()))
        big = Big()
        held.append(weakref.ref(big))
        return big

    async def main():
        await load()
        assert held[0]() is not None
        clocks.run(60)
        assert load.cache_info().size == 0
        assert held[0]() is None
        tasks[0].cancel()

    asyncio.run(main())


# The age of a value


def test_a_value_is_as_old_as_its_load(clocks):
    """As RFC 9111, 4.2.3 counts it: what was read when the load began may have changed while it was under way."""
    store = clocks.cache(ttl=10)

    def slow():
        clocks.run(4)
        return 1

    store.get_or_load("key", slow)
    assert store.ttl("key") == 6
    assert store.get_or_load("slower", lambda: clocks.run(10) or "loaded") == "loaded"
    assert "slower" not in store
    assert store.get_or_load("slower", lambda: "again") == "again"


# Values that can be taken once only


@pytest.mark.parametrize(
    "make", [lambda: map(str, [1]), lambda: (i for i in [1]), lambda: iter([1]), lambda: itertools.chain([1])]
)
def test_an_iterator_is_refused(make):
    store = TTLCache(ttl=60)
    with pytest.raises(TypeError, match="iterated over only once"):
        store.get_or_load("key", make)

    async def loader():
        return make()

    with pytest.raises(TypeError, match="iterated over only once"):
        asyncio.run(store.get_or_load_async("key", loader))
    assert "key" not in store


def test_what_can_do_more_than_be_iterated_over_is_kept(tmp_path):
    store = TTLCache()
    (tmp_path / "file").write_text("a\n")
    with open(tmp_path / "file") as file:
        assert store.get_or_load("file", lambda: file) is file is store.get("file")
    assert store.get_or_load("range", lambda: range(3)) == range(3)
