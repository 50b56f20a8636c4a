"""Runs one runtime process against the scripted Runtime API and says what it did, event by event.

An outcome is what Lambda could see: the calls, what was written to stdout, stderr and the telemetry descriptor, and how
the process ended. What cannot be equal by nature (clocks, addresses, the runtimes' own frames in a crash) is normalised
here and nowhere else. Knows nothing of cases.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from samovar.local.testing.scripted_api import NEXT, Answer, Request, ScriptedRuntimeApi, invocation

CHECKOUT = Path(__file__).resolve().parents[2]
OFFICIAL, OURS, OURS_URLLIB3 = "awslambdaric", "samovar", "samovar-urllib3"
MANAGED = "awslambdaric-managed"
"""awslambdaric as a managed runtime starts it, not by `python -m`: where the interpreter around the handler counts."""
RUNTIME_DIR = CHECKOUT / "tests" / "contract" / "managed"

_DEADLINE = 300.0  # seconds for one process with all its events: a hang ends the test, nothing waits for it otherwise


@dataclass(frozen=True, slots=True)
class Event:
    """One invocation. The request id also names the case in a batch."""

    body: object = b"{}"
    request_id: str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    content_type: str | None = "application/json"
    headers: tuple[tuple[str, str | None], ...] = ()
    timeout_ms: int = 900_000
    """From the start of the process, which may have many events before this one: Lambda's longest, 15 minutes."""

    def answer(self) -> Answer:
        """What /next answers."""
        return invocation(
            self.body,
            self.request_id,
            content_type=self.content_type,
            headers=self.headers,
            timeout_ms=self.timeout_ms,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """One process: a task root, a handler string, an environment and the events it is given."""

    files: Mapping[str, str]
    events: tuple[Event | Answer, ...] = (Event(),)
    """An Answer is put on the wire as it is."""
    handler: str = "app.handler"
    env: Mapping[str, str] = field(default_factory=dict)
    framed: bool = False
    restart: bool = False
    """Start another process for the events that are left when one ends; for batches of unrelated events."""
    answers: tuple[tuple[str, Answer], ...] = ()
    """Answers to other calls, by call."""
    oracle: str = OFFICIAL
    """The runtime whose outcomes are the right ones."""


@dataclass(frozen=True, slots=True)
class Post:
    """One call other than /next, in the form in which two runtimes are compared."""

    call: str
    path: str
    content_type: str | None
    """Not of /init/error and /restore/error, where the official client sends none."""
    invocation_id: str | None
    error_type: str | None
    xray: Any
    body: Any


@dataclass(frozen=True)
class Outcome:
    """What happened between two polls of /next (the first outcome of a process: its INIT)."""

    requests: tuple[Request, ...]
    stdout: bytes
    stderr: bytes
    telemetry: bytes
    exit: int | None
    root: str

    @cached_property
    def posts(self) -> tuple[Post, ...]:
        """The calls, normalised."""
        return tuple(normalised(request, self.root) for request in self.requests)

    @property
    def post(self) -> Post:
        """The one call of this outcome."""
        (post,) = self.posts
        return post

    @property
    def value(self) -> Any:
        """The body of the one call as Python's json reads it."""
        (request,) = self.requests
        return json.loads(request.body)

    @cached_property
    def frames(self) -> tuple[tuple[str, str], ...]:
        """The telemetry descriptor's frames: type in hex and normalised message."""
        return tuple(
            (kind, _text(message, self.root))
            for kind, _, message in frames(self.telemetry)
            if not _LEFT_OUT.fullmatch(message)
        )

    @cached_property
    def seen(self) -> dict[str, Any]:
        """All that is compared, by name."""
        return {
            "calls": self.posts,
            "stdout": _text(self.stdout, self.root),
            "stderr": _text(self.stderr, self.root),
            "frames": self.frames,
            "exit": self.exit,
        }


Outcomes = Callable[[Run, str], list[Outcome]]
"""What the fixture `outcomes` gives."""


def frames(data: bytes) -> list[tuple[str, int, bytes]]:
    """Telemetry bytes → (type in hex, Unix time in µs, message); ValueError when they are not whole frames."""
    result = []
    at = 0
    while at < len(data):
        if len(data) - at < 16:
            raise ValueError(f"{len(data) - at} bytes after the last frame: {data[at:]!r}")
        size = int.from_bytes(data[at + 4 : at + 8], "big")
        stamp = int.from_bytes(data[at + 8 : at + 16], "big")
        if len(data) - at < 16 + size:
            raise ValueError(f"frame of {size} bytes cut short: {data[at:]!r}")
        if not 0 <= time.time_ns() // 1000 - stamp < 600_000_000:
            raise ValueError(f"frame's time {stamp} µs is not the last ten minutes")
        result.append((data[at : at + 4].hex(), stamp, data[at + 16 : at + 16 + size]))
        at += 16 + size
    return result


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number that is not an integer: equal when every digit is, however it is written."""

    negative: bool
    digits: str
    exponent: int

    @classmethod
    def read(cls, text: str) -> Number:
        """From JSON text; the sign of zero counts."""
        mantissa, _, exponent = text.lower().partition("e")
        whole, _, fraction = mantissa.lstrip("-").partition(".")
        power = int(exponent or 0) - len(fraction)
        digits = (whole + fraction).lstrip("0")
        stripped = digits.rstrip("0")
        return cls(text.startswith("-"), stripped, power + len(digits) - len(stripped) if stripped else 0)


def exact(body: bytes) -> Any:
    """JSON → a value that keeps what Python's equality would lose: order and duplicates of keys, 1 and 1.0 and true.

    Bytes that are not JSON come back as they are.
    """
    try:
        return json.loads(
            body,
            object_pairs_hook=lambda pairs: ("object", tuple(pairs)),
            parse_int=lambda text: ("int", text),
            parse_float=Number.read,
            parse_constant=lambda text: ("constant", text),
        )
    except ValueError:
        return body


def normalised(request: Request, root: str) -> Post:
    """Return a call other than /next without what cannot be equal."""
    xray = request.header("Lambda-Runtime-Function-XRay-Error-Cause")
    cause = _scrub(exact(_at_home(xray.encode("latin-1"), root))) if xray else xray
    if isinstance(cause, tuple):  # "paths" is a set in both runtimes: its order is chance
        cause = (cause[0], tuple((key, sorted(value) if key == "paths" else value) for key, value in cause[1]))
    body = _at_home(request.body, root)
    of_init = request.call.endswith(("/init/error", "/restore/error"))
    json_body = not (request.header("Content-Type") or "").startswith("application/unknown")
    return Post(
        request.call,
        request.path,
        None if of_init else request.header("Content-Type"),
        request.header("Lambda-Runtime-Invocation-Id"),
        request.header("Lambda-Runtime-Function-Error-Type") if of_init else None,
        cause,
        _scrub(exact(body) if json_body else body),
    )


_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
# The official client's remark on every failed INIT, which is left out on purpose: a whole record in either format.
UPDATE_WARNING = b"LAMBDA_WARNING: Unhandled exception."
# Ours, at DEBUG: the record that says which runtime runs.
START_RECORD = re.compile(rb"Samovar [\d.]+ on Python 3[^\n]*")
_LEFT_OUT = re.compile(
    rb'(?m)^(?:\[(?:WARNING|DEBUG)\]\t|\{"timestamp": ?"[^"]*", ?"level": ?"(?:WARNING|DEBUG)", ?"message": ?")[^\n]*'
    rb"(?:%s|%s)[^\n]*\n?" % (re.escape(UPDATE_WARNING), START_RECORD.pattern)
)
# A frame of a runtime, or of what started it, in a crash's traceback on stderr: its line and what is indented below
# it. `  |` is in front of them when an exception group is shown.
_CRASH_FRAME = re.compile(
    r'(?m)^(?:  \|)?   ?File "[^"\n]*(?:/awslambdaric/|/runtime/samovar/|<frozen |<string>|/concurrent/futures/'
    r"|/importlib/__init__|/bootstrap)[^\n]*\n(?:(?:  \|)? {4}[^\n]*\n)*"
)
# The official client leaves its own frames in what it reports, where they are not the first ones (print() passes
# through its Unbuffered), and importlib's at INIT. They are taken out; a frame of ours is not, and makes a case fail.
_OFFICIAL_FILES = "/awslambdaric/", "/importlib/__init__.py", "<frozen importlib"
_OFFICIAL_FRAME = re.compile(
    r'[\r\n][ \xa0]+File "[^"\r\n]*(?:/awslambdaric/|/importlib/__init__\.py|<frozen importlib)[^\r\n]*'
    r"(?:[\r\n][ \xa0]{4}[^\r\n]*)?"
)


def _at_home(data: bytes, root: str) -> bytes:
    """Each process has a task root of its own: all of them become Lambda's."""
    return data.replace(root.encode(), b"/var/task")


def _official(value: Any) -> bool:
    """Whether it is a stack trace line, an X-Ray frame or an X-Ray path of the official client or of its import."""
    match value:
        case str():
            return value.startswith(("  File ", "/")) and any(mark in value for mark in _OFFICIAL_FILES)
        case ("object", (("label", _), ("path", path), *_)):
            return any(mark in path for mark in _OFFICIAL_FILES)
    return False


def _scrub(value: Any) -> Any:
    """Addresses out of every string, the official client's frames out of every list."""
    if isinstance(value, str):
        return _ADDRESS.sub("0x", value)
    if isinstance(value, (list, tuple)):
        return type(value)(_scrub(item) for item in value if not _official(item))
    return value


def _text(data: bytes, root: str) -> str:
    """Log bytes with clocks and addresses normalised; lines that are JSON objects are compared by value."""
    data = _LEFT_OUT.sub(b"", _at_home(data, root))
    text = data.decode("utf-8", "backslashreplace")
    text = _CRASH_FRAME.sub("", _TIME.sub(lambda match: "TIME.ms" if match[1] else "TIME", text))
    lines = []
    for line in text.split("\n"):
        if line.startswith("{"):
            value = exact(line.encode())
            line = line if isinstance(value, bytes) else repr(_scrub(value))
        lines.append(_ADDRESS.sub("0x", line))
    return _OFFICIAL_FRAME.sub("", "\n".join(lines))


def command(runtime: str, handler: str) -> list[str]:
    """How a runtime is started; the handler as the managed runtime hands it over."""
    if runtime == OFFICIAL:
        return [sys.executable, "-m", "awslambdaric", handler]
    if runtime == MANAGED:
        return [sys.executable, str(RUNTIME_DIR / "bootstrap.py")]
    return [str(CHECKOUT / "bootstrap")]


def environment(runtime: str, handler: str, root: str, address: str, env: Mapping[str, str]) -> dict[str, str]:
    """The environment Lambda gives a runtime, reduced to what a runtime may read."""
    base = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "AWS_LAMBDA_RUNTIME_API": address,
        "LAMBDA_TASK_ROOT": root,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "_HANDLER": handler,
        "AWS_LAMBDA_FUNCTION_NAME": "contract",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/contract",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/22/[$LATEST]5d1edb9e525d486696cf01a3503487bc",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    }
    if runtime == OURS_URLLIB3:
        base["SAMOVAR_TRANSPORT"] = "urllib3"
    return {**base, **env}


def execute(run: Run, runtime: str) -> list[Outcome]:
    """Start the runtime, hand it every event, and return its INIT's outcome and one for each event it took.

    The process is killed when it asks for an event beyond the script; its outcome then has `exit` None. A runtime that
    does neither within five minutes raises TimeoutError.
    """
    with tempfile.TemporaryDirectory(prefix="contract-") as root:
        for name, text in run.files.items():
            path = Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        outcomes = _process(run, runtime, root, run.events)
        while run.restart and len(outcomes) <= len(run.events) and len(outcomes) > 1:
            left = run.events[len(outcomes) - 1 :]
            again = _process(run, runtime, root, left)
            if len(again) == 1:  # INIT did not even reach /next
                break
            outcomes += again[1:]
        return outcomes


def _process(run: Run, runtime: str, root: str, events: Sequence[Event | Answer]) -> list[Outcome]:
    """One process. Output goes to files, whose sizes at each poll of /next say which event wrote what."""
    marks: list[tuple[int, tuple[int, ...]]] = []
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as log:
        files = (out, err, log)
        for file in files:
            os.set_blocking(file.fileno(), True)

        def mark(request: Request) -> None:
            if request.call == NEXT:
                marks.append((len(api.requests), tuple(os.fstat(file.fileno()).st_size for file in files)))

        idle = os.eventfd(0)
        script = [event if isinstance(event, Answer) else event.answer() for event in events]
        api = ScriptedRuntimeApi(*script, on_request=mark, on_idle=lambda: os.eventfd_write(idle, 1))
        for call, answer in run.answers:
            api.override(call, answer)
        try:
            with api:
                env = environment(runtime, run.handler, root, api.address, run.env)
                if run.framed:
                    env["_LAMBDA_TELEMETRY_LOG_FD"] = str(log.fileno())
                process = subprocess.Popen(
                    command(runtime, run.handler),
                    cwd=root,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    pass_fds=[log.fileno()] if run.framed else [],
                )
                ended = os.pidfd_open(process.pid)
                try:
                    ready, _, _ = select.select([idle, ended], [], [], _DEADLINE)
                    if not ready:
                        raise TimeoutError(
                            f"{runtime} neither polled /next nor ended: {[r.call for r in api.requests]}"
                        )
                    exit_code = process.wait() if ended in ready else None
                finally:
                    os.close(ended)
                    process.kill()
                    process.wait()
        finally:
            os.close(idle)
        written = []
        for file in files:
            file.seek(0)
            written.append(file.read())

    outcomes = []
    sizes, first = (0, 0, 0), 0
    ends = [*marks, (len(api.requests) + 1, tuple(map(len, written)))] if exit_code is not None else marks
    for count, upto in ends:
        texts = [whole[begin:end] for whole, begin, end in zip(written, sizes, upto, strict=True)]
        posted = tuple(api.requests[first : count - 1])
        code = exit_code if (count, upto) == ends[-1] else None
        outcomes.append(Outcome(posted, texts[0], texts[1], texts[2], code, root))
        sizes, first = (upto[0], upto[1], upto[2]), count
    return outcomes


def failed(outcome: Outcome) -> dict[str, Any]:
    """The error JSON of the one failure, which the log must have too."""
    (request,) = outcome.requests
    assert request.call.endswith("/error")
    error: dict[str, Any] = json.loads(request.body)
    assert f"[ERROR] {error['errorType']}" in outcome.stdout.decode()
    return error
