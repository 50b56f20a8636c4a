"""Streamed responses beside a loop over a raw socket, and async handlers beside plain ones.

All environments run at once and take turns, each a real ./bootstrap with the benchmark's Runtime API. They have one
core and it has another, if there are two. Read the ratios.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from bench import events, output
from bench.launcher import Launcher
from bench.platform import ACCEPTED, Runtime, event, limit
from bench.report import Cells, Progress, machine, summary, target, whole

ROOT = output.CHECKOUT
CHUNK = 65536  # bytes
STREAMED = 200 << 20  # bytes: the most that Lambda streams
HANDLERS = ROOT / "bench" / "handlers"
ENVIRONMENT = {
    "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    "LAMBDA_TASK_ROOT": str(HANDLERS),
    "AWS_LAMBDA_FUNCTION_NAME": "bench",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
}
RAW = "raw socket loop"
STREAMS = {"generator": "streams.handler", "async generator": "streams.from_async", RAW: ""}
ASYNC = {"plain handler": "echo.handler", "async handler": "async_echo.handler"}
LOOPS = {"async handler, uvloop": ("async_echo.handler", {"SAMOVAR_LOOP": "uvloop"})}


class _Streaming(Runtime):
    """A runtime that streams its responses."""

    def stream(self, items: int) -> tuple[int, int, bytes]:
        """Let it stream a number of chunks; return the ns from sending the event until the last byte, the time at which
        the body's first bytes were there, and those. On return the runtime has asked for the next event.
        """
        sock, view = self._sock, self._view
        assert sock is not None
        try:
            start = time.perf_counter_ns()
            sock.sendall(event(str(items).encode()))
            got, size, end = 0, len(self._buffer), -1
            while end < 0 or got <= end + 4:
                got += self._receive(sock, view[got:])
                end = self._buffer.find(b"\r\n\r\n", 0, got)
            first_at = time.perf_counter_ns()
            first = bytes(view[end + 4 : got])
            tail = bytes(view[max(0, got - 5) : got])
            while tail != b"0\r\n\r\n":
                got = self._receive(sock, view[: min(size, 1 << 20)])
                tail = (tail + bytes(view[max(0, got - 5) : got]))[-5:]
            taken = time.perf_counter_ns() - start
            sock.sendall(ACCEPTED)
            self._sock, _ = self._listener.accept()  # the runtime closes the connection after a stream
            sock.close()
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            limit(self._sock)
            self._asks_next(self._sock.recv_into(self._buffer))
        except OSError as exc:
            raise self._died(exc) from None
        return taken, first_at, first

    def first_byte(self) -> int:
        """Return the ns from the first yield until its chunk is there."""
        _, at, first = self.stream(0)
        return at - int(first.split(b"\r\n")[1])

    @staticmethod
    def _receive(sock: socket.socket, into: memoryview) -> int:
        got = sock.recv_into(into)
        if not got:
            raise ConnectionError("the connection was closed within the response")
        return got


def main() -> int:
    """Measure, print and write the figures; return 0, even if targets are missed."""
    quick = output.arguments("bench.streams", __doc__).parse_args().quick
    cores = sorted(os.sched_getaffinity(0))
    launcher = Launcher(ROOT, cores[0] if len(cores) > 1 else None)
    os.sched_setaffinity(0, {cores[-1]})
    try:
        results = _measure(launcher, 20 if quick else 200)
    finally:
        launcher.close()
    first, rate = results["first byte, µs"], results["64 KB chunks, MB/s"]
    warm, memory = results["warm, 1 KB, µs"], results["200 MB: peak above idle, MB"]
    targets = [
        target("the first chunk after the first yield, ms", first["generator"]["median"] / 1000, at_most=1, digits=3),
        target(
            "64 KB chunks, of a raw socket loop's rate",
            rate["generator"]["median"] / rate[RAW]["median"],
            at_least=0.75,
            digits=3,
        ),
        target("200 MB streamed: peak RSS above idle, MB", memory["generator"]["max"], at_most=4, digits=3),
        target(
            "async handler / plain handler, warm, 1 KB",
            warm["async handler"]["median"] / warm["plain handler"]["median"],
            at_most=1.6,
            digits=3,
        ),
    ]
    document = {"machine": machine(), "quick": quick, "results": results, "targets": targets}
    print(whole(cells(document), document))
    print(f"All figures: {output.shown(output.write('streams', document, output.folder(quick)))}")
    return 0


def _measure(launcher: Launcher, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    taken: dict[str, dict[str, list[float]]] = {}

    def add(part: str, row: str, value: float) -> None:
        taken.setdefault(part, {}).setdefault(row, []).append(value)

    progress = Progress(3 + 2 * rounds)
    for number in range(3):
        for row in ("generator", "async generator"):
            runtime = _start(launcher, STREAMS[row])
            try:
                runtime.first_next()
                idle = runtime.memory().resident
                runtime.stream(STREAMED // CHUNK)
                add("200 MB: peak above idle, MB", row, (runtime.memory().peak - idle) / 2**20)
            finally:
                runtime.close()
        progress.step(1, f"memory {number + 1}")
    _in_turn(launcher, STREAMS, {}, rounds, progress, lambda runtime, row: _streams(runtime, row, add))
    body = event(events.records(1 << 10))

    def invoke(runtime: _Streaming, row: str) -> None:
        runtime.invoke(body)
        for _ in range(20):
            add("warm, 1 KB, µs", row, runtime.invoke(body) / 1e3)

    loops = {row: env for row, (_, env) in LOOPS.items()}
    handlers = {**ASYNC, **{row: handler for row, (handler, _) in LOOPS.items()}}
    _in_turn(launcher, handlers, loops, rounds, progress, invoke)
    progress.close()
    return {part: {row: summary(values) for row, values in rows.items()} for part, rows in taken.items()}


def _streams(runtime: _Streaming, row: str, add: Callable[[str, str, float], None]) -> None:
    runtime.first_byte()
    add("first byte, µs", row, runtime.first_byte() / 1e3)
    items = 160  # 10 MB
    ns, _, _ = runtime.stream(items)
    add("64 KB chunks, MB/s", row, items * CHUNK / ns * 1e9 / 2**20)


def _in_turn(
    launcher: Launcher,
    handlers: Mapping[str, str],
    environments: Mapping[str, Mapping[str, str]],
    rounds: int,
    progress: Progress,
    measure: Callable[[_Streaming, str], None],
) -> None:
    runtimes = {row: _start(launcher, handler, environments.get(row, {})) for row, handler in handlers.items()}
    try:
        for runtime in runtimes.values():
            runtime.first_next()
        for number in range(rounds):
            for row, runtime in runtimes.items():
                measure(runtime, row)
            progress.step(1, f"{', '.join(handlers)}: {number + 1}")
    finally:
        for runtime in runtimes.values():
            runtime.close()


def _start(launcher: Launcher, handler: str, env: Mapping[str, str] = {}) -> _Streaming:
    command = (
        [str(ROOT / "bootstrap")] if handler else [sys.executable, str(ROOT / "bench" / "peers" / "raw_stream.py")]
    )
    return _Streaming(launcher, command, {**ENVIRONMENT, "_HANDLER": handler, **env})


def cells(document: Mapping[str, Any]) -> Cells:
    """Return the table: a line for each figure of each row."""
    lines = [["", "p50", "p99"]]
    for part, rows in document["results"].items():
        for row, figures in rows.items():
            lines.append([f"{part}: {row}", f"{figures['median']:.2f}", f"{figures['p99']:.2f}"])
    return lines


if __name__ == "__main__":
    sys.exit(main())
