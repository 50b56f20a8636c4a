"""A FastAPI application as `asgi:`, beside Mangum under AWS's client and beside a server of its own over loopback.

All environments run at once and take turns, each with the benchmark's Runtime API. All processes of one share a core,
and the Runtime API has another, if there are two. Read the ratios.

The server over loopback is uvicorn with httptools and uvloop. The program between it and the Runtime API does what
AWS's Lambda Web Adapter does: it is compiled (here from Go), and keeps its connections.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench import events, output
from bench.launcher import Launcher
from bench.platform import Registering, event
from bench.report import Cells, Progress, machine, summary, target, whole
from bench.streams import ENVIRONMENT, HANDLERS, ROOT

ADAPTER = output.RUNS / "web_adapter"
OURS, MANGUM, LOOPBACK = "Samovar", "Mangum", "uvicorn"
WITHOUT = "Mangum, off"  # without the application's start-up and shutdown
ALONE = "FastAPI alone"
ROWS = (OURS, MANGUM, WITHOUT, LOOPBACK, ALONE)
BODY = json.dumps(
    {"customer": 7, "items": [{"name": f"Item {n}", "price": n + 0.5, "tags": ["new", "red"]} for n in range(18)]},
    separators=(",", ":"),
)
REQUESTS = {
    "GET": events.request("GET", "/items/42", "q=red+shoes"),
    "POST": events.request("POST", "/orders", body=BODY),
}
ANSWERS = {
    "GET": {"item": 42, "q": "red shoes", "tags": ["new", "red"]},
    "POST": json.loads(BODY),
}
WARM = [part for request in REQUESTS for part in (f"{request}, µs", f"{request}, CPU, µs")]
TURN = 20  # events to an environment in its turn


class Served(Registering):
    """A runtime, with the processes that it has started."""

    def processor_time(self) -> int:
        """Return the ns of processor time of all its processes so far."""
        return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in (self.pid, *self.started_by_it()))

    def resident(self) -> int:
        """Return the bytes that all its processes have in memory; what they share counts for each."""
        status = [Path(f"/proc/{pid}/status").read_text() for pid in (self.pid, *self.started_by_it())]
        return sum(int(text.partition("VmRSS:")[2].split()[0]) * 1024 for text in status)

    def started_by_it(self) -> list[int]:
        """Return the processes that it has started."""
        return [
            int(pid)
            for children in Path(f"/proc/{self.pid}/task").glob("*/children")
            for pid in children.read_text().split()
        ]


def command(row: str) -> tuple[list[str], dict[str, str]]:
    """Return the command that starts a row, and its environment variables."""
    if row == OURS:
        return [str(ROOT / "bootstrap")], {"_HANDLER": "asgi:web:app"}
    if row == LOOPBACK:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        server = [sys.executable, "-m", "uvicorn", "web:app", "--port", port, "--no-access-log"]
        return [str(ADAPTER), port, *server, "--log-level", "warning"], {}
    if row == ALONE:
        return [sys.executable, str(ROOT / "bench" / "peers" / "raw_web.py")], {"PYTHONPATH": str(HANDLERS)}
    handler = "handler" if row == MANGUM else "without_lifespan"
    return [sys.executable, "-m", "awslambdaric", f"web_mangum.{handler}"], {}


def start(launcher: Launcher, row: str) -> Served:
    """Start a row."""
    args, env = command(row)
    return Served(launcher, args, {**ENVIRONMENT, **env})


def check(runtime: Served, row: str, request: str) -> None:
    """Raise ValueError unless the answer is that of the application: only equal work is compared."""
    runtime.invoke(event(REQUESTS[request]), keep=True)
    answer = json.loads(runtime.response())
    if answer["statusCode"] != 200 or json.loads(answer["body"]) != ANSWERS[request]:
        raise ValueError(f"{row} answered {request} with {answer!r:.300}")


def build() -> None:
    """Compile the program between uvicorn and the Runtime API."""
    output.RUNS.mkdir(parents=True, exist_ok=True)
    source = ROOT / "bench" / "peers" / "web_adapter.go"
    settings = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOTELEMETRY": "off", "GO111MODULE": "off"}
    subprocess.run(
        ["go", "build", "-trimpath", "-o", ADAPTER, source],
        env={**os.environ, "PATH": ENVIRONMENT["PATH"], **settings},
        check=True,
    )


def main() -> int:
    """Measure, print and write the figures; return 0, even if targets are missed."""
    quick = output.arguments("bench.web", __doc__).parse_args().quick
    if find_spec("fastapi") is None:
        print("No figures: FastAPI is not installed, as pydantic-core has no wheel for this Python")
        return 0
    build()
    cores = sorted(os.sched_getaffinity(0))
    launcher = Launcher(HANDLERS, cores[0] if len(cores) > 1 else None)
    os.sched_setaffinity(0, {cores[-1]})
    try:
        results = _measure(launcher, *((20, 3) if quick else (200, 15)))
    finally:
        launcher.close()
    targets = [
        target(
            f"{part.removesuffix(', µs')}: Samovar / {row}",
            rows[OURS]["median"] / rows[row]["median"],
            at_most=limit,
            digits=2,
        )
        for row, limit in ((MANGUM, 0.60), (WITHOUT, 0.60), (LOOPBACK, 0.35))
        for part, rows in results.items()
        if part in WARM
    ]
    document = {"machine": machine(), "quick": quick, "results": results, "targets": targets}
    print(whole(cells(document), document))
    print(f"All figures: {output.shown(output.write('web', document, output.folder(quick)))}")
    return 0


def _measure(launcher: Launcher, rounds: int, starts: int) -> dict[str, dict[str, dict[str, float]]]:
    taken: dict[str, dict[str, list[float]]] = {}

    def add(part: str, row: str, *values: float) -> None:
        taken.setdefault(part, {}).setdefault(row, []).extend(values)

    progress = Progress(rounds + starts)
    runtimes: dict[str, Served] = {}
    try:
        for number in range(starts):
            for row in ROWS:
                with start(launcher, row) as runtime:
                    add("INIT, ms", row, (runtime.first_next() - runtime.started) / 1e6)
            progress.step(1, f"start {number + 1}")
        for row in ROWS:
            runtimes[row] = start(launcher, row)
            runtimes[row].first_next()
        for number in range(rounds):
            for request, body in REQUESTS.items():
                for row, runtime in runtimes.items():
                    check(runtime, row, request)  # and warm up
                    before = runtime.processor_time()
                    waited = [runtime.invoke(event(body)) / 1e3 for _ in range(TURN)]
                    spent = (runtime.processor_time() - before) / TURN / 1e3
                    add(f"{request}, µs", row, *waited)
                    add(f"{request}, CPU, µs", row, spent)
                    runtime.drain()
            progress.step(1, f"round {number + 1}")
        for row, runtime in runtimes.items():
            add("memory, MB", row, runtime.resident() / 1e6)
    finally:
        for runtime in runtimes.values():
            runtime.close()
        progress.close()
    return {part: {row: summary(values) for row, values in rows.items()} for part, rows in taken.items()}


def cells(document: Mapping[str, Any]) -> Cells:
    """Return the table: a line for each figure, a column for each row."""
    results = document["results"]
    rows = list(next(iter(results.values())))
    lines = [["", *rows]]
    for part, figures in results.items():
        ours = figures[OURS]["median"]
        others = [figures[row]["median"] for row in rows if row != OURS]
        lines.append([part, f"{ours:.0f}", *(f"{value:.0f} ({ours / value:.2f})" for value in others)])
        if part in WARM and "CPU" not in part:
            lines.append([part.replace(",", ", p99,"), *(f"{figures[row]['p99']:.0f}" for row in rows)])
    return lines


if __name__ == "__main__":
    sys.exit(main())
