"""A second tier in Redis or Valkey: what one environment has loaded, the others find. `pip install samovar[redis]`.

Read through on a miss, written on a load. One environment loads for the fleet: the one that finds nothing leaves a lock
under the key, a token with a time limit; the others look again until the value is there, or the lock is gone and theirs
to take. Only the holder of the lock writes, so that a value loaded before a `delete` cannot come back after it. Value
and lock are one key, so each step concerns one slot, and one node, of a cluster. A tier that is down, slow or holds
garbage costs one warning, and the loader is called: nothing here fails an invocation but the loader itself. After a
fault it is left alone for PAUSE.

Each question is asked in a thread of its own, and waited for within `timeout`: no limit of a socket covers DNS,
connecting, TLS, redirections and an answer in drips together. It costs a question about 0.1 ms. The thread goes on
when nobody waits any more: it finishes the connection for the next question, and opens the lock that a late answer
speaks of.

Knows the redis package, which it imports when a tier is made, and the codec; nothing of entries, and of the invocation
only the time left. What to do is decided in one place, without input or output, and carried out in two: for threads and
for tasks.
"""

from _contextvars import copy_context
from _thread import allocate_lock, start_new_thread
from _weakref import ref
from os import urandom
from time import sleep, time

from samovar import codec as json_codec
from samovar import hooks, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Generator
    from typing import Any, Protocol

    class Codec(Protocol):
        """Values to bytes and back; may raise anything for what it cannot take."""

        def dumps(self, value: Any, /) -> bytes | str: ...
        def loads(self, data: bytes, /) -> Any: ...

    # What the next step is: a command for the server, or a pause in seconds; and what it came to.
    Command = tuple[Any, ...]
    Steps = Generator[Command | float, Any, Any]

LANES = 16  # questions at once from the tasks of one event loop; a thousand threads would be late, all of them
PAUSE = 1.0  # s that a tier is left alone after a fault, so that not every load pays for the time limit
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
_FAULT: "Any" = object()  # in place of an answer


class RedisTier:
    """A tier for TTLCache and cached, in a Redis or Valkey server or cluster.

    url      redis://[[user]:password@]host[:port][/db], rediss:// for TLS, unix:// for a socket. Of a cluster any node
             will do; it tells the others
    ttl      seconds a value lives there; by default what it lives in an environment. It may be old by the sum of both
    codec    an object with dumps and loads; by default JSON. Every value goes through it once, so that a caller gets
             the same whether it was loaded here or found there. pickle and its kind are refused: anyone who can write
             to the server could run code here
    prefix   of all keys
    timeout  seconds for each question to the server, with all that it takes: DNS, connecting, TLS, the whole answer
    lock     seconds that a load may take while other environments wait for it; they load themselves after that

    `hits`, `loads`, `faults` count what was found there, loaded, and failed. Raises ImportError without redis 5 or
    later.
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
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise ImportError("RedisTier needs the redis package: pip install samovar[redis]") from error
        if int(redis.__version__.partition(".")[0]) < 5:
            raise ImportError(f"RedisTier needs redis 5 or later, not {redis.__version__}: pip install samovar[redis]")
        options: dict[str, Any] = {
            # For the thread that asks. It waits for a late answer as long as the lock it may have taken can last.
            "socket_timeout": max(timeout, lock),
            "socket_connect_timeout": max(timeout, PAUSE),
            "retry_on_timeout": False,
            "retry_on_error": [],
            "decode_responses": False,
            "protocol": 2,  # no HELLO before the first command
        }
        # One closed while the environment was frozen is seen, and opened again, without a retry.
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

    def fetch(self, key: str, loader: "Callable[[], Any]", ttl: float) -> "Any":
        """Return the value in the tier; or what loader() gives, and write it there for the tier's own ttl or else `ttl`
        seconds. Raises what the loader does.
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
        except GeneratorExit:  # nobody is left to wait for an answer
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
        # What an earlier load left behind, because it was interrupted or did not hear of its lock, is not waited for.
        before = self._unsettled.get(name)
        void = before[0] if before is not None and before[1]() is None else load.lock
        self._unsettled[name] = load.lock, ref(load), time()
        load.holds = True  # until the answer is there: it may have been taken when this is interrupted
        patience = min(self._lock, hooks.remaining() / 2)  # leaves time to load, should the other one fail
        pause = 0.01
        for_garbage = 1
        while True:
            answer = yield ("EVAL", _READ_OR_LOCK, 1, name, load.lock, _ms(self._lock), void)
            if answer == _LOCKED:
                return False, None
            if answer is _FAULT:
                load.holds = False
                return False, None
            if answer == _HELD_BY_ANOTHER:
                if patience <= 0:
                    self._settle(load)
                    return False, None
                yield pause
                patience -= pause
                pause = min(pause * 1.5, 0.1)
                continue
            try:
                if answer == _NO_STRING:
                    raise TypeError("it is not a string")
                value = self._codec.loads(answer)
            except Exception as error:
                self.faults += 1
                logs.record("WARNING", f"{name} in the second tier is not a value, loading it anew: {_said(error)}")
                if not for_garbage:
                    self._settle(load)
                    return False, None
                for_garbage -= 1
                void = answer
            else:
                self._settle(load)
                self.hits += 1
                return True, value

    def _keep(self, load: "_Load", value: "Any", ttl: float) -> "Steps":
        """Write what was loaded, if this load holds the lock. Returns the value as it would come out of the tier."""
        self.loads += 1
        name = load.name
        try:
            data = self._codec.dumps(value)
            if isinstance(data, str):
                data = data.encode()
            if data.startswith(_LOCK):
                raise ValueError("its bytes begin as a lock's do")
            value = self._codec.loads(data)
        except Exception as error:
            logs.record("WARNING", f"{name} cannot be kept in the second tier: {_said(error)}")
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
                logs.record("WARNING", f"{name} is not shared: it took longer than lock={self._lock} s, or was deleted")
        return value

    def _give_up(self, load: "_Load") -> "Steps":
        """Open the lock, if this load holds it."""
        if load.holds and (yield ("EVAL", _UNLOCK, 1, load.name, load.lock)) is not _FAULT:
            self._settle(load)

    def _settle(self, load: "_Load") -> None:
        load.holds = False
        self._forget(load.name, load.lock)

    def _forget(self, name: str, lock: bytes) -> None:
        if (noted := self._unsettled.get(name)) is not None and noted[0] == lock:
            self._unsettled.pop(name, None)

    # Doing it.

    def _carry_out(self, steps: "Steps") -> "Any":
        answer = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(step, tuple):
                answer = self._ask(step)
            else:
                sleep(step)
                answer = None

    async def _carry_out_async(self, steps: "Steps") -> "Any":
        import asyncio

        answer = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(step, tuple):
                answer = await self._ask_async(step)
            else:
                await asyncio.sleep(step)
                answer = None

    def _ask(self, command: "Command") -> "Any":
        """Return the server's answer or _FAULT."""
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
            while not answered.done() and (left := ends - loop.time()) > 0:  # what is asked next must not overtake it
                with suppress(asyncio.CancelledError):
                    await asyncio.wait((answered,), timeout=left)
            raise
        finally:
            late = question.close()
        return self._judge(question, late)

    def _rests(self) -> bool:
        return self._broken_at is not None and 0 <= time() - self._broken_at < PAUSE

    def _judge(self, question: "_Question", late: bool) -> "Any":
        """Return what came of a question: its answer or _FAULT, of which the first in a row is logged."""
        error = f"TimeoutError: no answer within timeout={self._timeout} s" if late else question.error
        if error is None:
            if question.broken_at is self._broken_at:  # no fault since it was asked
                self._broken_at = None
            return question.answer
        self.faults += 1
        if self._broken_at is None:
            logs.record("WARNING", f"The second tier fails, loading without it: {error}")
        self._broken_at = now = time()
        for name, (lock, _, begun) in list(self._unsettled.items()):
            if now - begun > 2 * self._lock:  # it waited so long for the lock at most, and had it so long at most
                self._forget(name, lock)
        return _FAULT

    # In the thread that asks.

    def _run(self, command: "Command") -> "Any":
        """Return the server's answer. Raises what the redis package does; the next question finds the server anew."""
        from redis import RedisCluster
        from redis.exceptions import MovedError, RedisClusterException

        client = self._client
        if client is None:  # by its name, which another server may have by now
            client = self._client = self._connect()
        try:
            return client.execute_command(*command)
        except Exception as error:
            if isinstance(client, RedisCluster):
                if isinstance(error, RedisClusterException):  # none of the nodes it knows; else it looks around itself
                    self._client = None
                raise
            if not isinstance(error, MovedError) and not str(error).startswith("MOVED "):
                self._client = None
                raise
        client = self._client = self._join()
        return client.execute_command(*command)

    def _take_back(self, command: "Command") -> None:
        """Open the lock of a question that failed, or whose answer nobody waited for."""
        if command[0] == "EVAL":
            name, lock = command[3:5]
            try:
                self._run(("EVAL", _UNLOCK, 1, name, lock))
            except Exception:
                return  # the next load of this key here takes it over, and it ends by itself
            self._forget(name, lock)


class _Load:
    """One call of `fetch`. When nothing refers to it any more the call has ended, however that came about."""

    __slots__ = ("__weakref__", "holds", "lock", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = _LOCK + urandom(16).hex().encode()
        self.holds = False  # whether the lock may be this load's


class _Question:
    """A command on its way to the server, in a thread of its own. `wake` is called when there is an answer or error."""

    __slots__ = ("_closed", "_command", "_tier", "_wake", "answer", "broken_at", "error")

    def __init__(self, tier: RedisTier, command: "Command", wake: "Callable[[], object]") -> None:
        self.answer: Any = None
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
            self.error = _said(error)
            self.close()
            self._wake()

    def close(self) -> bool:
        """Close it, when it is answered or the patience for it has ended. Returns whether that came first."""
        return self._closed.acquire(False)

    def _run(self) -> None:
        try:
            self.answer = self._tier._run(self._command)
        except Exception as error:
            self.error = _said(error)
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
    if unsafe:  # a function by its name: what does that calls any function, too
        raise ValueError(
            f"codec={codec!r}: like pickle, it would let anyone who can write to the server run code here; use JSON or "
            "the like"
        )


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
