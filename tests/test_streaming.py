"""What a function streams: the head that HTTP wants, and which results are streams."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from aws_lambda_powertools import Logger

import samovar
from samovar import streaming
from samovar.handler import function
from samovar.response import Response
from samovar.streaming import AsyncStream, Head, Stream, stream
from tests.invocations import begin, forget, invocation


def head_of(head: Head) -> dict[str, Any]:
    text, nuls, rest = head.prelude.partition(bytes(8))
    assert (nuls, rest) == (bytes(8), b"")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def pulled(handler: Callable[[Any, Any], Any]) -> tuple[str, list[bytes]]:
    """Return content type and chunks of a handler's response."""
    response = function.adapt(handler)(invocation())
    assert isinstance(response, Response)
    assert not isinstance(response.body, bytes)
    chunks = list(response.body)
    response.body.close()
    return response.content_type, chunks


# --- the head


def test_a_head_is_json_and_eight_nuls() -> None:
    head = Head(404, {"X-A": "b", "content-type": "a/b"}, ["c=1; Path=/", "d=2"])
    assert head.prelude == (
        b'{"statusCode":404,"headers":{"X-A":"b","content-type":"a/b"},"cookies":["c=1; Path=/","d=2"]}' + bytes(8)
    )
    assert Head().prelude == b'{"statusCode":200,"headers":{}}' + bytes(8)


def test_repeated_headers_are_joined_and_set_cookie_becomes_a_cookie() -> None:
    head = Head(headers=[("Vary", "a"), ("vary", "b"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2")], cookies=["c=3"])
    assert head_of(head) == {"statusCode": 200, "headers": {"Vary": "a, b"}, "cookies": ["c=3", "a=1", "b=2"]}


@pytest.mark.parametrize("name", ["Content-Length", "content-length", "Transfer-Encoding", "CONNECTION"])
def test_headers_that_are_the_platforms_are_dropped(name: str) -> None:
    assert head_of(Head(headers={name: "1", "X": "2"}))["headers"] == {"X": "2"}


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\rb", "a\0b", "\0" * 8, "\x7f", "\x1b"])
def test_a_value_that_could_split_the_head_is_refused(value: str) -> None:
    for arguments in (
        {"headers": {"X": value}},
        {"headers": [("Set-Cookie", value)]},
        {"cookies": [value]},
        {"headers": {"Content-Length": value}},
    ):
        with pytest.raises(ValueError, match="no control characters"):
            Head(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no control characters"):
        stream([], content_type=value)


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "\0", "é", "a\0"])
def test_a_name_that_is_none_of_a_header_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a header"):
        Head(headers={name: "x"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"status": "200"}, "status='200': want an int"),
        ({"status": True}, "status=True: want an int"),
        ({"headers": {"X": 1}}, "the value of X is 1: want a str"),
        ({"headers": {1: "x"}}, "the name 1 is no str"),
        ({"headers": ["ab"]}, "'ab' is no pair of name and value"),
        ({"headers": [("a", "b", "c")]}, "is no pair of name and value"),
        ({"cookies": "a=1"}, "cookies='a=1': want a list"),
        ({"cookies": [b"a=1"]}, "want a str"),
    ],
)
def test_a_value_of_another_type_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        Head(**arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("status", [0, 101, 199, 600])
def test_a_status_that_no_response_has_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match=f"status={status}: want 200 to 599"):
        Head(status)


def test_a_head_has_to_fit_into_what_api_gateway_reads() -> None:
    room = 16384 - len(Head(headers={"X": ""}).prelude)
    assert len(Head(headers={"X": "a" * room}).prelude) == 16384
    with pytest.raises(ValueError, match="take 16385 bytes: a streamed response may have 16384"):
        Head(headers={"X": "a" * (room + 1)})


def test_two_content_types_are_refused() -> None:
    with pytest.raises(ValueError, match="two content types, 'a/b' and 'c/d'"):
        stream([], headers={"content-type": "a/b"}, content_type="c/d")


# --- stream


@pytest.mark.parametrize("whole", [b"bytes", "str", {"a": 1}, 1, None], ids=lambda value: type(value).__name__)
def test_a_body_that_is_no_iterable_of_items_is_refused(whole: Any) -> None:
    with pytest.raises(TypeError, match=f"not {type(whole).__name__}: a whole body is stream"):
        stream(whole)


def test_a_stream_can_be_read_in_a_test_of_the_function() -> None:
    assert list(stream(["a", b"b"])) == ["a", b"b"]  # type: ignore[arg-type]


def test_a_stream_sends_its_head_first() -> None:
    content_type, chunks = pulled(lambda event, context: stream(["a", b"b"], status=202, content_type="text/plain"))
    assert content_type == "application/vnd.awslambda.http-integration-response"
    assert chunks == [b'{"statusCode":202,"headers":{"Content-Type":"text/plain"}}' + bytes(8), b"a", b"b"]


def test_a_stream_has_one_head() -> None:
    with pytest.raises(TypeError, match="a Head after the first item"):
        pulled(lambda event, context: stream(iter([Head(), "a"])))  # type: ignore[list-item]


# --- which results are streams


def generator(event: Any, context: Any) -> Iterator[Any]:
    yield "a"
    yield b"b"


async def async_generator(event: Any, context: Any) -> AsyncIterator[Any]:
    yield "a"
    yield b"b"


async def returns_generator(event: Any, context: Any) -> Any:
    return generator(event, context)


async def returns_async_generator(event: Any, context: Any) -> Any:
    return async_generator(event, context)


class Items:
    """An iterator without close()."""

    def __init__(self) -> None:
        self.left = ["a", "b"]

    def __iter__(self) -> Items:
        return self

    def __next__(self) -> str:
        if not self.left:
            raise StopIteration
        return self.left.pop(0)


class AsyncItems:
    """An async iterator without aclose()."""

    def __init__(self) -> None:
        self.left = ["a", "b"]

    def __aiter__(self) -> AsyncItems:
        return self

    async def __anext__(self) -> str:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)


def decorated(f: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return f(*args, **kwargs)

    return call


def powertools(f: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    logger = Logger(service="test", stream=io.StringIO())
    wrapped: Callable[[Any, Any], Any] = logger.inject_lambda_context(f)
    return lambda event, context: wrapped(event, begin())


class Service:
    def __call__(self, event: Any, context: Any) -> Any:
        return generator(event, context)

    async def method(self, event: Any, context: Any) -> Any:
        yield "a"
        yield b"b"


STREAMED: dict[str, Callable[[Any, Any], Any]] = {
    "generator function": generator,
    "async generator function": async_generator,
    "coroutine function, generator": returns_generator,
    "coroutine function, async generator": returns_async_generator,
    "decorated": decorated(generator),
    "decorated, async": decorated(async_generator),
    "decorated by Powertools": powertools(generator),
    "partial": functools.partial(generator),
    "object": Service(),
    "method": Service().method,
    "iterator": lambda event, context: Items(),
    "list iterator": lambda event, context: iter(["a", "b"]),
    "map": lambda event, context: map(str, "ab"),
    "async iterator": lambda event, context: AsyncItems(),
    "stream": lambda event, context: stream(generator(event, context)),
    "stream of a list": lambda event, context: stream(["a", "b"]),
    "stream, async": lambda event, context: stream(async_generator(event, context)),
    "stream of an async iterable": lambda event, context: stream(AsyncItems()),
}


@pytest.mark.parametrize("kind", STREAMED)
def test_is_streamed(kind: str) -> None:
    try:
        content_type, chunks = pulled(STREAMED[kind])
    finally:
        forget()
    assert [chunk for chunk in chunks if not chunk.startswith(b'{"statusCode"')] == [b"a", b"b"]
    assert (content_type == "application/octet-stream") == (not kind.startswith("stream"))


@pytest.mark.parametrize("result", [["a"], ("a",), {"a": 1}, "a", b"a", None, 1, True])
def test_is_not_streamed(result: Any) -> None:
    response = function.adapt(lambda event, context: result)(invocation())
    body = response.body if isinstance(response, Response) else response
    assert isinstance(body, bytes)


@pytest.mark.parametrize("kind", [generator, async_generator], ids=["sync", "async"])
def test_nothing_runs_ahead_of_the_reader(kind: Any) -> None:
    seen: list[int] = []

    def items() -> Iterator[str]:
        for number in range(3):
            seen.append(number)
            yield str(number)

    async def async_items() -> AsyncIterator[str]:
        for item in items():
            yield item

    chosen = items if kind is generator else async_items
    response = function.adapt(lambda event, context: chosen())(invocation())
    body = response.body  # type: ignore[union-attr]
    assert seen == [0]
    assert next(body) == b"0"  # type: ignore[call-overload]
    assert seen == [0]
    assert next(body) == b"1"  # type: ignore[call-overload]
    assert seen == [0, 1]
    body.close()  # type: ignore[union-attr]


def test_the_public_names() -> None:
    assert (samovar.Head, samovar.stream) == (Head, stream)
    assert isinstance(stream([]), Stream)
    assert isinstance(stream(AsyncItems()), AsyncStream)
    assert streaming.response(iter(()), invocation()).content_type == "application/octet-stream"
