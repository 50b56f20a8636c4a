"""A second tier in Redis or Valkey: what one environment has loaded, the others find. `pip install samovar[redis]`.

Read through on a miss, written on a load. One environment loads for the fleet: who finds nothing takes a lock, a key
with a token and a time limit; the others look again until the value is there, or the lock is gone and theirs to take.
Only who still holds the lock writes, so that a value loaded before a `delete` cannot come back after it. A tier that is
down, slow or holds garbage costs one warning, and the loader is called: nothing here fails an invocation but the loader
itself. After a fault it is left alone for PAUSE.

Knows the redis package, which it imports when a tier is made, and the codec; nothing of entries, and of the invocation
only the time left. What to do is decided in one place, without input or output, and carried out in two: for threads and
for tasks.
"""

from os import urandom
from time import sleep, time

from samovar import codec as json_codec
from samovar import hooks, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from typing import Any, Protocol

    class Codec(Protocol):
        """Values to bytes and back; may raise anything for what it cannot take."""

        def dumps(self, value: Any, /) -> bytes | str: ...
        def loads(self, data: bytes, /) -> Any: ...

    # What the next step is: a call to the tier, a pause in seconds, or (None) to load; and what it came to.
    Step = Callable[[], Any] | float | None
    Steps = Generator[Step, Any, Any]

PAUSE = 1.0  # s that a tier is left alone after a fault, so that not every load pays for the time limit

# Each of these is one round trip, and one step for the server. KEYS: the value, the lock.
_READ_OR_LOCK = """
local value = redis.pcall('get', KEYS[1])
if type(value) == 'table' then return 2 end
if value then return value end
if redis.call('set', KEYS[2], ARGV[1], 'nx', 'px', ARGV[2]) then return 1 end
return redis.call('get', KEYS[2]) == ARGV[1] and 1 or 0
"""
_WRITE_AND_UNLOCK = """
if redis.call('get', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('del', KEYS[2])
if ARGV[3] == '0' then redis.call('set', KEYS[1], ARGV[2]) else redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3]) end
return 1
"""
_UNLOCK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
_LOCKED, _HELD_BY_ANOTHER, _NO_STRING = 1, 0, 2
_FAULT: "Any" = object()  # in place of an answer


class RedisTier:
    """A tier for TTLCache and cached, in a Redis or Valkey server.

    url      redis://[[user]:password@]host[:port][/db], rediss:// for TLS, unix:// for a socket
    ttl      seconds a value lives there; by default what it lives in an environment. It may be old by the sum of both
    codec    an object with dumps and loads; by default JSON. Every value goes through it once, so that a caller gets
             the same whether it was loaded here or found there. pickle is refused: who can write to the server could
             run code here
    prefix   of all keys
    timeout  seconds for each answer of the server, and for connecting to it
    lock     seconds that a load may take while other environments wait for it; they load themselves after that

    `hits`, `loads`, `faults` count what was found there, loaded, and failed. Raises ImportError without redis.
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
        for name, seconds in (("ttl", ttl), ("timeout", timeout), ("lock", lock)):
            if seconds is not None and not 0 < seconds < float("inf"):
                raise ValueError(f"{name}={seconds!r}: give seconds, more than 0")
        if codec is not None and not (
            callable(getattr(codec, "dumps", None)) and callable(getattr(codec, "loads", None))
        ):
            raise TypeError(f"codec={codec!r}: give an object with dumps(value) and loads(bytes)")
        if "pickle" in (getattr(codec, "__name__", "") or type(codec).__module__):
            raise ValueError(
                "codec: pickle would let anyone who can write to the server run code here; use JSON or the like"
            )
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise ImportError("RedisTier needs the redis package: pip install samovar[redis]") from error
        self._client: Any = redis.Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(
                NoBackoff(), 0
            ),  # one closed while the environment was frozen is seen, and opened again, anyway
            protocol=2,  # no HELLO before the first command
        )
        self._ttl = ttl
        self._codec: Codec = json_codec if codec is None else codec
        self._prefix = prefix
        self._lock = lock
        self._broken_at: float | None = None
        self.hits = self.loads = self.faults = 0

    def fetch(self, key: str, loader: "Callable[[], Any]", ttl: float) -> "Any":
        """The value in the tier; or what loader() gives, written there for the tier's own ttl, or else `ttl` seconds.

        Raises what the loader does.
        """
        steps = self._steps(key, ttl)
        send, answer = steps.send, None
        while True:
            try:
                step = send(answer)
            except StopIteration as end:
                return end.value
            send = steps.send
            try:
                if step is None:
                    answer = loader()
                elif callable(step):
                    answer = self._ask(step)
                else:
                    sleep(step)
                    answer = None
            except BaseException as error:
                send, answer = steps.throw, error

    async def fetch_async(self, key: str, loader: "Callable[[], Awaitable[Any]]", ttl: float) -> "Any":
        """`fetch` for a coroutine function: the server is asked in a thread, and the event loop goes on."""
        import asyncio
        from contextlib import suppress

        steps = self._steps(key, ttl)
        send, answer = steps.send, None
        while True:
            try:
                step = send(answer)
            except StopIteration as end:
                return end.value
            send = steps.send
            try:
                if step is None:
                    answer = await loader()
                elif callable(step):
                    asked = asyncio.ensure_future(asyncio.to_thread(self._ask, step))
                    try:
                        answer = await asyncio.shield(asked)
                    except asyncio.CancelledError:
                        while not asked.done():  # at most `timeout`; what is asked next must not overtake it
                            with suppress(asyncio.CancelledError):
                                await asyncio.wait((asked,))
                        raise
                else:
                    await asyncio.sleep(step)
                    answer = None
            except BaseException as error:
                send, answer = steps.throw, error

    def delete(self, key: str) -> None:
        """Takes the value out of the tier; a load of it under way in any environment will not be written."""
        name = self._prefix + key
        self._ask(lambda: self._client.delete(name, name + ":lock"))

    def _steps(self, key: str, ttl: float) -> "Steps":
        """What `fetch` does, decided: yields each step, is sent what it came to."""
        name = self._prefix + key
        names = (name, name + ":lock")
        token = urandom(16).hex()
        locked = True  # until the answer is there: who is cancelled before may have taken it
        try:
            found, value = yield from self._find(names, token)
            if found:
                return value
            locked = value
            value, data = self._through(name, (yield None))
        except GeneratorExit:  # nobody is left to carry out a step
            raise
        except BaseException:
            if locked:
                yield (lambda: self._client.eval(_UNLOCK, 1, names[1], token))
            raise
        self.loads += 1
        if locked and data is None:
            yield (lambda: self._client.eval(_UNLOCK, 1, names[1], token))
        elif locked:
            lives = ttl if self._ttl is None else self._ttl
            milliseconds = 0 if lives == float("inf") else _ms(lives)
            written = yield (lambda: self._client.eval(_WRITE_AND_UNLOCK, 2, *names, token, data, milliseconds))
            if written == 0:
                logs.write("WARNING", f"{name} is not shared: it took longer than lock={self._lock} s, or was deleted")
        return value

    def _find(self, names: "tuple[str, str]", token: str) -> "Generator[Step, Any, tuple[bool, Any]]":
        """(True, the value), or (False, whether the lock is ours) if it is to be loaded. Waits while another loads."""
        if self._broken_at is not None and 0 <= time() - self._broken_at < PAUSE:
            return False, False
        patience = min(self._lock, hooks.remaining() / 2)  # leaves time to load, should the other one fail
        pause = 0.01
        for_garbage = 1
        while True:
            answer = yield (lambda: self._client.eval(_READ_OR_LOCK, 2, *names, token, _ms(self._lock)))
            if answer is _FAULT:
                return False, False
            if answer == _LOCKED:
                return False, True
            if answer == _HELD_BY_ANOTHER:
                if patience <= 0:
                    return False, False
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
                logs.write("WARNING", f"{names[0]} in the second tier is not a value, loading it anew: {_said(error)}")
                if not for_garbage:
                    return False, False
                for_garbage -= 1
                yield (lambda: self._client.delete(names[0]))
            else:
                self.hits += 1
                return True, value

    def _through(self, name: str, value: "Any") -> "tuple[Any, bytes | None]":
        """The value as it would come out of the tier, and its bytes; as it is, and None, if the codec refuses it."""
        try:
            data = self._codec.dumps(value)
            if isinstance(data, str):
                data = data.encode()
            return self._codec.loads(data), data
        except Exception as error:
            logs.write("WARNING", f"{name} cannot be kept in the second tier: {_said(error)}")
            return value, None

    def _ask(self, question: "Callable[[], Any]") -> "Any":
        """One round trip: its answer or _FAULT, of which the first in a row is logged."""
        try:
            answer = question()
        except Exception as error:
            self.faults += 1
            if self._broken_at is None:
                logs.write("WARNING", f"The second tier fails, loading without it: {_said(error)}")
            self._broken_at = time()
            return _FAULT
        self._broken_at = None
        return answer


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
