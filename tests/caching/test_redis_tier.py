"""The second tier against a real Valkey server, and against everything that may happen to one.

An environment is a TTLCache here: what it does not have in memory it can only get from the server or by loading.
Nothing sleeps to move time: the server's own clock is asked what it would do (PTTL), or a key is ended at once (PEXPIRE
0).
"""

import asyncio
import json
import threading
import time
from contextlib import contextmanager

import pytest

from samovar import cached
from samovar.caching import TTLCache, shared
from samovar.caching.redis_tier import RedisTier
from tests.caching.clock import Clocks

TIMEOUT = 60  # s; only a deadlock reaches it
PATIENT = 20.0  # s that a tier waits where the limit is not the point: its own 50 ms are little on a loaded machine


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
    monkeypatch.setattr(shared, "time", lambda: clocks.wall)
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
    assert "is not shared" in said[0][1]


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


def wait_for(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.001)


def test_ten_environments_one_load(valkey):
    fleet = [environment(valkey) for _ in range(10)]
    waiting = [0]
    load = Loader("value")

    def counted(step):
        waiting[0] += 1
        return real_sleep(step)

    real_sleep = shared.sleep

    def slow():
        wait_for(lambda: waiting[0] >= 9)
        return load()

    shared.sleep = counted
    try:
        results = in_threads(*(lambda store=store: store.get_or_load("key", slow) for store in fleet))
    finally:
        shared.sleep = real_sleep
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
        wait_for(lambda: valkey.client.exists("samovar:test:'key':lock"))
        begun.set()
        return second.get_or_load("key", Loader(2))

    a, b = in_threads(lambda: first.get_or_load("key", fails), second_call)
    assert isinstance(a, KeyError)
    assert b == 2
    assert valkey.client.keys() == [b"samovar:test:'key'"]


def test_a_lock_whose_holder_is_gone_ends_by_itself(valkey):
    valkey.client.set("samovar:test:'key':lock", "a dead environment's", px=100)
    assert environment(valkey).get_or_load("key", Loader(1)) == 1
    assert valkey.client.get("samovar:test:'key'") == b"1"


def test_who_waits_too_long_loads_without_the_lock(valkey):
    valkey.client.set("samovar:test:'key':lock", "another's")
    assert environment(valkey, lock=0.02).get_or_load("key", Loader(1)) == 1
    assert valkey.client.get("samovar:test:'key':lock") == b"another's"
    assert valkey.client.get("samovar:test:'key'") is None


def test_nobody_waits_longer_than_half_of_what_is_left_of_the_invocation(valkey, monkeypatch):
    monkeypatch.setattr(shared.hooks, "remaining", lambda: 0.02)
    valkey.client.set("samovar:test:'key':lock", "another's")
    slept = []
    monkeypatch.setattr(shared, "sleep", slept.append)
    assert environment(valkey).get_or_load("key", Loader(1)) == 1
    assert slept == [0.01]


def test_a_lock_that_ended_meanwhile_is_not_anothers_to_lose(valkey, said):
    """Who took longer than the lock must neither write over what came after nor open another's lock."""
    store = environment(valkey)

    def slow():
        valkey.client.set("samovar:test:'key':lock", "another's")
        return "late"

    assert store.get_or_load("key", slow) == "late"
    assert valkey.client.get("samovar:test:'key':lock") == b"another's"
    assert valkey.client.get("samovar:test:'key'") is None
    assert "took longer than lock=60 s" in said[0][1]

    def slow_and_fails():
        valkey.client.set("samovar:test:'other':lock", "another's")
        raise KeyError

    with pytest.raises(KeyError):
        store.get_or_load("other", slow_and_fails)
    assert valkey.client.get("samovar:test:'other':lock") == b"another's"


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
        while not await asyncio.to_thread(valkey.client.exists, "samovar:test:'key':lock"):
            pass
        task.cancel()

    cancelled_load(valkey, environment(valkey), cancel)


def test_a_load_cancelled_while_it_takes_the_lock_opens_it(valkey, monkeypatch):
    store = environment(valkey)
    ask, taken, go_on = store._tier._ask, threading.Event(), threading.Event()

    def held_up(question):
        answer = ask(question)
        taken.set()
        assert go_on.wait(TIMEOUT)
        return answer

    monkeypatch.setattr(store._tier, "_ask", held_up)

    async def cancel(task):
        assert await asyncio.to_thread(taken.wait, TIMEOUT)
        assert valkey.client.exists("samovar:test:'key':lock")
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()

    cancelled_load(valkey, store, cancel)


def test_a_load_cancelled_twice_does_not_open_the_lock_before_it_has_it(valkey, monkeypatch):
    store = environment(valkey)
    ask, asked, go_on = store._tier._ask, [], threading.Event()

    def held_up(question):
        asked.append(question)
        assert len(asked) > 1 or go_on.wait(TIMEOUT)
        return ask(question)

    monkeypatch.setattr(store._tier, "_ask", held_up)

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
    clock.wall += shared.PAUSE
    store.get_or_load(1, Loader(1))
    assert store._tier.faults == 2
    assert len(said) == 1  # still the same fault
    valkey.start()
    store.get_or_load(2, Loader(2))
    assert valkey.client.keys() == []  # not yet
    clock.wall += shared.PAUSE
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
    clock.wall += shared.PAUSE
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


def test_wrong_bytes_that_come_back_are_given_up_on(valkey, said, monkeypatch):
    valkey.client.set("samovar:test:'key'", b"nonsense")
    store = environment(valkey)
    monkeypatch.setattr(store._tier._client, "delete", lambda *names: 1)
    assert store.get_or_load("key", Loader(1)) == 1
    assert len(said) == 2


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
    assert [message for _, message in said if "is not shared" in message]


def test_a_connection_that_the_server_closed_is_opened_again_without_a_word(valkey, said, never):
    store = environment(valkey)
    store.get_or_load("a", Loader(1))
    valkey.client.client_kill_filter(skipme=True, _type="normal")
    store.get_or_load("b", Loader(2))
    assert environment(valkey).get_or_load("b", never) == 2
    assert said == []


def test_a_server_that_speaks_something_else(said):
    import socket

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


def test_the_loaders_error_is_the_callers(valkey, said):
    store = environment(valkey)
    with pytest.raises(ZeroDivisionError):
        store.get_or_load("key", lambda: 1 / 0)
    assert valkey.client.keys() == []
    assert said == []


# Making one


def test_pickle_is_refused():
    import pickle

    with pytest.raises(ValueError, match="pickle"):
        RedisTier("redis://127.0.0.1", codec=pickle)


@pytest.mark.parametrize("name", ["ttl", "timeout", "lock"])
def test_times_are_checked(name):
    for value in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=name):
            RedisTier("redis://127.0.0.1", **{name: value})


def test_the_time_limit_is_50_ms_unless_told_otherwise():
    for tier, seconds in [(RedisTier("redis://127.0.0.1"), 0.05), (RedisTier("redis://127.0.0.1", timeout=0.2), 0.2)]:
        options = tier._client.connection_pool.connection_kwargs
        assert (options["socket_timeout"], options["socket_connect_timeout"]) == (seconds, seconds)


def test_mistakes_are_told_when_it_is_made(monkeypatch):
    with pytest.raises(TypeError, match="dumps"):
        RedisTier("redis://127.0.0.1", codec=object())
    with pytest.raises(ValueError, match="redis://"):
        RedisTier("127.0.0.1:6379")
    monkeypatch.setitem(__import__("sys").modules, "redis", None)
    with pytest.raises(ImportError, match=r"pip install samovar\[redis\]"):
        RedisTier("redis://127.0.0.1")


def test_redis_is_imported_when_a_tier_is_made():
    import subprocess
    import sys

    script = "import sys, samovar.caching.redis_tier; assert 'redis' not in sys.modules and 'socket' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
