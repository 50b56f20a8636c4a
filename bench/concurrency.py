"""Many invocations at once: Samovar's modes beside the official client's processes, in one run.

The rows take turns, one environment at a time: each has all cores, and shares them with the Runtime API, whose work is
the same for all of them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import output
from bench.crowd import Crowd
from bench.launcher import Launcher
from bench.report import Cells, Progress, machine, summary, target, whole
from bench.stage import Stage, stage

OFFICIAL = "awslambdaric"
ASYNC = "async handler"
FREE_THREADED = "thread, free-threaded"
MODES = ("process", "thread", "hybrid")
WAIT = {16: "50 ms of waiting, N = 16, responses/s", 64: "50 ms of waiting, N = 64, responses/s"}
START = "spawn to all 16 polling, boto3, ms"
MEMORY = "memory (PSS), N = 16, boto3, MB"
SMALL = "memory (PSS), N = 64, 50 ms of waiting, MB"
LOADS = "loads of a cached key, N = 16"
COMPUTE = "5 ms of pure Python, N = 8, responses/s"
COMPUTE_ONE = "5 ms of pure Python, N = 1, responses/s"
EVENT = b'{"key": "value"}'


def main() -> int:
    """Measure, print and write the figures; return 0, even if targets are missed."""
    quick = output.arguments("bench.concurrency", __doc__).parse_args().quick
    place = stage()
    launcher = Launcher(place.task_root)
    try:
        results = _Run(launcher, place, quick).measure()
    finally:
        launcher.close()
    document = {"machine": machine(), "quick": quick, "results": results, "targets": targets(results)}
    print(whole(cells(document), document))
    print(f"All figures: {output.shown(output.write('concurrency', document, output.folder(quick)))}")
    return 0


class _Run:
    """One run: the parts, and what they have measured."""

    def __init__(self, launcher: Launcher, place: Stage, quick: bool) -> None:
        self._launcher = launcher
        self._place = place
        self._rounds = 1 if quick else 5
        self._warm, self._seconds = (0.5, 1.0) if quick else (1.0, 4.0)
        self._taken: dict[str, dict[str, list[float]]] = {}
        self._free_threaded = free_threaded()
        self._rounds_of_5_ms = json.dumps(_calibrate()).encode()

    def measure(self) -> dict[str, dict[str, dict[str, float]]]:
        """Visit all rows of all parts in turn, a round at a time."""
        steps = [
            (part, row) for part in (self._wait, self._boto3, self._cached, self._compute) for row in self._rows(part)
        ]
        progress = Progress(self._rounds * len(steps))
        for number in range(self._rounds):
            for part, row in steps:
                part(row)
                progress.step(1, f"round {number + 1}: {row}")
        progress.close()
        return {part: {row: summary(values) for row, values in rows.items()} for part, rows in self._taken.items()}

    def _rows(self, part: Callable[[str], None]) -> tuple[str, ...]:
        rows = (OFFICIAL, *MODES)
        if part == self._wait:
            return (*rows, ASYNC)
        return (*rows, FREE_THREADED) if part == self._compute and self._free_threaded else rows

    def _add(self, part: str, row: str, value: float) -> None:
        self._taken.setdefault(part, {}).setdefault(row, []).append(value)

    def _wait(self, row: str) -> None:
        for count, part in WAIT.items():
            with self._crowd(row, "many_async" if row == ASYNC else "many_wait", count) as crowd:
                crowd.all_polling(count)
                self._add(part, row, crowd.rate(EVENT, self._warm, self._seconds))
                if count == 64:
                    self._add(SMALL, row, crowd.memory())

    def _boto3(self, row: str) -> None:
        with self._crowd(row, "heavy", 16) as crowd:
            self._add(START, row, (crowd.all_polling(16) - crowd.started) / 1e6)
            crowd.once(EVENT)
            self._add(MEMORY, row, crowd.memory())

    def _cached(self, row: str) -> None:
        with self._crowd(row, "many_cached", 16) as crowd:
            crowd.all_polling(16)
            loads: dict[int, int] = {}
            for _ in range(2):
                for pid, count in map(json.loads, crowd.once(EVENT)):
                    loads[pid] = max(count, loads.get(pid, 0))
            self._add(LOADS, row, sum(loads.values()))

    def _compute(self, row: str) -> None:
        for count, part in ((8, COMPUTE), (1, COMPUTE_ONE)):
            with self._crowd(row, "many_compute", count) as crowd:
                crowd.all_polling(count)
                self._add(part, row, crowd.rate(self._rounds_of_5_ms, self._warm, self._seconds))

    @contextmanager
    def _crowd(self, row: str, handler: str, count: int) -> Iterator[Crowd]:
        environment = {**self._place.environment(f"{handler}.handler"), "AWS_LAMBDA_MAX_CONCURRENCY": str(count)}
        command = [str(self._place.bootstrap)]
        if row == OFFICIAL:
            command = [str(self._place.python), "-m", "awslambdaric", f"{handler}.handler"]
        elif row != ASYNC:
            environment["AWS_LAMBDA_CONCURRENCY_MODE"] = row.partition(",")[0]
        if row == FREE_THREADED:
            environment["SAMOVAR_PYTHON"] = str(self._free_threaded)
        crowd = Crowd(self._launcher, command, environment)
        try:
            yield crowd
        finally:
            crowd.close()


def free_threaded() -> Path | None:
    """Return the free-threaded Python that `make freethreaded` builds; None where there is none."""
    return next(iter(sorted((output.CHECKOUT / "build").glob("python-freethreaded/bin/python3.*t"))), None)


def _calibrate() -> int:
    """Return the rounds of the computing handler that take 5 ms on this machine, alone."""
    rounds, best = 20_000, float("inf")
    for _ in range(20):
        start, value = time.process_time(), 0
        for number in range(rounds):
            value = (value + number * number) % 1_000_003
        best = min(best, time.process_time() - start)
    return round(rounds * 0.005 / best)


def targets(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Return the targets, and whether they are met."""

    def median(part: str, row: str) -> float:
        return results[part][row]["median"]

    def ratio(part: str, row: str, to: str = OFFICIAL) -> float:
        return median(part, row) / median(part, to)

    found = [
        target(f"{part.rpartition(',')[0]}: {row} / {OFFICIAL}", ratio(part, row), at_least=0.98, digits=3)
        for part in WAIT.values()
        for row in (*MODES, ASYNC)
    ]
    found += [
        target(f"{START.rpartition(',')[0]}: thread / {OFFICIAL}", ratio(START, "thread"), at_most=0.15, digits=3),
        target(f"memory, N = 16, boto3: thread / {OFFICIAL}", ratio(MEMORY, "thread"), at_most=0.15, digits=3),
        target(f"{LOADS}: thread", median(LOADS, "thread"), at_most=1),
        target("one process at N = 64: memory (PSS), MB", median(SMALL, "thread"), at_most=60),
        target("one process at N = 64, async: memory (PSS), MB", median(SMALL, ASYNC), at_most=60),
        target(f"pure Python, N = 8: hybrid / {OFFICIAL}", ratio(COMPUTE, "hybrid"), at_least=0.95, digits=3),
    ]
    if FREE_THREADED in results[COMPUTE]:
        speedup = median(COMPUTE, FREE_THREADED) / median(COMPUTE_ONE, FREE_THREADED)
        found.append(target("pure Python, free-threaded: N = 8 / N = 1", speedup, at_least=1.7, digits=3))
    return found


def cells(document: Mapping[str, Any]) -> Cells:
    """Return the table: a line for each figure of each row, and its ratio to the official client's."""
    lines = [["", "median", "ratio"]]
    for part, rows in document["results"].items():
        for row, figures in rows.items():
            ratio = f"{figures['median'] / rows[OFFICIAL]['median']:.2f}"
            lines.append([f"{part}: {row}", f"{figures['median']:,.1f}", "" if row == OFFICIAL else ratio])
    return lines


if __name__ == "__main__":
    sys.exit(main())
