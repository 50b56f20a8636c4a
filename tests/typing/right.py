"""Right uses of the public names: mypy --strict and pyright accept every line, and Python runs it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import assert_type

import samovar
from samovar import (
    Cached,
    Companion,
    CompanionError,
    Head,
    after_restore,
    before_snapshot,
    cache,
    cached,
    current,
    defer,
    on_shutdown,
    remaining,
    stream,
    warm,
)
from samovar.caching import Stats, TTLCache
from samovar.context import LambdaContext
from samovar.invocation import Invocation
from samovar.streaming import AsyncStream, Stream


@cached(ttl=60)
def plain(number: int, *, text: str = "") -> str:
    return text * number


@cached(ttl=60, stale=30, retry=5, key=lambda number: number % 2, maxsize=10)
async def later(number: int) -> str:
    return str(number)


class Shop:
    @cached(ttl=60)
    def method(self, number: int) -> str:
        return str(number)

    @cached(ttl=60)
    async def later(self, number: int) -> str:
        return str(number)

    @classmethod
    @cached(ttl=60)
    def of_the_class(cls, number: int) -> str:
        return str(number)

    @staticmethod
    @cached(ttl=60)
    def static(number: int) -> str:
        return str(number)

    @property
    @cached(ttl=60)
    def value(self) -> str:
        return "value"


class Branch(Shop): ...


assert_type(plain(2, text="a"), str)
assert_type(plain.cache_info(), Stats)
assert_type(plain.cache_delete(2, text="a"), bool)
plain.cache_clear()
name: str = plain.__name__
assert_type(plain.__wrapped__(1), str)

shop = Branch()
assert_type(shop.method(1), str)
assert_type(Shop.method(shop, number=1), str)
assert_type(shop.method.cache_info(), Stats)
assert_type(shop.method.cache_delete(shop, 1), bool)
assert_type(Shop.method.cache_delete(shop, 1), bool)
assert_type(Shop.of_the_class(1), str)
assert_type(shop.of_the_class(number=1), str)
assert_type(Branch.of_the_class.cache_delete(Branch, 1), bool)
Shop.of_the_class.cache_clear()
assert_type(Shop.static(1), str)
assert_type(shop.static(number=1), str)
assert_type(Shop.static.cache_delete(1), bool)
assert_type(shop.value, str)


async def main() -> None:
    assert_type(await later(1), str)
    assert_type(await shop.later(1), str)
    assert_type(await Shop.later(shop, 1), str)
    assert_type(later.cache_info(), Stats)
    assert_type(later.cache_delete(1), bool)


asyncio.run(main())


def takes_a_cached_function(f: Cached[[int], str], number: int) -> str:
    f.cache_clear()
    return f(number)


takes_a_cached_function(shop.static, 1)


@warm
@cached(ttl=60)
def warmed() -> dict[str, str]:
    return {}


@warm(required=True)
@cached(ttl=None)
async def needed() -> int:
    return 1


assert_type(warmed(), dict[str, str])
assert_type(warmed.cache_info(), Stats)


@on_shutdown
def close() -> None: ...


@before_snapshot
def disconnect() -> None: ...


@after_restore
async def connect() -> int:
    return 1


@cached(ttl=60, snapshot="keep")
def kept() -> int:
    return 1


assert_type(kept(), int)
assert_type(disconnect(), None)
assert_type(asyncio.run(connect()), int)
assert_type(TTLCache(snapshot="drop"), TTLCache)
assert_type(close(), None)
assert_type(remaining(), float)
assert_type(current(), Invocation | None)
if (invocation := current()) is not None:
    assert_type(invocation.id, str)
    assert_type(invocation.trace_id, str | None)
    assert_type(invocation.tenant_id, str | None)
    assert_type(invocation.context, LambdaContext | None)
assert_type(cache, TTLCache)
samovar.cache.set("key", 1, ttl=5)

defer(print, "a", "b", sep="")
defer(plain, 2, text="a")
defer(shop.method, 1)
defer(lambda: None)


def companions(program: Companion) -> bytes:
    try:
        program.call({"a": 1}, timeout=5)
        return program.call_raw(b"1", timeout=0.5)
    except CompanionError as error:
        if error.kind == "Silent" or error.kind == "Busy":
            return error.message.encode()
        assert_type(error.error_type, str)
        assert_type(error.fatal, bool)
        raise samovar.CompanionError("Ended", "gone") from error


def streamed() -> Iterator[str | Head]:
    yield Head(200, {"X-Name": "value"}, ["a=1"])
    yield Head(headers=[("X-Name", "value")])
    yield "text"


def rows() -> Iterator[bytes]:
    yield b"row"


async def later_rows() -> AsyncIterator[str]:
    yield "row"


assert_type(stream(rows(), status=201, content_type="text/csv", cookies=("a=1",)), Stream)
assert_type(stream(["a", "b"], headers={"X-Name": "value"}), Stream)
assert_type(stream(later_rows()), AsyncStream)
