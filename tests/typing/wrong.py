"""Wrong uses of the public names: mypy --strict and pyright report each line that says `expect`, and no other."""

import samovar
import samovar.caching
from samovar import (
    Cached,
    Companion,
    CompanionError,
    Head,
    after_restore,
    before_snapshot,
    cached,
    defer,
    on_shutdown,
    stream,
    warm,
)


@cached(ttl=60)
def plain(number: int, *, text: str = "") -> str:
    return text * number


@cached(ttl=60)
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


shop = Shop()
print(samovar.cahce)  # expect
print(samovar.caching.TTLCahce)  # expect
plain("1")  # expect
plain()  # expect
plain(1, txt="")  # expect
number: int = plain(1)  # expect
plain.cache_delete("1")  # expect
plain.cache_delete()  # expect
plain.cache_info(1)  # expect
plain.cache_clera()  # expect
shop.method("1")  # expect
shop.method()  # expect
shop.method(1, 2)  # expect
shop.method.cache_delete(shop, "1")  # expect
shop.method.cache_delete()  # expect
Shop.method(1)  # expect
Shop.of_the_class("1")  # expect
Shop.of_the_class()  # expect
shop.of_the_class("1")  # expect
Shop.static("1")  # expect
shop.static("1")  # expect
shop.static()  # expect


async def main() -> None:
    plain(await later(1), text=await later(1))  # expect
    await later("1")  # expect
    await shop.later("1")  # expect
    await shop.later()  # expect
    later(1).upper()  # expect


@cached  # expect
def without_a_ttl() -> None: ...


@cached(ttl="60")  # expect
def text_as_ttl() -> None: ...


@cached(ttl=60, on_error="old")  # expect
def unknown_on_error() -> None: ...


other: Cached[[str], str] = later  # expect


@warm  # expect
def warmed(number: int) -> int:
    return number


@before_snapshot  # expect
def disconnect(number: int) -> None: ...


@after_restore  # expect
def connect(number: int) -> None: ...


@cached(ttl=60, snapshot="yes")  # expect
def kept() -> int:
    return 1


samovar.caching.TTLCache(snapshot=True)  # expect


@on_shutdown  # expect
def close(number: int) -> None: ...


defer(plain, "1")  # expect
defer(plain)  # expect
defer(plain, 1, txt="")  # expect
defer(shop.method, "1")  # expect
defer(later, "1")  # expect
defer(plain(1))  # expect

program = Companion([1])  # expect
program.call(1, timeout="5")  # expect
program.call_raw({"a": 1})  # expect
try:
    program.call(1, timeuot=5)  # expect
except CompanionError as error:
    code: int = error.kind  # expect
    print(error.knid)  # expect
    raise CompanionError("Gone", "it is gone") from error  # expect

stream([1])  # expect
stream("text", statsu=1)  # expect
stream([], headers=["X"])  # expect
Head("200")  # expect
Head(cookies=[b"a"])  # expect
