"""The second tier against a real Valkey server, and against everything that may happen to one.

An environment is a TTLCache here: what it does not have in memory it can only get from the server or by loading.
Nothing sleeps to move time: the server's own clock is asked what it would do (PTTL), or a key is ended at once (PEXPIRE
0).
"""

import asyncio
import base64
import gc
import json
import pickle
import socket
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count

import pytest
import redis

from samovar import cached
from samovar.caching import TTLCache, redis_tier
from samovar.caching.redis_tier import RedisTier
from samovar.environment import environment as runtime
from samovar.local.testing.valkey import Valkey
from tests.caching.clock import Clocks
from tests.caching.servers import LIMIT as TIMEOUT
from tests.caching.servers import Line, cluster, wait_for

PATIENT = 20.0  # s that a tier waits where the limit is not the point: its own 50 ms are little on a loaded machine


ANOTHERS = redis_tier._LOCK + b"another's"


class Loader:
    def __init__(self, *values):
        self.values = list(values)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        if isinstance(value, Exception):
            raise value
        return value

    async def coroutine(self):
        await asyncio.sleep(0)
        return self()


def environment(server, **options):
    """What happens when the limits of its tier strike has tests of its own."""
    return TTLCache(name="test", ttl=60, tier=RedisTier(server.url, **{"timeout": PATIENT, "lock": TIMEOUT, **options}))


@contextmanager
def written_for(seconds, server, key):
    """Around a load: what it wrote ends so long after it was written."""
    begun = int(time.time() * 1000)
    yield
    ends = server.client.pexpiretime(key)
    assert begun <= ends - seconds * 1000 <= time.time() * 1000


@pytest.fixture
def never():
    """A loader that must not be called."""

    def load():
        pytest.fail("it is in the second tier")

    return load


@pytest.fixture
def clock(monkeypatch):
    """The time by which a tier that failed is left alone."""
    clocks = Clocks()
    monkeypatch.setattr(redis_tier, "time", lambda: clocks.wall)
    return clocks


# What it is for


def test_what_one_environment_loaded_the_next_one_finds(valkey, never):
    load = Loader({"name": "Côte d'Ivoire", "codes": ["CI", 384], "big": 2**70, "none": None})
    first, second = environment(valkey), environment(valkey)
    with written_for(60, valkey, "samovar:test:'key'"):
        value = first.get_or_load("key", load)
    assert second.get_or_load("key", never) == value == load.values[0]
    assert load.calls == 1
    assert json.loads(valkey.client.get("samovar:test:'key'")) == value
    assert valkey.client.keys("*lock*") == []
    assert (first._tier.loads, first._tier.hits) == (1, 0)
    assert (second._tier.loads, second._tier.hits) == (0, 1)


def test_none_and_falsehoods_are_values_there_too(valkey, never):
    for value in (None, 0, "", [], False):
        key = repr(value)
        assert environment(valkey).get_or_load(key, Loader(value)) == value
        assert environment(valkey).get_or_load(key, never) == value


def test_what_is_in_memory_does_not_ask_the_server(valkey):
    store = environment(valkey)
    store.get_or_load("key", Loader(1))
    valkey.client.flushall()
    assert store.get_or_load("key", Loader(2)) == 1


def test_its_own_ttl(valkey):
    with written_for(600, valkey, "samovar:test:'long'"):
        environment(valkey, ttl=600).get_or_load("long", Loader(1))
    environment(valkey, ttl=0.0001).get_or_load("short", Loader(1))
    forever = TTLCache(name="test", tier=RedisTier(valkey.url, timeout=PATIENT))
    forever.get_or_load("ever", Loader(1))
    assert valkey.client.pttl("samovar:test:'ever'") == -1
    valkey.client.pexpire("samovar:test:'long'", 0)
    assert environment(valkey).get_or_load("long", Loader(2)) == 2


def test_a_caller_gets_the_same_whether_it_was_loaded_or_found(valkey, never, clock):
    """JSON has no tuples and only string keys: both callers see that, so no code comes to rely on the difference."""
    load = Loader([("GB", 44), {1: "one"}])
    assert environment(valkey).get_or_load("rows", load) == [["GB", 44], {"1": "one"}]
    assert environment(valkey).get_or_load("rows", never) == [["GB", 44], {"1": "one"}]
    valkey.kill()
    broken = environment(valkey)
    assert broken.get_or_load("rows", load) == [["GB", 44], {"1": "one"}]
    assert broken.get_or_load("rows again", load) == [["GB", 44], {"1": "one"}]


def test_a_codec_of_the_users_own(valkey, never):
    class Utf8:
        def dumps(self, value):
            return "«" + value

        def loads(self, data):
            return data.decode().removeprefix("«")

    load = Loader("text")
    assert environment(valkey, codec=Utf8()).get_or_load("key", load) == "text"
    assert valkey.client.get("samovar:test:'key'") == "«text".encode()
    assert environment(valkey, codec=Utf8()).get_or_load("key", never) == "text"
    assert environment(valkey, codec=json).get_or_load("other", load) == "text"


def test_keys_are_told_apart(valkey):
    tier = RedisTier(valkey.url, prefix="mine:", timeout=PATIENT)
    one, two = TTLCache(name="one", tier=tier), TTLCache(name="two", tier=tier)
    assert one.get_or_load((1, "a", None, b"x", 2.5, True), Loader(1)) == 1
    assert two.get_or_load((1, "a", None, b"x", 2.5, True), Loader(2)) == 2
    assert one.get_or_load("1", Loader(3)) == 3
    assert one.get_or_load(1, Loader(4)) == 4
    names = valkey.client.keys()
    assert {name.decode() for name in names} == {
        "mine:one:(1, 'a', None, b'x', 2.5, True)",
        "mine:two:(1, 'a', None, b'x', 2.5, True)",
        "mine:one:'1'",
        "mine:one:1",
    }


def test_a_key_that_reads_differently_elsewhere_is_refused(valkey):
    store = environment(valkey)
    for key in (object(), frozenset("ab"), (1, (object(),))):
        with pytest.raises(TypeError, match=r"cannot be part of a key in the second tier.*key="):
            store.get_or_load(key, Loader(1))


def test_delete_reaches_the_tier(valkey):
    first, second = environment(valkey), environment(valkey)
    first.get_or_load("key", Loader(1))
    first.delete("key")
    assert second.get_or_load("key", Loader(2)) == 2


def test_what_was_loaded_before_a_delete_elsewhere_does_not_come_back(valkey, said):
    first, second = environment(valkey), environment(valkey)

    def load():
        second.delete("key")
        return "read before the delete"

    assert first.get_or_load("key", load) == "read before the delete"
    assert valkey.client.keys() == []
    assert second.get_or_load("key", Loader("new")) == "new"
    assert "was not written to the second tier" in said[0][1]


def test_the_decorator(valkey):
    load = Loader(1, 2)

    def rates(currency):
        return load()

    rates.__qualname__ = "rates"

    def in_a_new_environment():
        return cached(ttl=60, tier=RedisTier(valkey.url, timeout=PATIENT))(rates)

    assert in_a_new_environment()("EUR") == 1
    assert in_a_new_environment()("EUR") == 1
    assert valkey.client.keys() == [f"samovar:{__name__}.rates:('EUR',)".encode()]
    assert in_a_new_environment().cache_delete("EUR") is False  # not in memory, but gone from the tier
    assert in_a_new_environment()("EUR") == 2

    with pytest.raises(TypeError, match="no name that environments could share"):

        @cached(ttl=60, tier=RedisTier(valkey.url))
        def local():
            pass


def test_coroutine_functions(valkey):
    load = Loader([1])

    async def main():
        first, second = environment(valkey), environment(valkey)
        a = await first.get_or_load_async("key", load.coroutine)
        b = await second.get_or_load_async("key", load.coroutine)
        return a, b

    assert asyncio.run(main()) == ([1], [1])
    assert load.calls == 1


def test_a_stale_value_is_refreshed_from_the_tier(valkey, clocks, runtime):
    store = clocks.cache(name="test", ttl=60, tier=RedisTier(valkey.url, timeout=PATIENT))
    store.get_or_load("key", Loader(1), stale=60)
    valkey.client.set("samovar:test:'key'", b"2")  # another environment has loaded it since
    clocks.run(60)
    assert store.get_or_load("key", Loader(3), stale=60) == 1
    runtime()
    assert store.get("key") == 2


# One environment loads for the fleet


def in_threads(*calls):
    results = [None] * len(calls)

    def run(i):
        try:
            results[i] = calls[i]()
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive(), "deadlock"
    return results


def test_ten_environments_one_load(valkey):
    fleet = [environment(valkey) for _ in range(10)]
    waiting = [0]
    load = Loader("value")

    def counted(step):
        waiting[0] += 1
        return real_sleep(step)

    real_sleep = redis_tier.sleep

    def slow():
        wait_for(lambda: waiting[0] >= 9)
        return load()

    redis_tier.sleep = counted
    try:
        results = in_threads(*(lambda store=store: store.get_or_load("key", slow) for store in fleet))
    finally:
        redis_tier.sleep = real_sleep
    assert results == ["value"] * 10
    assert load.calls == 1
    assert valkey.client.keys() == [b"samovar:test:'key'"]


def test_ten_environments_of_coroutines_one_load(valkey):
    fleet = [environment(valkey) for _ in range(10)]
    load = Loader("value")

    async def main():
        return await asyncio.gather(*(store.get_or_load_async("key", load.coroutine) for store in fleet))

    assert asyncio.run(asyncio.wait_for(main(), TIMEOUT)) == ["value"] * 10
    assert load.calls == 1


def test_when_the_load_fails_there_the_next_one_loads_here(valkey):
    first, second = environment(valkey), environment(valkey)

    def fails():
        wait_for(lambda: begun.is_set())
        raise KeyError("first")

    begun = threading.Event()

    def second_call():
        wait_for(lambda: valkey.client.exists("samovar:test:'key'"))
        begun.set()
        return second.get_or_load("key", Loader(2))

    a, b = in_threads(lambda: first.get_or_load("key", fails), second_call)
    assert isinstance(a, KeyError)
    assert b == 2
    assert valkey.client.keys() == [b"samovar:test:'key'"]


def test_a_lock_whose_holder_is_gone_ends_by_itself(valkey):
    valkey.client.set("samovar:test:'key'", ANOTHERS, px=100)
    assert environment(valkey).get_or_load("key", Loader(1)) == 1
    assert valkey.client.get("samovar:test:'key'") == b"1"


def test_who_waits_too_long_loads_without_the_lock(valkey):
    valkey.client.set("samovar:test:'key'", ANOTHERS)
    assert environment(valkey, lock=0.02).get_or_load("key", Loader(1)) == 1
    assert valkey.client.get("samovar:test:'key'") == ANOTHERS


def test_nobody_waits_longer_than_half_of_what_is_left_of_the_invocation(valkey, monkeypatch):
    monkeypatch.setattr(redis_tier.hooks, "remaining", lambda: 0.02)
    valkey.client.set("samovar:test:'key'", ANOTHERS)
    slept = []
    monkeypatch.setattr(redis_tier, "sleep", slept.append)
    assert environment(valkey).get_or_load("key", Loader(1)) == 1
    assert slept == [0.01]


def test_a_lock_that_ended_meanwhile_is_not_anothers_to_lose(valkey, said):
    """Who took longer than the lock must neither write over what came after nor open another's lock."""
    store = environment(valkey)

    def slow():
        valkey.client.set("samovar:test:'key'", ANOTHERS)
        return "late"

    assert store.get_or_load("key", slow) == "late"
    assert valkey.client.get("samovar:test:'key'") == ANOTHERS
    assert "the load outlived its lock (lock=60 s)" in said[0][1]

    def slow_and_fails():
        valkey.client.set("samovar:test:'other'", ANOTHERS)
        raise KeyError

    with pytest.raises(KeyError):
        store.get_or_load("other", slow_and_fails)
    assert valkey.client.get("samovar:test:'other'") == ANOTHERS


def cancelled_load(valkey, store, cancel):
    """A load that would never end, until `cancel(task)` has cancelled it: nothing of it is left."""

    async def main():
        task = asyncio.create_task(store.get_or_load_async("key", asyncio.Event().wait))
        await cancel(task)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))
    assert valkey.client.keys() == []


def test_a_cancelled_load_opens_the_lock(valkey):
    async def cancel(task):
        while not await asyncio.to_thread(valkey.client.exists, "samovar:test:'key'"):
            pass
        task.cancel()

    cancelled_load(valkey, environment(valkey), cancel)


def test_a_load_cancelled_while_it_takes_the_lock_opens_it(valkey, monkeypatch):
    store = environment(valkey)
    run, taken, go_on = store._tier._run, threading.Event(), threading.Event()

    def held_up(command):
        answer = run(command)
        taken.set()
        assert go_on.wait(TIMEOUT)
        return answer

    monkeypatch.setattr(store._tier, "_run", held_up)

    async def cancel(task):
        assert await asyncio.to_thread(taken.wait, TIMEOUT)
        assert valkey.client.exists("samovar:test:'key'")
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()

    cancelled_load(valkey, store, cancel)


def test_a_load_cancelled_twice_does_not_open_the_lock_before_it_has_it(valkey, monkeypatch):
    store = environment(valkey)
    run, asked, go_on = store._tier._run, [], threading.Event()

    def held_up(command):
        asked.append(command)
        assert len(asked) > 1 or go_on.wait(TIMEOUT)
        return run(command)

    monkeypatch.setattr(store._tier, "_run", held_up)

    async def cancel(task):
        while not asked:
            await asyncio.sleep(0)
        for _ in range(2):
            task.cancel()
            for _ in range(1000):  # time for what must not be asked yet
                await asyncio.sleep(0)
        assert len(asked) == 1
        go_on.set()

    cancelled_load(valkey, store, cancel)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_load_whose_event_loop_is_closed_opens_the_lock(valkey):
    loop = asyncio.new_event_loop()
    begun = asyncio.Event()

    async def load():
        begun.set()
        await asyncio.Event().wait()

    task = loop.create_task(environment(valkey, lock=600).get_or_load_async("key", load))
    loop.run_until_complete(asyncio.wait_for(begun.wait(), TIMEOUT))
    assert valkey.client.exists("samovar:test:'key'")
    loop.close()
    task.get_coro().close()
    wait_for(lambda: not valkey.client.exists("samovar:test:'key'"))


# Faults: each costs a warning, and no invocation


def test_a_server_that_is_not_there(valkey, said, clock):
    valkey.kill()
    store = environment(valkey)
    assert [store.get_or_load(i, Loader(i)) for i in range(5)] == list(range(5))
    assert len(said) == 1
    assert said[0][0] == "WARNING"
    assert "loading without it" in said[0][1]
    assert store._tier.faults == 1  # asked once, and then left alone
    store.delete(0)
    assert len(said) == 1


def test_after_a_moment_it_is_asked_again_and_used_when_it_answers(valkey, said, clock):
    valkey.kill()
    store = environment(valkey)
    store.get_or_load(0, Loader(0))
    clock.wall += redis_tier.PAUSE
    store.get_or_load(1, Loader(1))
    assert store._tier.faults == 2
    assert len(said) == 1  # still the same fault
    valkey.start()
    store.get_or_load(2, Loader(2))
    assert valkey.client.keys() == []  # not yet
    clock.wall += redis_tier.PAUSE
    store.get_or_load(3, Loader(3))
    assert valkey.client.keys() == [b"samovar:test:3"]
    valkey.kill()
    store.get_or_load(4, Loader(4))
    assert len(said) == 2  # a new fault, a new line


def test_a_clock_set_back_does_not_leave_it_alone_for_ever(valkey, said, clock):
    valkey.kill()
    store = environment(valkey)
    store.get_or_load(0, Loader(0))
    valkey.start()
    clock.wall -= 3600
    store.get_or_load(1, Loader(1))
    assert valkey.client.keys() == [b"samovar:test:1"]


def test_a_server_that_is_killed_in_the_middle_of_a_call(valkey, said):
    """It stands still with the question in it, and dies before it has answered."""
    store = environment(valkey)
    store.get_or_load("before", Loader(1))
    valkey.pause()
    results = []
    thread = threading.Thread(target=lambda: results.append(store.get_or_load("key", Loader(2))), daemon=True)
    thread.start()
    wait_for(lambda: store.stats().misses == 2)
    time.sleep(0.02)  # lets the question be sent; if it is not yet, the server is found dead instead
    valkey.kill()
    thread.join(TIMEOUT)
    assert results == [2]
    assert len(said) == 1
    assert "ConnectionError" in said[0][1] or "ConnectionRefused" in said[0][1]


def test_a_server_that_dies_while_the_value_is_loaded(valkey, said):
    store = environment(valkey)

    def load():
        valkey.kill()
        return 1

    assert store.get_or_load("key", load) == 1
    assert len(said) == 1


def test_a_server_that_dies_while_the_load_fails(valkey, said):
    store = environment(valkey)

    def load():
        valkey.kill()
        raise KeyError("the loader's own")

    with pytest.raises(KeyError, match="the loader's own"):
        store.get_or_load("key", load)
    assert len(said) == 1


@pytest.mark.parametrize("connected", [False, True])
def test_a_server_that_is_paused(valkey, said, clock, connected):
    store = environment(valkey, timeout=3.0)
    if connected:
        store.get_or_load("before", Loader(1))
    valkey.pause()
    assert [store.get_or_load(i, Loader(i)) for i in range(5)] == list(range(5))
    assert len(said) == 1
    assert "Timeout" in said[0][1]
    assert store._tier.faults == 1
    valkey.resume()
    clock.wall += redis_tier.PAUSE
    store.get_or_load("after", Loader(1))
    # The answer that came too late is not taken for a later one's.
    assert valkey.client.get("samovar:test:'after'") == b"1"
    assert store.get_or_load("last", Loader(7)) == 7
    assert valkey.client.get("samovar:test:'last'") == b"7"


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\x80\x04\x95pickle", b"[1, 2", b"\xff" * 1000, b"nonsense"],
    ids=["empty", "pickle", "half", "ff", "word"],
)
def test_wrong_bytes_are_loaded_anew_and_written_over(valkey, said, garbage):
    valkey.client.set("samovar:test:'key'", garbage)
    store = environment(valkey)
    assert store.get_or_load("key", Loader(1)) == 1
    assert len(said) == 1
    assert "samovar:test:'key' in the second tier is not a value" in said[0][1]
    assert valkey.client.get("samovar:test:'key'") == b"1"
    assert valkey.client.keys() == [b"samovar:test:'key'"]
    store.get_or_load("other", Loader(1))
    assert len(said) == 1  # one key's garbage is not the tier's fault


def test_wrong_bytes_that_come_back_are_given_up_on(valkey, said):
    class Misread:
        dumps = json.dumps

        def loads(self, data):
            valkey.client.set("samovar:test:'key'", b"more " + data)
            return json.loads(data)

    valkey.client.set("samovar:test:'key'", b"nonsense")
    store = environment(valkey, codec=Misread())
    assert store.get_or_load("key", Loader(1)) == 1
    assert len([line for line in said if "is not a value" in line[1]]) == 2


def test_a_key_that_holds_no_string(valkey, said):
    valkey.client.rpush("samovar:test:'key'", "a", "list")
    store = environment(valkey)
    assert store.get_or_load("key", Loader(1)) == 1
    assert "samovar:test:'key' in the second tier is not a value" in said[0][1]
    assert valkey.client.get("samovar:test:'key'") == b"1"
    assert store.get_or_load("other", Loader(1)) == 1
    assert len(said) == 1


def test_a_server_that_was_flushed(valkey, said):
    store = environment(valkey)
    store.get_or_load("key", Loader(1))
    valkey.client.flushall()
    assert environment(valkey).get_or_load("key", Loader(2)) == 2
    valkey.client.script_flush()
    assert environment(valkey).get_or_load("key", Loader(3)) == 2

    def load():
        valkey.client.flushall()  # the lock goes too
        return 4

    assert store.get_or_load("other", load) == 4
    assert [message for _, message in said if "was not written to the second tier" in message]


def test_a_connection_that_the_server_closed_is_opened_again_without_a_word(valkey, said, never):
    store = environment(valkey)
    store.get_or_load("a", Loader(1))
    valkey.client.client_kill_filter(skipme=True, _type="normal")
    store.get_or_load("b", Loader(2))
    assert environment(valkey).get_or_load("b", never) == 2
    assert said == []


def test_a_server_that_speaks_something_else(said):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        store = TTLCache(name="test", tier=RedisTier(f"redis://127.0.0.1:{server.getsockname()[1]}"))
        assert store.get_or_load("key", Loader(1)) == 1
    assert len(said) == 1


def test_a_server_that_refuses(valkey, said, clock):
    valkey.client.config_set("requirepass", "secret")
    try:
        assert environment(valkey).get_or_load("key", Loader(1)) == 1
        assert "Authentication" in said[0][1]
    finally:
        valkey.client.config_set("requirepass", "")
    valkey.client.config_set("maxmemory", "1")
    try:
        assert environment(valkey).get_or_load("key", Loader(1)) == 1
        assert "maxmemory" in said[1][1]
    finally:
        valkey.client.config_set("maxmemory", "0")
    assert len(said) == 2


def test_a_value_that_json_does_not_take(valkey, said):
    value = object()
    store = environment(valkey)
    assert store.get_or_load("key", Loader(value)) is value
    assert len(said) == 1
    assert "samovar:test:'key' cannot be kept in the second tier" in said[0][1]
    assert valkey.client.keys() == []
    assert store.get("key") is value  # but it is in memory


def test_a_value_that_looks_like_a_lock_is_not_kept(valkey, said):
    """Others would wait for it to be opened."""

    class Bytes:
        def dumps(self, value):
            return value

        def loads(self, data):
            return data

    assert environment(valkey, codec=Bytes()).get_or_load("key", Loader(ANOTHERS)) == ANOTHERS
    assert "cannot be kept" in said[0][1]
    assert valkey.client.keys() == []


def test_the_loaders_error_is_the_callers(valkey, said):
    store = environment(valkey)
    with pytest.raises(ZeroDivisionError):
        store.get_or_load("key", lambda: 1 / 0)
    assert valkey.client.keys() == []
    assert said == []


def test_a_loaders_stop_iteration_is_the_callers(valkey):
    """As functools.lru_cache hands it on; out of a generator it would be a RuntimeError."""
    store = environment(valkey)
    with pytest.raises(StopIteration, match="the loader's own"):
        store.get_or_load("key", Loader(StopIteration("the loader's own")))
    assert valkey.client.keys() == []


@pytest.mark.parametrize("fault", [False, True], ids=["with the tier", "without it"])
def test_what_a_failed_load_held_is_freed_with_its_exception(valkey, said, fault):
    """Without the cyclic collector, which may be long in coming."""
    if fault:
        valkey.kill()
    tier = RedisTier(valkey.url, timeout=PATIENT)

    class Large:
        pass

    def load():
        large = Large()
        held.append(weakref.ref(large))
        raise KeyError

    async def coroutine():
        load()

    held = []
    gc.disable()
    try:
        for _ in range(3):
            try:
                tier.fetch("key", load, 60)
            except KeyError:
                pass
        assert [large() for large in held] == [None] * 3

        async def main():
            try:
                await tier.fetch_async("key", coroutine, 60)
            except KeyError:
                pass

        asyncio.run(main())
        assert held[-1]() is None
    finally:
        gc.enable()


# No question costs more than `timeout`


def one_line(said, text="no reply within"):
    assert [level for level, _ in said] == ["WARNING"]
    assert text in said[0][1]


def test_the_time_limit_is_50_ms_unless_told_otherwise(valkey, said):
    valkey.pause()
    TTLCache(name="test", tier=RedisTier(valkey.url)).get_or_load("key", Loader(1))
    TTLCache(name="test", tier=RedisTier(valkey.url, timeout=0.02)).get_or_load("key", Loader(1))
    assert [message.rpartition("timeout=")[2] for _, message in said] == ["0.05 s", "0.02 s"]


def test_an_answer_in_drips(valkey, said):
    """Each byte is in time for itself."""
    with Line(valkey) as line:
        line.drips = True
        line.open.clear()
        store = TTLCache(name="test", tier=RedisTier(line.url))
        assert store.get_or_load("key", Loader(1)) == 1
        one_line(said)


def test_a_name_that_nobody_resolves(valkey, said, monkeypatch):
    resolve, go_on = socket.getaddrinfo, threading.Event()

    def held_up(*args, **options):
        assert go_on.wait(TIMEOUT)
        return resolve(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", held_up)
    store = TTLCache(name="test", tier=RedisTier(valkey.url))
    assert store.get_or_load("key", Loader(1)) == 1
    one_line(said)
    go_on.set()


def test_a_connection_that_took_too_long_serves_the_next_question(valkey, said, clock):
    with Line(valkey) as line:
        line.open.clear()
        store = TTLCache(name="test", tier=RedisTier(line.url, timeout=5))
        store._tier._timeout = 0.01
        store.get_or_load("key", Loader(1))
        one_line(said)
        line.open.set()
        pool = store._tier._client.connection_pool
        # The first, and to open its lock; its reply has come, too, and the connection is free.
        wait_for(lambda: line.questions == 2 and pool._available_connections)
        ends = len(line._ends)
        store._tier._timeout = PATIENT
        clock.wall += redis_tier.PAUSE
        store.get_or_load("other", Loader(2))
        assert valkey.client.get("samovar:test:'other'") == b"2"
        assert len(line._ends) == ends


def test_tasks_wait_neither_for_the_loops_executor_nor_for_each_others_time_limit(valkey, said, clock):
    go_on = threading.Event()

    async def main():
        with ThreadPoolExecutor(1) as executor:
            loop = asyncio.get_running_loop()
            loop.set_default_executor(executor)
            loop.run_in_executor(None, go_on.wait, TIMEOUT)
            load = Loader(1)
            assert await environment(valkey).get_or_load_async("key", load.coroutine) == 1
            assert valkey.client.get("samovar:test:'key'") == b"1"
            valkey.pause()
            store = environment(valkey, timeout=0.2)
            keys = range(5 * redis_tier.LANES)
            assert await asyncio.gather(*(store.get_or_load_async(i, load.coroutine) for i in keys)) == [1] * len(keys)
            assert store._tier.faults == redis_tier.LANES  # the others saw that it is left alone
            one_line(said)
            valkey.resume()
            go_on.set()

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))


def test_a_thread_that_cannot_be_started_is_a_fault_like_others(valkey, said, monkeypatch):
    def refuse(*args):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(redis_tier, "start_new_thread", refuse)
    assert environment(valkey).get_or_load("key", Loader(1)) == 1
    assert asyncio.run(environment(valkey).get_or_load_async("key", Loader(1).coroutine)) == 1
    assert [message.rpartition(": ")[2] for _, message in said] == ["can't start new thread"] * 2


def test_an_answer_to_what_was_asked_before_a_fault_does_not_end_it(valkey, said, clock):
    """Or each fault of a tier that answers now and then would be a new one."""
    with Line(valkey) as line:
        tier = RedisTier(line.url, timeout=PATIENT)
        tier.fetch("before", Loader(1), 60)
        questions = line.questions
        line.open.clear()
        rests = []

        def early():
            tier.fetch("early", lambda: rests.append(tier._rests()), 60)

        def late():
            wait_for(lambda: line.questions > questions)
            tier._timeout = 0.01
            tier.fetch("late", Loader(1), 60)
            tier._timeout = PATIENT
            line.open.set()

        in_threads(early, late)
        one_line(said)
        assert rests == [True]
        assert valkey.client.get("samovar:early") == b"null"


# A lock whose taking or giving back was not heard of


@pytest.fixture
def no_waiting(monkeypatch):
    def sleep(seconds):
        pytest.fail("waits for a lock that nobody holds")

    monkeypatch.setattr(redis_tier, "sleep", sleep)


def test_a_lock_that_was_taken_too_late_is_opened(valkey, said, clock, no_waiting):
    with Line(valkey) as line:
        store = environment(line, lock=600)
        store.get_or_load("before", Loader(0))
        line.open.clear()
        store._tier._timeout = 0.01
        assert store.get_or_load("key", Loader(1)) == 1
        one_line(said)
        wait_for(lambda: valkey.client.exists("samovar:test:'key'"))
        line.open.set()
        wait_for(lambda: not valkey.client.exists("samovar:test:'key'"))
        assert environment(valkey).get_or_load("key", Loader(2)) == 2
        wait_for(lambda: store._tier._unsettled == {})
        assert len(said) == 1


@pytest.mark.parametrize("lost", ["lock", "write"])
def test_an_answer_that_is_lost_is_one_fault_for_everyone(valkey, said, clock, no_waiting, lost):
    with Line(valkey) as line:
        store = environment(line, lock=600)
        load = Loader(1)

        def loads():
            if lost == "write":
                line.cuts = 1
            return load()

        line.cuts = 1 if lost == "lock" else 0
        assert store.get_or_load("key", loads) == 1
        one_line(said, "ConnectionError")
        wait_for(lambda: store._tier._unsettled == {})
        assert environment(valkey).get_or_load("key", load) == 1
        assert load.calls == (2 if lost == "lock" else 1)


def test_a_lock_that_could_not_be_opened_is_not_waited_for_here(valkey, said, clock, no_waiting):
    with Line(valkey) as line:
        store = environment(line, lock=600)
        line.cuts = 1
        tier, opened = store._tier, threading.Event()
        take_back = tier._take_back

        def tried(command):
            tier._run = lambda command: 1 / 0
            take_back(command)
            del tier._run
            opened.set()

        tier._take_back = tried
        assert store.get_or_load("key", Loader(1)) == 1
        one_line(said, "ConnectionError")
        assert opened.wait(TIMEOUT)
        assert valkey.client.get("samovar:test:'key'").startswith(redis_tier._LOCK)
        line.cuts = 0
        del tier._take_back
        clock.wall += redis_tier.PAUSE
        assert TTLCache(name="test", tier=tier).get_or_load("key", Loader(2)) == 2
        assert valkey.client.get("samovar:test:'key'") == b"2"
        assert tier._unsettled == {}


def test_what_was_never_settled_is_forgotten_when_its_lock_has_ended(valkey, said, clock):
    valkey.kill()
    store = environment(valkey, lock=10)
    for i in range(100):
        store.get_or_load(i, Loader(i))
        clock.wall += redis_tier.PAUSE
    assert len(store._tier._unsettled) <= 22


def test_a_load_that_goes_on_keeps_its_lock_from_others_here(valkey):
    """Two caches of one name and tier are two environments to each other."""
    tier = RedisTier(valkey.url, timeout=PATIENT, lock=TIMEOUT)
    first, second = TTLCache(name="test", tier=tier), TTLCache(name="test", tier=tier)
    begun, load = threading.Event(), Loader(1)

    def slow():
        begun.set()
        wait_for(lambda: second.stats().misses)
        time.sleep(0.02)  # lets it ask for the lock; if it has not yet, it finds the value
        return load()

    def after():
        assert begun.wait(TIMEOUT)
        return second.get_or_load("key", load)

    assert in_threads(lambda: first.get_or_load("key", slow), after) == [1, 1]
    assert load.calls == 1


class Interrupt(BaseException):
    pass


def test_a_signal_handler_that_raises_at_any_instruction_leaves_no_lock_to_wait_for(valkey, monkeypatch):
    """A next load of the same key neither waits for the first one's lock nor is kept from writing."""
    tier = RedisTier(valkey.url, timeout=PATIENT, lock=TIMEOUT)
    real_sleep, slept = time.sleep, []
    monkeypatch.setattr(redis_tier, "sleep", lambda seconds: (slept.append(seconds), real_sleep(seconds)))

    def interrupted(n):
        """Whether a load came so far as to its nth instruction."""
        left = n

        def trace(frame, event, _):
            nonlocal left
            if frame.f_code.co_filename != redis_tier.__file__:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                left -= 1
                if left == 0:
                    raise Interrupt
            return trace

        sys.settrace(trace)
        try:
            tier.fetch(f"key {n}", Loader(1), 60)
        except Interrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    last = next(n for n in count(1) if not interrupted(n))
    assert last > 100
    for n in range(1, last):
        assert tier.fetch(f"key {n}", Loader(2), 60) in (1, 2)
        assert len(slept) < 20, f"instruction {n}"  # a late question of the interrupted load costs a look at most
    tier.fetch("key", Loader(1), 60)
    wait_for(lambda: not any(value.startswith(redis_tier._LOCK) for value in valkey.client.mget(valkey.client.keys())))


# Clusters, and servers that others take over from


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


KEYS = ["plain", "{tag}", "a}b{c}", "{}", "}{", "é{", (1, "}"), *range(20)]


def test_a_cluster(nodes, said, never):
    load = Loader(1)
    first, second = environment(nodes[0]), environment(nodes[3])
    for key in KEYS:
        assert first.get_or_load(key, load) == 1
        assert second.get_or_load(key, never) == 1
    assert load.calls == len(KEYS)
    assert (first._tier.faults, second._tier.faults, said) == (0, 0, [])
    assert all(node.client.dbsize() for node in nodes)
    for key in KEYS:
        first.delete(key)
    assert not any(node.client.dbsize() for node in nodes[:3])


def test_a_cluster_for_coroutines(nodes, said):
    async def main():
        stores = [environment(nodes[1]) for _ in range(5)]
        load = Loader(1)
        calls = [store.get_or_load_async(("async", key), load.coroutine) for store in stores for key in KEYS]
        assert await asyncio.gather(*calls) == [1] * len(calls)
        assert load.calls == len(KEYS)

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))
    assert said == []


def test_a_cluster_whose_node_becomes_a_replica_and_dies(nodes, said, clock, never):
    first, _, _, replica = nodes
    store = environment(first)
    load = Loader(1)
    loaded = [store.get_or_load(("before", i), load) for i in range(20)]
    assert loaded == [1] * 20
    wait_for(lambda: first.client.wait(1, 1000) == 1)
    replica.client.execute_command("CLUSTER FAILOVER")
    wait_for(lambda: replica.client.info("replication")["role"] == "master")
    wait_for(lambda: first.client.info("replication")["role"] == "slave")
    for i in range(20):
        assert store.get_or_load(("moved", i), load) == 1
        assert environment(nodes[1]).get_or_load(("moved", i), never) == 1
    assert said == []
    first.kill()
    for i in range(20):
        assert store.get_or_load(("dead", i), load) == 1
        assert environment(nodes[2]).get_or_load(("dead", i), never) == 1
    assert said == []


def test_a_server_that_was_demoted(valkey, said, clock, never):
    """Its connections stay open and refuse to write; the name leads to the new one."""
    with Valkey() as heir, Line(valkey) as line:
        client = redis.Redis(port=heir.port)
        store = environment(line)
        store.get_or_load("before", Loader(1))
        valkey.client.replicaof("127.0.0.1", heir.port)
        try:
            wait_for(lambda: valkey.client.info("replication")["master_link_status"] == "up")
            line.server = heir
            assert store.get_or_load("key", Loader(2)) == 2
            one_line(said, "ReadOnlyError")
            wait_for(lambda: store._tier._unsettled == {})
            clock.wall += redis_tier.PAUSE
            assert store.get_or_load("after", Loader(3)) == 3
            assert client.get("samovar:test:'after'") == b"3"
            assert len(said) == 1
        finally:
            valkey.client.replicaof("NO", "ONE")
            client.close()


def test_a_server_that_is_still_loading(tmp_path, said, clock):
    with Valkey("--dir", str(tmp_path)) as before, redis.Redis(port=before.port) as client:
        client.mset({f"key {i}": i for i in range(20_000)})
        client.save()
    server = Valkey(
        "--dir", str(tmp_path), "--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"
    )
    server._launch()
    try:
        wait_for(lambda: first_words(server).startswith(b"-LOADING"))
        store = environment(server)
        assert store.get_or_load("key", Loader(1)) == 1
        one_line(said, "BusyLoadingError")
        with redis.Redis(port=server.port) as client:
            client.config_set("key-load-delay", 0)
            wait_for(server.answers)
            clock.wall += redis_tier.PAUSE
            assert store.get_or_load("after", Loader(2)) == 2
            assert client.get("samovar:test:'after'") == b"2"
    finally:
        server.stop()


def first_words(server):
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(100)
    except OSError:
        return b""


# Making one


class Wrapped:
    """pickle by another name, and not to be recognised by its bytes."""

    def dumps(self, value):
        return base64.b64encode(pickle.dumps(value))

    def loads(self, data):
        return pickle.loads(base64.b64decode(data))


@pytest.mark.parametrize("codec", [pickle, Wrapped()], ids=["pickle", "wrapped"])
def test_what_can_run_code_as_pickle_can_is_refused(codec):
    with pytest.raises(ValueError, match="like pickle, it would let anyone"):
        RedisTier("redis://127.0.0.1", codec=codec)


@pytest.mark.parametrize("name", ["ttl", "timeout", "lock"])
def test_times_are_checked(name):
    for value in (0, -1, float("inf"), float("nan"), "60"):
        with pytest.raises(ValueError, match=rf"{name}={value!r}: give seconds, more than 0"):
            RedisTier("redis://127.0.0.1", **{name: value})


@pytest.mark.parametrize("name", ["timeout", "lock"])
def test_times_of_one_load_are_within_an_invocations(name):
    with pytest.raises(ValueError, match=rf"{name}={sys.maxsize}: give seconds, more than 0 and at most 900"):
        RedisTier("redis://127.0.0.1", **{name: sys.maxsize})


@pytest.mark.parametrize("ttl", [sys.maxsize, 10**400, 1e300])
def test_a_ttl_that_the_server_cannot_count_is_no_end(valkey, said, ttl):
    environment(valkey, ttl=ttl).get_or_load("tier's", Loader(1))
    store = environment(valkey)
    store._tier.fetch("callers", Loader(1), ttl)
    assert valkey.client.pttl('samovar:test:"tier\'s"') == valkey.client.pttl("samovar:callers") == -1
    assert said == []


@pytest.mark.parametrize(
    "option",
    ["socket_timeout=30", "socket_connect_timeout=30", "decode_responses=true", "protocol=3", "retry_on_timeout=true"],
)
def test_the_url_does_not_decide_what_the_tier_does(option):
    name = option.partition("=")[0]
    with pytest.raises(ValueError, match=rf"{name} in the url: leave it out.*timeout="):
        RedisTier(f"redis://127.0.0.1?{option}")


def test_the_url_may_say_the_rest():
    RedisTier("redis://user:secret@127.0.0.1:6379/0?client_name=samovar&health_check_interval=30")
    RedisTier("rediss://127.0.0.1/0?ssl_cert_reqs=none")
    RedisTier("unix:///tmp/valkey.sock?db=1")
    with pytest.raises(ValueError, match="sokket_timeout"):
        RedisTier("redis://127.0.0.1?sokket_timeout=30")


def test_mistakes_are_told_when_it_is_made(monkeypatch):
    with pytest.raises(TypeError, match="dumps"):
        RedisTier("redis://127.0.0.1", codec=object())
    with pytest.raises(ValueError, match="redis://"):
        RedisTier("127.0.0.1:6379")
    for url in (None, b"redis://127.0.0.1"):
        with pytest.raises(TypeError, match=r"url=.*: give a str"):
            RedisTier(url)
    with pytest.raises(TypeError, match="prefix=None: give a str"):
        RedisTier("redis://127.0.0.1", prefix=None)
    monkeypatch.setattr(redis, "__version__", "4.6.0")
    with pytest.raises(ImportError, match=r"redis package, 5 or later: pip install samovar\[redis\]; .*: 4\.6\.0"):
        RedisTier("redis://127.0.0.1")
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r"pip install samovar\[redis\]"):
        RedisTier("redis://127.0.0.1")


def test_redis_is_imported_when_a_tier_is_made():
    import subprocess

    script = "import sys, samovar.caching.redis_tier; assert 'redis' not in sys.modules and 'socket' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


# A snapshot


def test_a_tier_has_no_connection_in_a_snapshot_and_connects_anew_after_the_restore(valkey, never):
    store = environment(valkey)
    store.get_or_load("key", Loader(1))
    before = connections(valkey)
    for work in runtime.at_snapshot:
        work()
    wait_for(lambda: len(connections(valkey)) == len(before) - 1)
    store.clear()
    for work in runtime.at_restore:
        work()
    assert store.get_or_load("key", never) == 1
    assert store._tier.faults == 0
    assert connections(valkey) - before


def connections(server):
    return {each["id"] for each in server.client.client_list()}


def test_a_tier_that_is_gone_leaves_nothing_behind(valkey):
    made = environment(valkey)
    kept = redis_tier._tiers[-1]
    assert kept() is made._tier
    del made
    gc.collect()
    assert kept not in redis_tier._tiers
