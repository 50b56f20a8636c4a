"""A second tier in Redis or Valkey: what one environment has loaded, the others find. `pip install samovar[redis]`.

Read on a miss, written on a load. One environment loads for all: on a miss it takes a lock, a token with a time limit
under the key; the others poll until the value appears or the lock is free. Only the holder of the lock writes, so that
a value loaded before a `delete` cannot come back after it. Value and lock are one key, so each step concerns one slot,
and one node, of a cluster. A tier that is down or slow, or holds garbage, costs one warning, and the loader is called:
nothing here fails an invocation but the loader itself. After a fault the tier is left alone for PAUSE.

Each question is asked in a thread of its own, and waited for within `timeout`, because no limit of a socket covers DNS,
connecting, TLS, redirections and a reply in drips together. The thread doubles the cost of a question. It goes on when
nobody waits any more: it finishes the connection for the next question, and releases the lock that a late reply shows
to be taken.

Knows the redis package, which it imports when a tier is made, and the codec; nothing of entries, and of the invocation
only the time left. What to do is decided in one place (`_find`, `_keep`, `_give_up`), without input or output, and
carried out in two: for threads and for tasks.
"""

import sys
from _contextvars import copy_context
from _thread import RLock, allocate_lock, start_new_thread
from _weakref import ref
from os import urandom
from time import sleep, time

from samovar import codec as json_codec
from samovar import hooks, logs
from samovar.environment import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Generator
    from typing import Any, Protocol

    class Codec(Protocol):
        """Values to bytes and back; may raise anything for what it cannot take."""

        def dumps(self, value: Any, /) -> bytes | str: ...
        def loads(self, data: bytes, /) -> Any: ...

    # The next step, a command for the server or a pause in seconds, and its outcome.
    Command = tuple[Any, ...]
    Steps = Generator[Command | float, Any, Any]

LANES = 16  # questions at once from the tasks of one event loop; a thousand threads would be late, all of them
PAUSE = 1.0  # s that a tier is left alone after a fault, so that not every load waits for the time limit
_LONGEST_INVOCATION = 900  # s; Lambda's limit
_FOREVER = 1e12  # s; a ttl from here on has no end: the server refuses what does not fit in 63 bits of milliseconds
_LOCK = b"\0samovar lock "  # how a lock begins; the token follows

# Each of these is one round trip, and one step for the server. ARGV[1] is the lock.
_READ_OR_LOCK = """
local value = redis.pcall('get', KEYS[1])
if type(value) == 'table' then value = 2 end
if not value or tostring(value) == ARGV[3] then
  redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
  return 1
end
if string.sub(value, 1, 14) == string.sub(ARGV[1], 1, 14) then return 0 end
return value
"""
_WRITE = """
if redis.pcall('get', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '0' then redis.call('set', KEYS[1], ARGV[2]) else redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3]) end
return 1
"""
_UNLOCK = "if redis.pcall('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
_LOCKED, _HELD_BY_ANOTHER, _NO_STRING = 1, 0, 2
_FAULT: "Any" = object()  # instead of a reply


class RedisTier:
    """A second tier for TTLCache and `cached`, in a Redis or Valkey server or cluster.

    `hits`, `loads` and `faults` count what was found there, what was loaded, and what failed.

    Args:
        url: `redis://[[user]:password@]host[:port][/db]`, `rediss://` for TLS, `unix://` for a socket. Any node of a
            cluster will do; it names the others.
        ttl: seconds a value lives there; by default as long as in an environment. A value may be as old as both
            together.
        codec: an object with dumps and loads; by default JSON. Every value goes through it once, so that a caller gets
            the same whether the value was loaded here or found there. pickle and the like are refused: anyone who can
            write to the server could run code here.
        prefix: the beginning of all keys.
        timeout: seconds for each question to the server, with all that it takes: DNS, connecting, TLS, the whole reply.
        lock: seconds that a load may take while other environments wait for it; after that they load themselves.

    Raises:
        ImportError: without the redis package, version 5 or later.
        TypeError, ValueError: for an argument that cannot be.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl: float | None = None,
        codec: "Codec | None" = None,
        prefix: str = "samovar:",
        timeout: float = 0.05,
        lock: float = 10.0,
    ) -> None:
        for name, text in (("url", url), ("prefix", prefix)):
            if not isinstance(text, str):
                raise TypeError(f"{name}={text!r}: give a str")
        if ttl is not None and not (isinstance(ttl, (int, float)) and 0 < ttl < float("inf")):
            raise ValueError(
                f"ttl={ttl!r}: give seconds, more than 0, or None for what a value lives in an environment"
            )
        for name, seconds in (("timeout", timeout), ("lock", lock)):
            if not (isinstance(seconds, (int, float)) and 0 < seconds <= _LONGEST_INVOCATION):
                raise ValueError(
                    f"{name}={seconds!r}: give seconds, more than 0 and at most {_LONGEST_INVOCATION}, "
                    "the longest that an invocation takes"
                )
        if codec is not None:
            _check_codec(codec)
        try:
            import redis

            version = redis.__version__
            if int(version.partition(".")[0]) < 5:
                raise ImportError(f"{version} is too old")
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except Exception as error:
            found = getattr(sys.modules.get("redis"), "__file__", None) or "none"
            raise ImportError(
                f"RedisTier needs the redis package, 5 or later: pip install samovar[redis]; found {found}: {error}"
            ) from error
        options: dict[str, Any] = {
            # For the thread that asks. It waits for a late reply as long as the lock it may have taken can last.
            "socket_timeout": max(timeout, lock),
            "socket_connect_timeout": max(timeout, PAUSE),
            "retry_on_timeout": False,
            "retry_on_error": [],
            "decode_responses": False,
            "protocol": 2,  # no HELLO before the first command
        }
        # A connection that was closed while the environment was frozen is noticed, and opened again, without a retry.
        single, cluster = redis.Redis, redis.RedisCluster
        self._connect: Callable[[], Any] = lambda: single.from_url(url, retry=Retry(NoBackoff(), 0), **options)
        self._join: Callable[[], Any] = lambda: cluster.from_url(url, retry=Retry(NoBackoff(), 1), **options)
        self._client: Any = self._connect()
        pool = self._client.connection_pool
        for name, value in options.items():
            if pool.connection_kwargs.get(name) != value:
                raise ValueError(
                    f"{name} in the url: leave it out, the tier sets it. timeout= limits each question as a whole"
                )
        try:
            pool.connection_class(**pool.connection_kwargs)  # does not connect
        except Exception as error:
            raise ValueError(f"the url has an option that the redis package does not take: {error}") from error
        self._ttl = ttl
        self._codec: Codec = json_codec if codec is None else codec
        self._prefix = prefix
        self._timeout = timeout
        self._lock = lock
        self._broken_at: float | None = None
        # By key: the lock that the last load of it here asked for and has not given back, that load, and when it began.
        self._unsettled: dict[str, tuple[bytes, ref[_Load], float]] = {}
        self._lanes: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None
        self.hits = self.loads = self.faults = 0
        self._counting = RLock()  # re-entrant, as a signal handler may ask the tier
        _tiers.append(ref(self, _tiers.remove))

    def fetch(self, key: str, loader: "Callable[[], Any]", ttl: float) -> "Any":
        """Return the value in the tier, or else what loader() gives, and write that for the tier's own ttl or `ttl`
        seconds.

        Raises:
            Exception: what the loader raises.
        """
        load = _Load(self._prefix + key)
        try:
            found, value = self._carry_out(self._find(load))
            if found:
                return value
            return self._carry_out(self._keep(load, loader(), ttl))
        except BaseException:
            self._carry_out(self._give_up(load))
            raise

    async def fetch_async(self, key: str, loader: "Callable[[], Awaitable[Any]]", ttl: float) -> "Any":
        """Do what `fetch` does, for a coroutine function: the event loop goes on while the server is asked."""
        load = _Load(self._prefix + key)
        try:
            found, value = await self._carry_out_async(self._find(load))
            if found:
                return value
            return await self._carry_out_async(self._keep(load, await loader(), ttl))
        except GeneratorExit:  # nobody is left to wait for a reply
            if load.holds:
                _Question(self, ("EVAL", _UNLOCK, 1, load.name, load.lock), lambda: None).start()
            raise
        except BaseException:
            await self._carry_out_async(self._give_up(load))
            raise

    def delete(self, key: str) -> None:
        """Take the value out of the tier; a load of it under way in any environment will not be written."""
        self._ask(("DEL", self._prefix + key))

    # What to do.

    def _find(self, load: "_Load") -> "Steps":
        """Return (True, the value), or (False, None) if it is to be loaded. Waits while another environment loads."""
        if self._rests():
            return False, None
        name = load.name
        # The lock of an earlier load that was interrupted, or did not learn that it had the lock, is not waited for.
        before = self._unsettled.get(name)
        void = before[0] if before is not None and before[1]() is None else load.lock
        self._unsettled[name] = load.lock, ref(load), time()
        load.holds = True  # until the reply says otherwise: a request that is interrupted may have taken the lock
        patience = min(self._lock, hooks.remaining() / 2)  # leaves time to load if the other environment fails
        pause = 0.01
        for_garbage = 1
        while True:
            reply = yield ("EVAL", _READ_OR_LOCK, 1, name, load.lock, _ms(self._lock), void)
            if reply == _LOCKED:
                return False, None
            if reply is _FAULT:
                load.holds = False
                return False, None
            if reply == _HELD_BY_ANOTHER:
                if patience <= 0:
                    self._settle(load)
                    return False, None
                yield pause
                patience -= pause
                pause = min(pause * 1.5, 0.1)
                continue
            try:
                if reply == _NO_STRING:
                    raise TypeError("it is not a string")
                value = self._codec.loads(reply)
            except Exception as error:
                with self._counting:
                    self.faults += 1
                logs.record(
                    "WARNING", f"{name} in the second tier is not a value, so it is loaded: {_described(error)}"
                )
                if not for_garbage:
                    self._settle(load)
                    return False, None
                for_garbage -= 1
                void = reply
            else:
                self._settle(load)
                with self._counting:
                    self.hits += 1
                return True, value

    def _keep(self, load: "_Load", value: "Any", ttl: float) -> "Steps":
        """Write what was loaded, if this load holds the lock. Return the value as it would come out of the tier."""
        with self._counting:
            self.loads += 1
        name = load.name
        try:
            data = self._codec.dumps(value)
            if isinstance(data, str):
                data = data.encode()
            if data.startswith(_LOCK):
                raise ValueError("its bytes begin like those of a lock")
            value = self._codec.loads(data)
        except Exception as error:
            logs.record("WARNING", f"{name} cannot be kept in the second tier: {_described(error)}")
            yield from self._give_up(load)
            return value
        if load.holds:
            lives = ttl if self._ttl is None else self._ttl
            milliseconds = 0 if lives >= _FOREVER else _ms(lives)
            written = yield ("EVAL", _WRITE, 1, name, load.lock, data, milliseconds)
            load.holds = False
            if written is not _FAULT:
                self._settle(load)
            if written == 0:
                logs.record(
                    "WARNING",
                    f"{name} was not written to the second tier: the load outlived its lock (lock={self._lock} s), "
                    "or the key was deleted",
                )
        return value

    def _give_up(self, load: "_Load") -> "Steps":
        """Release the lock, if this load holds it."""
        if load.holds and (yield ("EVAL", _UNLOCK, 1, load.name, load.lock)) is not _FAULT:
            self._settle(load)

    def _settle(self, load: "_Load") -> None:
        load.holds = False
        self._forget(load.name, load.lock)

    def _forget(self, name: str, lock: bytes) -> None:
        if (noted := self._unsettled.get(name)) is not None and noted[0] == lock:
            self._unsettled.pop(name, None)

    # Doing it, in a thread and in a task.

    def _carry_out(self, steps: "Steps") -> "Any":
        outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                return end.value
            if isinstance(step, tuple):
                outcome = self._ask(step)
            else:
                sleep(step)
                outcome = None

    async def _carry_out_async(self, steps: "Steps") -> "Any":
        import asyncio

        outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                return end.value
            if isinstance(step, tuple):
                outcome = await self._ask_async(step)
            else:
                await asyncio.sleep(step)
                outcome = None

    def _ask(self, command: "Command") -> "Any":
        """Return the server's reply, or _FAULT."""
        answered = allocate_lock()
        answered.acquire()
        question = _Question(self, command, answered.release)
        try:
            question.start()
            answered.acquire(timeout=self._timeout)
        finally:
            late = question.close()
        return self._judge(question, late)

    async def _ask_async(self, command: "Command") -> "Any":
        import asyncio

        loop = asyncio.get_running_loop()
        if self._lanes is None or self._lanes[0] is not loop:
            self._lanes = loop, asyncio.Semaphore(LANES)
        lanes = self._lanes[1]
        queues = lanes.locked()
        async with lanes:
            return _FAULT if queues and self._rests() else await self._ask_in_a_lane(command, loop)

    async def _ask_in_a_lane(self, command: "Command", loop: "asyncio.AbstractEventLoop") -> "Any":
        import asyncio
        from contextlib import suppress

        answered = loop.create_future()

        def arrive() -> None:
            if not answered.done():
                answered.set_result(None)

        def wake() -> None:
            with suppress(RuntimeError):  # the event loop has been closed
                loop.call_soon_threadsafe(arrive)

        ends = loop.time() + self._timeout
        question = _Question(self, command, wake)
        try:
            question.start()
            await asyncio.wait((answered,), timeout=self._timeout)
        except asyncio.CancelledError:
            while not answered.done() and (left := ends - loop.time()) > 0:  # the next question must not overtake it
                with suppress(asyncio.CancelledError):
                    await asyncio.wait((answered,), timeout=left)
            raise
        finally:
            late = question.close()
        return self._judge(question, late)

    def _rests(self) -> bool:
        return self._broken_at is not None and 0 <= time() - self._broken_at < PAUSE

    def _judge(self, question: "_Question", late: bool) -> "Any":
        """Return a question's reply, or _FAULT; the first of several faults in a row is logged."""
        error = f"TimeoutError: no reply within timeout={self._timeout} s" if late else question.error
        if error is None:
            if question.broken_at is self._broken_at:  # no fault since it was asked
                self._broken_at = None
            return question.reply
        with self._counting:
            self.faults += 1
            first = self._broken_at is None
            self._broken_at = now = time()
        if first:
            logs.record("WARNING", f"The second tier fails, loading without it: {error}")
        for name, (lock, _, begun) in list(self._unsettled.items()):
            if now - begun > 2 * self._lock:  # at most so long it waited for the lock, and then had it
                self._forget(name, lock)
        return _FAULT

    # In the thread that asks.

    def _run(self, command: "Command") -> "Any":
        """Return the server's reply. Raises what the redis package does; the next question looks the server up anew."""
        from redis import RedisCluster
        from redis.exceptions import MovedError, RedisClusterException

        client = self._client
        if client is None:  # the name may be another server's by now
            client = self._client = self._connect()
        try:
            return client.execute_command(*command)
        except Exception as error:
            if isinstance(client, RedisCluster):
                if isinstance(error, RedisClusterException):  # no node answers; after other errors it looks for itself
                    self._client = None
                raise
            if not isinstance(error, MovedError) and not str(error).startswith("MOVED "):
                self._client = None
                raise
        client = self._client = self._join()
        return client.execute_command(*command)

    def _take_back(self, command: "Command") -> None:
        """Release the lock of a question that failed, or whose reply nobody waited for."""
        if command[0] == "EVAL":
            name, lock = command[3:5]
            try:
                self._run(("EVAL", _UNLOCK, 1, name, lock))
            except Exception:
                return  # the next load of this key here takes the lock over, and its time limit ends it
            self._forget(name, lock)


_tiers: "list[ref[RedisTier]]" = []  # all tiers that there are


def _disconnect() -> None:
    """Close all connections before a snapshot: in an environment restored from it the server does not know them."""
    for each in list(_tiers):
        if (tier := each()) is not None and (client := tier._client) is not None:
            tier._client = None
            client.close()


environment.at_snapshot.append(_disconnect)


class _Load:
    """One call of `fetch`. When nothing refers to it any more, the call has ended in whatever way."""

    __slots__ = ("__weakref__", "holds", "lock", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = _LOCK + urandom(16).hex().encode()
        self.holds = False  # whether the lock may be this load's


class _Question:
    """A command on its way to the server, in a thread of its own. `wake` is called on a reply, and on an error."""

    __slots__ = ("_closed", "_command", "_tier", "_wake", "broken_at", "error", "reply")

    def __init__(self, tier: RedisTier, command: "Command", wake: "Callable[[], object]") -> None:
        self.reply: Any = None
        self.error: str | None = None
        self.broken_at = tier._broken_at
        self._tier = tier
        self._command = command
        self._wake = wake
        self._closed = allocate_lock()

    def start(self) -> None:
        try:
            start_new_thread(copy_context().run, (self._run,))
        except RuntimeError as error:  # no more threads
            self.error = _described(error)
            self.close()
            self._wake()

    def close(self) -> bool:
        """Close it, because the reply is there or the time is up. Return whether this call was the first."""
        return self._closed.acquire(False)

    def _run(self) -> None:
        try:
            self.reply = self._tier._run(self._command)
        except Exception as error:
            self.error = _described(error)
        late = not self.close()
        self._wake()
        if late or self.error is not None:
            self._tier._take_back(self._command)


def _check_codec(codec: "Codec") -> None:
    if not (callable(getattr(codec, "dumps", None)) and callable(getattr(codec, "loads", None))):
        raise TypeError(f"codec={codec!r}: give an object with dumps(value) and loads(bytes)")
    try:
        data = codec.dumps(_check_codec)
        unsafe = codec.loads(data.encode() if isinstance(data, str) else bytes(data)) is _check_codec
    except Exception:
        return
    if unsafe:  # it finds a function by its name, and so can call any function
        raise ValueError(
            f"codec={codec!r}: like pickle, it would let anyone who can write to the server run code here; use JSON or "
            "similar"
        )


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
