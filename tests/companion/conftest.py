"""Companions for tests: each test writes its own program, in Python, well behaved or not."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from samovar.companion import Companion, process, supervisor
from samovar.context import LambdaContext
from samovar.invocation import Invocation

PRELUDE = """
import json, os, signal, sys, time
number = -1

def ask():
    "Return the next event. number is that of its answer."
    global number, request
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit()
    number += 1
    request = json.loads(line)
    return request["event"]

def write(data, fd=1):
    while data:
        data = data[os.write(fd, data):]

def answer(data, end=b"\\n"):
    write(json.dumps({"proc_req_id": number, "error": None, "data": data}).encode() + end)

def log(text):
    write(text.encode() + b"\\n", 2)

"""

Start = Callable[..., Companion]


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], list[str]]:
    """Return a function that writes a program and returns its command. PRELUDE comes before the source."""

    def write(source: str) -> list[str]:
        path = tmp_path / f"program{len(list(tmp_path.iterdir()))}.py"
        path.write_text(PRELUDE + source)
        return [sys.executable, "-S", str(path)]

    return write


@pytest.fixture
def start(program: Callable[[str], list[str]]) -> Iterator[Start]:
    """Return a function that starts a companion with that source; it is closed after the test."""
    companions: list[Companion] = []

    def run(source: str, **options: int) -> Companion:
        companions.append(Companion(program(source), **options))
        return companions[-1]

    yield run
    for one in companions:
        one.close()


def context(seconds: float = 60.0, **attributes: object) -> LambdaContext:
    """Return the context of an invocation with that much time left, and with every attribute set."""
    made = LambdaContext.__new__(LambdaContext)
    made.__dict__ = {
        "aws_request_id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        "function_name": "hello",
        "function_version": "$LATEST",
        "log_group_name": "/aws/lambda/hello",
        "log_stream_name": "2026/11/22/[$LATEST]aa",
        "memory_limit_in_mb": "128",
        "invoked_function_arn": "arn:aws:lambda:eu-central-1:123456789012:function:hello",
        "tenant_id": "blue",
        "_epoch_deadline_time_in_ms": int((time.time() + seconds) * 1000),
        **attributes,
    }
    return made


def in_flight(context: LambdaContext, event: bytes = b"null") -> Invocation:
    """Return an invocation with that context and event."""
    invocation = Invocation()
    invocation.id, invocation.tenant_id = context.aws_request_id, context.tenant_id
    invocation.context, invocation.event = context, event
    return invocation


class Clock:
    """The monotonic clock, with the jumps that a test makes."""

    def __init__(self) -> None:
        self.offset = 0.0
        self.stopped_at: float | None = None
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return (time.monotonic() if self.stopped_at is None else self.stopped_at) + self.offset

    def stop(self) -> None:
        """Stop it: from now on only the test moves it."""
        self.stopped_at = time.monotonic()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.offset += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of all companions, for the test to move."""
    made = Clock()
    monkeypatch.setattr(process, "monotonic", made.monotonic)
    monkeypatch.setattr(supervisor, "monotonic", made.monotonic)
    monkeypatch.setattr(supervisor, "sleep", made.sleep)
    return made


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines that companions started from now on write to the log."""
    lines: list[str] = []
    monkeypatch.setattr(supervisor, "_to_log", lambda chunk: lines.extend(chunk.decode(errors="replace").splitlines()))
    return lines


def alive(pid: int) -> bool:
    """Return whether a process runs; one that is dead and not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
