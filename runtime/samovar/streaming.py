"""Streamed responses: an iterator of the function's becomes a `Response` that is pulled a chunk at a time.

Imported with the first one. Knows what HTTP in Lambda wants of a prelude; knows neither the Runtime API nor the loop.
"""

from samovar import codec, deadline
from samovar.response import Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
    from typing import Any, overload

    from samovar.invocation import Invocation

    Item = bytes | str
    Headers = Mapping[str, str] | Iterable[tuple[str, str]]

_BYTES = "application/octet-stream"
_HTTP = "application/vnd.awslambda.http-integration-response"
_END = bytes(8)  # of the prelude
_LARGEST = 16384  # bytes of a prelude that API Gateway reads
_DROPPED = ("content-length", "transfer-encoding", "connection")  # the platform's own; a length can give a 502
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")  # RFC 9110, names in lower case


class Head:
    """Status, headers and cookies of a streamed HTTP response: what a generator yields first.

    Args:
        status: The HTTP status, 200 to 599.
        headers: A mapping, or pairs of name and value. Values of a repeated name are joined with ", ". Content-Length,
            Transfer-Encoding and Connection are dropped: the platform sets its own.
        cookies: Whole values of Set-Cookie.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A value has characters that may not be in a header, or the whole is over 16,384 bytes.
    """

    __slots__ = ("prelude",)

    def __init__(self, status: int = 200, headers: "Headers" = (), cookies: "Iterable[str]" = ()) -> None:
        if type(status) is not int:
            raise TypeError(f"status={status!r}: want an int")
        if not 200 <= status <= 599:
            raise ValueError(f"status={status}: want 200 to 599")
        if isinstance(cookies, str):
            raise TypeError(f"cookies={cookies!r}: want a list of Set-Cookie values")
        set_cookies = [_value("Set-Cookie", cookie) for cookie in cookies]
        fields: dict[str, tuple[str, str]] = {}  # name in lower case -> name, value
        for name, value in _pairs(headers):
            lower = _name(name)
            value = _value(name, value)
            if lower == "set-cookie":
                set_cookies.append(value)
            elif lower in fields:
                first, before = fields[lower]
                if lower == "content-type":
                    raise ValueError(f"two content types, {before!r} and {value!r}: want one")
                fields[lower] = first, f"{before}, {value}"
            elif lower not in _DROPPED:
                fields[lower] = name, value
        head: dict[str, Any] = {"statusCode": status, "headers": dict(fields.values())}
        if set_cookies:
            head["cookies"] = set_cookies
        self.prelude = codec.dumps(head) + _END
        if len(self.prelude) > _LARGEST:
            raise ValueError(
                f"status, headers and cookies take {len(self.prelude)} bytes: a streamed response may have {_LARGEST}"
            )


def _pairs(headers: "Headers") -> "Iterable[tuple[str, str]]":
    items = getattr(headers, "items", None)
    pairs = list(items() if items is not None else headers)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"headers: {pair!r} is no pair of name and value")
    return pairs


def _name(name: str) -> str:
    """Return a header's name in lower case. Raises where it is none."""
    if not isinstance(name, str):
        raise TypeError(f"headers: the name {name!r} is no str")
    lower = name.lower()
    if not name or not name.isascii() or not _TOKEN.issuperset(lower):
        raise ValueError(f"headers: {name!r} is no name of a header")
    return lower


def _value(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"headers: the value of {name} is {value!r}: want a str")
    if any((char < " " and char != "\t") or char == "\x7f" for char in value):
        raise ValueError(f"headers: the value of {name} is {value!r}: a header may have no control characters")
    return value


class Stream:
    """What `stream` makes of an iterable: a head, and the items."""

    __slots__ = ("_items", "head")

    def __init__(self, head: Head, items: "Iterator[Item]") -> None:
        self.head = head
        self._items = items

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> "Item":
        return next(self._items)

    def close(self) -> None:
        """Close the items' generator."""
        if close := getattr(self._items, "close", None):
            close()


class AsyncStream:
    """What `stream` makes of an async iterable."""

    __slots__ = ("_items", "head")

    def __init__(self, head: Head, items: "AsyncIterator[Item]") -> None:
        self.head = head
        self._items = items

    def __aiter__(self) -> "AsyncStream":
        return self

    async def __anext__(self) -> "Item":
        return await self._items.__anext__()

    async def aclose(self) -> None:
        """Close the items' generator."""
        if aclose := getattr(self._items, "aclose", None):
            await aclose()


if TYPE_CHECKING:

    @overload
    def stream(
        iterable: Iterable[Item],
        *,
        status: int = 200,
        headers: Headers = (),
        cookies: Iterable[str] = (),
        content_type: str | None = None,
    ) -> Stream: ...
    @overload
    def stream(
        iterable: AsyncIterable[Item],
        *,
        status: int = 200,
        headers: Headers = (),
        cookies: Iterable[str] = (),
        content_type: str | None = None,
    ) -> AsyncStream: ...


def stream(
    iterable: "Iterable[Item] | AsyncIterable[Item]",
    *,
    status: int = 200,
    headers: "Headers" = (),
    cookies: "Iterable[str]" = (),
    content_type: "str | None" = None,
) -> "Stream | AsyncStream":
    """Return a streamed HTTP response, for a handler to return.

    Args:
        iterable: Gives the body, as bytes or str; also an async one. It is read as the response is sent.
        status: As for `Head`.
        headers: As for `Head`.
        cookies: As for `Head`.
        content_type: The header Content-Type.

    Returns:
        An iterator (an async one where `iterable` is) of the same items.

    Raises:
        TypeError: iterable is bytes, str or a mapping, or none at all; or as `Head` raises it.
        ValueError: As `Head` raises it.
    """
    given = list(_pairs(headers))
    if content_type is not None:
        given.append(("Content-Type", content_type))
    head = Head(status, given, cookies)
    kind = type(iterable)
    if hasattr(kind, "__aiter__"):
        return AsyncStream(head, iterable.__aiter__())  # type: ignore[union-attr]
    if hasattr(kind, "keys") or isinstance(iterable, bytes | str) or not hasattr(kind, "__iter__"):
        raise TypeError(
            f"stream: want an iterable of bytes or str, not {kind.__name__}: a whole body is stream([body])"
        )
    return Stream(head, iter(iterable))  # type: ignore[arg-type]


class _Chunks:
    """The chunks of a streamed response: first those that are there already, then one for each item."""

    __slots__ = ("_first", "_items", "wait")

    def __init__(self, first: "list[bytes]", items: "Iterator[Any]") -> None:
        self._first = first
        self._items = items
        self.wait: Callable[[int], None] | None = getattr(items, "wait", None)

    def __iter__(self) -> "_Chunks":
        return self

    def __next__(self) -> bytes:
        return self._first.pop(0) if self._first else _encoded(next(self._items))

    def close(self) -> None:
        if close := getattr(self._items, "close", None):
            close()
            if hasattr(self._items, "wait"):
                from samovar import aio

                aio.warn_of_tasks()


def _encoded(item: "Any") -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, Head):
        raise TypeError("a Head after the first item: the response has begun")
    raise TypeError(
        f"a streamed response is made of bytes and str, not of {type(item).__name__}: "
        'to stream JSON, yield json.dumps(item) + "\\n"'
    )


def response(result: "Any", invocation: "Invocation", context: "Any" = None) -> Response:
    """Return the streamed response of an iterator or an async iterator, once it has given its first item. Raises what
    it raises until then.

    context: the contextvars in which an async one runs; None for fresh ones.
    """
    items = result
    if not hasattr(type(result), "__next__"):
        from samovar import aio

        items = aio.Pulled(result, deadline.stop_time(invocation), context)
    head = getattr(result, "head", None) if isinstance(result, Stream | AsyncStream) else None
    try:
        first = []
        for item in items:
            if head is None and isinstance(item, Head):
                head = item
            else:
                first.append(_encoded(item))
            break
    except BaseException:
        _Chunks([], items).close()
        raise
    if head is None:
        return Response(_Chunks(first, items), _BYTES)
    return Response(_Chunks([head.prelude, *first], items), _HTTP)
