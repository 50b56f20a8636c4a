"""Streamed responses and async handlers under the real Runtime Interface Emulator, and the examples of both.

The emulator collects a response and gives it to the caller when it has ended. What arrives when, and the trailers, are
in tests/test_sending.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from samovar.local.demo import web_server
from samovar.local.rie import RIE

Start = Callable[..., RIE]
PRELUDE_END = bytes(8)

SOURCE = """
import asyncio, os, time, samovar

async def numbers(count):
    for number in range(count):
        await asyncio.sleep(0)
        yield str(number)

def handler(event, context):
    match event:
        case {"error": message, "after": after}:
            return raising(message, after)
        case {"megabytes": count}:
            return iter([b"x" * 1_000_000] * count)
        case {"async": count}:
            return numbers(count)
        case {"empty": status}:
            return samovar.stream([], status=status)
        case {"endless": item}:
            return endless(item)
    return {"pid": os.getpid(), "event": event}

def raising(message, after):
    yield from ["a"] * after
    raise ValueError(message)

def endless(item):
    while True:
        yield item
        time.sleep(0.01)

async def sleeper(event, context):
    await asyncio.sleep(event)
    return event
"""


@pytest.fixture
def start(environment: Start, tmp_path: Path) -> Start:
    (tmp_path / "app.py").write_text(SOURCE)
    return lambda handler="app.handler", **options: environment(handler, task_root=tmp_path, **options)


def test_a_stream_reaches_the_caller_and_the_environment_goes_on(start: Start) -> None:
    rie = start()
    pid = rie.invoke({}).json()["pid"]
    assert rie.invoke({"async": 5}).body == b"01234"
    assert rie.invoke({"megabytes": 5}).body == b"x" * 5_000_000
    assert rie.invoke({"empty": 204}).body == b'{"statusCode":204,"headers":{}}' + PRELUDE_END
    assert rie.invoke({}).json()["pid"] == pid


def test_an_error_before_the_first_item_is_an_ordinary_one(start: Start) -> None:
    rie = start()
    failed = rie.invoke({"error": "early", "after": 0})
    assert (failed.error.error_type, failed.error.error_message) == ("ValueError", "early")
    assert rie.invoke({}).json()["event"] == {}


@pytest.mark.parametrize("message", ["late", "late " * 20_000])
def test_trailers_are_read_and_the_environment_goes_on(start: Start, message: str) -> None:
    """Trailers over 4,096 bytes are not: the emulator then takes the response for cut off, and the environment ends."""
    rie = start()
    pid = rie.invoke({}).json()["pid"]
    assert rie.invoke({"error": message, "after": 2}).body == b"aa"
    assert rie.invoke({}).json()["pid"] == pid
    assert "[ERROR] ValueError: late" in rie.output()


def test_what_is_too_large_for_a_buffered_invocation_is_refused_and_the_environment_goes_on(start: Start) -> None:
    rie = start()
    pid = rie.invoke({}).json()["pid"]
    assert rie.invoke({"megabytes": 7}).error.error_type == "Function.ResponseSizeTooLarge"
    assert rie.invoke({}).json()["pid"] == pid
    assert "status 413" in rie.output()


def test_a_stream_without_end_is_ended_before_the_time_out(start: Start) -> None:
    rie = start(timeout=3)
    pid = rie.invoke({}).json()["pid"]
    assert set(rie.invoke({"endless": "a"}).body) == set(b"a")
    assert rie.invoke({}).json()["pid"] == pid
    assert "[ERROR] TimeoutError: " in rie.output()


def test_an_async_handler_is_cancelled_before_the_time_out(start: Start) -> None:
    rie = start("app.sleeper", timeout=3)
    late = rie.invoke(600)
    assert late.error.error_type == "TimeoutError"
    assert any("await asyncio.sleep(event)" in line for line in late.error.stack_trace)
    assert rie.invoke(0).json() == 0
    assert len(rie.log().inits) == 1


# --- the examples


def test_chat_stream_sends_a_word_an_event(environment: Start) -> None:
    answer = environment("chat_stream.handler").invoke({"body": '{"message": "Hello"}'})
    head, _, body = answer.body.partition(PRELUDE_END)
    assert json.loads(head) == {
        "statusCode": 200,
        "headers": {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"},
    }
    *words, end, rest = body.decode().split("\n\n")
    assert [json.loads(line.removeprefix("data: "))["word"] for line in words][:3] == ["You", "said", "'Hello',"]
    assert (end, rest) == ("event: end\ndata: {}", "")


def test_fetch_many_keeps_the_connections_that_init_opened(environment: Start, tmp_path: Path) -> None:
    rie = environment("fetch_many.handler", env=web_server.start(tmp_path))
    for _ in range(3):
        assert rie.invoke({"paths": ["/a", "/b", "/c"]}).json() == {"answers": ["/a", "/b", "/c"], "connections": 4}
