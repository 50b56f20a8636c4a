"""Samovar beside its peers: cold start, warm invocations, memory, small CPU shares.

Every round of every part visits all rows in turn, so that other load on the machine affects all of them. The process
under test has one core and the scripted Runtime API another; if there is only one, they share it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from bench import events, output, platform, quota, report
from bench.launcher import Launcher, RuntimeDied
from bench.report import Metric
from bench.stage import Stage, stage

OURS = "samovar"
ROWS = {  # name -> heading
    "samovar": "Samovar",
    "awslambdaric": "awslambdaric",
    "urllib3": "urllib3 loop",
    "samovar-urllib3": "Samovar, urllib3",
    "samovar-m": "python -m samovar",
    "raw": "raw socket loop",
    "bare": "python -c pass",
    "bare-S": "python -S -c pass",
}
_RUNTIMES = ("samovar", "awslambdaric", "urllib3", "samovar-urllib3", "samovar-m")
_EVENTS: dict[str, Callable[[], bytes]] = {
    "1k": lambda: events.records(1 << 10),
    "100k": lambda: events.records(100 << 10),
    "1m": lambda: events.records(1 << 20),
    "5m": lambda: events.records(5 << 20),
    "5m_upload": lambda: events.upload(5 << 20),
}

METRICS = (
    Metric("next", "spawn to first /next, no imports", "ms", 1, 0.35, "bare", 1.25),
    Metric("answer", "spawn to first answer, no imports", "ms", 1, 0.42),
    Metric("next_cpu", "CPU time to first /next, no imports", "ms", 1),
    Metric("typical_next", "spawn to first /next, typical", "ms", 1, 0.88),
    Metric("typical_answer", "spawn to first answer, typical", "ms", 1),
    Metric("heavy_next", "spawn to first /next, boto3 client", "ms", 0),
    Metric("heavy_answer", "spawn to first answer, boto3 client", "ms", 0),
    Metric("early_1k", "invocations 2 to 300, 1 KB", "µs", 1),
    Metric("warm_1k", "warm, 1 KB", "µs", 1, 0.50),
    Metric("warm_1k", "warm, 1 KB, p99", "µs", 1, statistic="p99"),
    Metric("warm_typical", "warm, typical (logs a line)", "µs", 1, 0.45),
    Metric("warm_typical", "warm, typical, p99", "µs", 1, statistic="p99"),
    Metric("warm_100k", "warm, 100 KB", "µs", 0, 0.50),
    Metric("warm_100k", "warm, 100 KB, p99", "µs", 0, statistic="p99"),
    Metric("warm_1m", "warm, 1 MB", "ms", 2),
    Metric("warm_1m", "warm, 1 MB, p99", "ms", 2, statistic="p99"),
    Metric("warm_5m_upload", "warm, 5 MB upload", "ms", 2, 0.50),
    Metric("warm_5m_upload", "warm, 5 MB upload, p99", "ms", 2, statistic="p99"),
    Metric("warm_5m", "warm, 5 MB of records", "ms", 2, 0.50),
    Metric("warm_5m", "warm, 5 MB of records, p99", "ms", 2, statistic="p99"),
    Metric("cpu_1k", "CPU time warm, 1 KB", "µs", 1),
    Metric("cpu_typical", "CPU time warm, typical", "µs", 1),
    Metric("cpu_5m_upload", "CPU time warm, 5 MB upload", "ms", 2),
    Metric("cpu_5m", "CPU time warm, 5 MB of records", "ms", 2),
    Metric("rss_init", "RSS after INIT, no imports", "MB", 1),
    Metric("rss_300", "RSS after 300 invocations, 1 KB", "MB", 1, 0.68),
    Metric("rss_3000", "RSS after 3,000 invocations, 1 KB", "MB", 1),
    Metric("peak_5m_upload", "peak RSS, 5 MB upload", "MB", 1, 0.60),
    Metric("peak_5m", "peak RSS, 5 MB of records", "MB", 1, 0.60),
    Metric("heap", "warm, heavy heap", "µs", 0),
    Metric("heap", "warm, heavy heap, p99", "µs", 0, statistic="p99"),
    Metric("quota_07_echo_answer", "0.07 core: first answer, no imports", "ms", 0),
    Metric("quota_07_typical_answer", "0.07 core: first answer, typical", "ms", 0),
    Metric("quota_07_typical_run", "0.07 core: 100th answer, typical", "ms", 0),
    Metric("quota_28_echo_answer", "0.28 core: first answer, no imports", "ms", 0),
    Metric("quota_28_typical_answer", "0.28 core: first answer, typical", "ms", 0),
    Metric("quota_28_typical_run", "0.28 core: 100th answer, typical", "ms", 0),
)
_CHART = (
    "next",
    "answer",
    "typical_next",
    "heavy_next",
    "warm_1k",
    "warm_typical",
    "warm_100k",
    "warm_5m_upload",
    "warm_5m",
    "rss_300",
    "peak_5m_upload",
    "peak_5m",
    "quota_07_typical_run",
)
_CHART_ROWS = {name: ROWS[name] for name in ("samovar", "awslambdaric", "urllib3")}
_PAGE_ROWS = {name: ROWS[name] for name in ("samovar", "awslambdaric", "urllib3", "samovar-urllib3", "raw", "bare")}


def cells(results: report.Summaries) -> report.Cells:
    """Return the table of the page."""
    return report.compared(METRICS, _PAGE_ROWS, results, OURS, lambda verdicts: "; ".join(map(str, verdicts)))


def printed(metrics: Sequence[Metric], results: report.Summaries) -> str:
    """Format the table for a terminal: as many rows as fit, and below it the targets that were missed."""
    rows = dict(ROWS)
    while True:
        table = report.text(report.compared(metrics, rows, results, OURS, _word))
        if len(rows) == 1 or max(map(len, table.splitlines())) <= report.WIDTH:
            break
        rows.popitem()
    targets = missed(metrics, results)
    return "\n".join([table, *(report.filled(f"MISSED: {target}") for target in targets)])


def missed(metrics: Sequence[Metric], results: report.Summaries) -> list[str]:
    """Return the targets that were missed, each with its figures."""
    return [
        f"{metric.title}: {verdict.ratio:.2f} × {verdict.against}, target {verdict.limit:.2f}"
        for metric in metrics
        for verdict in report.verdicts(metric, results, OURS)
        if not verdict.met
    ]


def chart(results: report.Summaries, about: str) -> str:
    """Draw the chart of the page."""
    metrics = [next(metric for metric in METRICS if metric.key == key) for key in _CHART]
    return report.svg(metrics, _CHART_ROWS, results, OURS, about)


def _word(verdicts: Sequence[report.Verdict]) -> str:
    if not verdicts:
        return ""
    return "met" if all(verdict.met for verdict in verdicts) else "MISSED"


def _described(results: report.Summaries) -> dict[str, object]:
    """Return the results with their titles, units and targets."""
    described: dict[str, object] = {}
    for key, by_row in results.items():
        metric = next((metric for metric in METRICS if metric.key == key), None)
        described[key] = {
            "title": metric.title if metric else key,
            "unit": metric.unit if metric else "",
            "targets": [
                {"against": v.against, "limit": v.limit, "ratio": round(v.ratio, 4), "met": v.met}
                for v in report.verdicts(metric, results, OURS)
            ]
            if metric
            else [],
            "rows": {
                row: {name: round(value, 3) for name, value in figures.items()} for row, figures in by_row.items()
            },
        }
    return described


class Bench:
    """One run: the stage, how each row is started, and the samples so far."""

    def __init__(self, place: Stage, rows: Sequence[str]) -> None:
        self.place = place
        self.rows = rows
        self.samples: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._payloads: dict[str, bytes] = {}
        cores = sorted(os.sched_getaffinity(0))
        self.core: int | None = cores[0] if len(cores) > 1 else None
        self._own_core = cores[-1]
        self.launcher = Launcher(place.task_root, self.core)

    def pin(self) -> None:
        """Move this process, the Runtime API, to the other core."""
        if self.core is not None:
            os.sched_setaffinity(0, {self._own_core})

    def command(self, row: str, handler: str) -> tuple[list[str], dict[str, str]]:
        """Return the command that starts a row, and its environment variables."""
        environment = self.place.environment(handler)
        python = str(self.place.python)
        match row:
            case "samovar":
                command = [str(self.place.bootstrap)]
            case "samovar-urllib3":
                command = [str(self.place.bootstrap)]
                environment["SAMOVAR_TRANSPORT"] = "urllib3"
            case "bare":
                command = [python, "-c", "pass"]
            case "bare-S":
                command = [python, "-S", "-c", "pass"]
            case "awslambdaric" | "samovar-m":
                command = [python, "-m", row.removesuffix("-m"), handler]
            case _:
                command = [python, str(self.place.peers / f"{row}_loop.py")]
        return command, environment

    def runtime(self, row: str, handler: str, launcher: Launcher | None = None) -> platform.Runtime:
        return platform.Runtime(launcher or self.launcher, *self.command(row, f"{handler}.handler"))

    def event(self, size: str) -> bytes:
        """Return the HTTP response to /next with an event of that size and a deadline in the future."""
        return platform.event(self._payload(size))

    def _payload(self, size: str) -> bytes:
        if size not in self._payloads:
            self._payloads[size] = _EVENTS[size]()
        return self._payloads[size]

    def add(self, metric: str, row: str, *values: float) -> None:
        self.samples[metric][row].extend(values)

    def check_echo(self, runtime: platform.Runtime, size: str) -> None:
        """Raise RuntimeDied unless the event comes back: only equal work is compared."""
        runtime.invoke(self.event(size), keep=True)
        if json.loads(runtime.response()) != json.loads(self._payload(size)):
            raise RuntimeDied(f"the echo of {size} is not its event: {runtime.response()[:200]!r}")


def _ms(nanoseconds: float) -> float:
    return nanoseconds / 1e6


def _us(nanoseconds: float) -> float:
    return nanoseconds / 1e3


def _mb(size: float) -> float:
    return size / 1e6


def cold(bench: Bench, row: str) -> None:
    """Measure INIT, first response and memory of the handler without imports, or the bare interpreter's whole life."""
    if row.startswith("bare"):
        taken, processor_time = platform.floor(bench.launcher, *bench.command(row, "echo.handler"))
        bench.add("next", row, _ms(taken))
        bench.add("next_cpu", row, _ms(processor_time))
        return
    wire = bench.event("1k")
    with bench.runtime(row, "echo") as runtime:
        at = runtime.first_next()
        bench.add("next", row, _ms(at - runtime.started))
        bench.add("next_cpu", row, _ms(runtime.processor_time()))
        bench.add("rss_init", row, _mb(runtime.memory().resident))
        bench.add("answer", row, _ms(at - runtime.started + runtime.invoke(wire)))
        bench.check_echo(runtime, "1k")


def cold_typical(bench: Bench, row: str) -> None:
    _cold_with(bench, row, "typical")


def cold_heavy(bench: Bench, row: str) -> None:
    _cold_with(bench, row, "heavy")


def _cold_with(bench: Bench, row: str, handler: str) -> None:
    wire = bench.event("1k")
    with bench.runtime(row, handler) as runtime:
        at = runtime.first_next()
        bench.add(f"{handler}_next", row, _ms(at - runtime.started))
        bench.add(f"{handler}_answer", row, _ms(at - runtime.started + runtime.invoke(wire)))


def warm_1k(bench: Bench, row: str) -> None:
    """Measure a new environment's first 300 invocations, its memory after them, and the steady state."""
    wire = bench.event("1k")
    with bench.runtime(row, "echo") as runtime:
        runtime.first_next()
        runtime.invoke(wire)
        bench.add("early_1k", row, *[_us(runtime.invoke(wire)) for _ in range(299)])
        bench.add("rss_300", row, _mb(runtime.memory().resident))
        for _ in range(2700):
            runtime.invoke(wire)
        bench.add("rss_3000", row, _mb(runtime.memory().resident))
        _measure(bench, row, runtime, wire, "1k", 1500, _us)
        bench.check_echo(runtime, "1k")


def warm_100k(bench: Bench, row: str) -> None:
    _warm_echo(bench, row, "100k", 20, 150, _us)


def warm_1m(bench: Bench, row: str) -> None:
    _warm_echo(bench, row, "1m", 4, 15, _ms)


def warm_5m(bench: Bench, row: str) -> None:
    _warm_echo(bench, row, "5m", 2, 6, _ms)


def warm_5m_upload(bench: Bench, row: str) -> None:
    _warm_echo(bench, row, "5m_upload", 2, 10, _ms)


def _warm_echo(bench: Bench, row: str, size: str, before: int, count: int, unit: Callable[[float], float]) -> None:
    wire = bench.event(size)
    with bench.runtime(row, "echo") as runtime:
        runtime.first_next()
        for _ in range(before):
            runtime.invoke(wire)
        bench.check_echo(runtime, size)
        _measure(bench, row, runtime, wire, size, count, unit)
        bench.add(f"peak_{size}", row, _mb(runtime.memory().peak))


def warm_typical(bench: Bench, row: str) -> None:
    """Measure the handler that logs; the pipe with its lines is emptied outside the measured times."""
    wire = bench.event("1k")
    with bench.runtime(row, "typical") as runtime:
        runtime.first_next()
        for _ in range(500):
            runtime.invoke(wire)
            runtime.drain()
        _measure(bench, row, runtime, wire, "typical", 1000, _us, drain=True)


def heap(bench: Bench, row: str) -> None:
    """Measure garbage collection: many live objects, and garbage that only the collector can free."""
    wire = bench.event("1k")
    with bench.runtime(row, "heap") as runtime:
        runtime.first_next()
        for _ in range(50):
            runtime.invoke(wire)
        bench.add("heap", row, *[_us(runtime.invoke(wire)) for _ in range(500)])


def _measure(
    bench: Bench,
    row: str,
    runtime: platform.Runtime,
    wire: bytes,
    name: str,
    count: int,
    unit: Callable[[float], float],
    drain: bool = False,
) -> None:
    before = runtime.processor_time()
    taken = []
    for _ in range(count):
        taken.append(unit(runtime.invoke(wire)))
        if drain:
            runtime.drain()
    bench.add(f"cpu_{name}", row, unit((runtime.processor_time() - before) / count))
    bench.add(f"warm_{name}", row, *taken)


def small(share: str, handler: str) -> Callable[[Bench, str], None]:
    """Return a turn under a CPU quota: INIT, first response, 100th response."""

    def turn(bench: Bench, row: str) -> None:
        wire = bench.event("1k")
        with (
            quota.launcher(int(share) / 100, bench.place.task_root, bench.core) as launcher,
            bench.runtime(row, handler, launcher) as runtime,
        ):
            bench.add(f"quota_{share}_{handler}_next", row, _ms(runtime.first_next() - runtime.started))
            for number in range(1, 101 if handler == "typical" else 2):
                runtime.invoke(wire)
                runtime.drain()
                if number in (1, 100):
                    name = "run" if number == 100 else "answer"
                    bench.add(f"quota_{share}_{handler}_{name}", row, _ms(time.perf_counter_ns() - runtime.started))

    return turn


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to measure. A turn is one process's life; `cost` is its seconds, for the progress bar."""

    turn: Callable[[Bench, str], None]
    rows: tuple[str, ...]
    quick: int
    full: int
    cost: float
    what: str


_MAIN = ("samovar", "awslambdaric", "urllib3")
PARTS = {
    "cold": Part(cold, (*_RUNTIMES, "raw", "bare", "bare-S"), 15, 150, 0.06, "cold start, no imports"),
    "typical": Part(cold_typical, _RUNTIMES, 8, 60, 0.1, "cold start, typical handler"),
    "heavy": Part(cold_heavy, _RUNTIMES, 2, 15, 0.5, "cold start, boto3 client"),
    "1k": Part(warm_1k, (*_RUNTIMES, "raw"), 1, 12, 0.7, "warm, 1 KB"),
    "log": Part(warm_typical, _RUNTIMES, 2, 12, 0.3, "warm, typical handler"),
    "100k": Part(warm_100k, (*_RUNTIMES, "raw"), 1, 12, 0.3, "warm, 100 KB"),
    "1m": Part(warm_1m, (*_RUNTIMES, "raw"), 1, 12, 0.3, "warm, 1 MB"),
    "5m": Part(warm_5m, (*_RUNTIMES, "raw"), 1, 12, 0.6, "warm, 5 MB"),
    "5m-upload": Part(warm_5m_upload, (*_RUNTIMES, "raw"), 2, 15, 0.3, "warm, 5 MB upload"),
    "heap": Part(heap, _MAIN, 1, 8, 0.6, "heavy heap"),
    "0.28": Part(small("28", "echo"), _MAIN, 3, 20, 0.2, "0.28 of a core, no imports"),
    "0.28-typical": Part(small("28", "typical"), _MAIN, 2, 10, 0.4, "0.28 of a core, typical handler"),
    "0.07": Part(small("07", "echo"), _MAIN, 2, 20, 0.5, "0.07 of a core, no imports"),
    "0.07-typical": Part(small("07", "typical"), _MAIN, 1, 10, 1.5, "0.07 of a core, typical handler"),
}


def measure(bench: Bench, rounds: Mapping[str, int], progress: report.Progress, notes: list[str]) -> None:
    """Run the parts, each for its number of rounds. A round visits every row, each time starting with another one."""
    bench.pin()
    gc.collect()
    gc.disable()  # the benchmark's own collections must not be measured
    for name, count in rounds.items():
        part = PARTS[name]
        rows = [row for row in part.rows if row in bench.rows]
        for number in range(count if rows else 0):
            for row in (*rows[number % len(rows) :], *rows[: number % len(rows)]):
                try:
                    part.turn(bench, row)
                except quota.NoQuota as exc:
                    note = f"no figures for small CPU shares: {exc}"
                    if note not in notes:
                        notes.append(note)
                progress.step(part.cost, part.what)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, write the figures and return 0, even if targets are missed: figures are not a test."""
    parser = output.arguments("bench.runtime", __doc__)
    parser.add_argument("--only", help=f"run only these parts, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--rows", help=f"run only these rows, separated by commas: {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, help="the number of rounds of each part")
    parser.add_argument("--out", type=Path, help="the folder for the figures (default: below build/bench)")
    parser.add_argument("--min", action="store_true", help="show the fastest of each instead of the median")
    options = parser.parse_args(arguments)
    parts = _chosen(parser, "--only", options.only, PARTS)
    rows = _chosen(parser, "--rows", options.rows, ROWS)
    kind = "partial" if options.only or options.rows else "quick" if options.quick else "full"
    folder = options.out or (output.RUNS / "partial" if kind == "partial" else output.folder(options.quick))

    print("bench: preparing the interpreter in build/bench", file=sys.stderr)
    bench = Bench(stage(), rows)
    notes: list[str] = []
    rounds = {name: options.rounds or (PARTS[name].quick if options.quick else PARTS[name].full) for name in parts}
    turns = {name: count * len([row for row in PARTS[name].rows if row in rows]) for name, count in rounds.items()}
    progress = report.Progress(sum(PARTS[name].cost * count for name, count in turns.items()))
    began = time.monotonic()
    try:
        measure(bench, rounds, progress, notes)
    finally:
        progress.close()
        bench.launcher.close()

    results = {
        metric: {row: report.summary(values) for row, values in by_row.items()}
        for metric, by_row in bench.samples.items()
    }
    machine = report.machine()
    seconds = round(time.monotonic() - began)
    shown = (
        [replace(metric, statistic="min") for metric in METRICS if metric.statistic == "median"]
        if options.min
        else METRICS
    )
    print(printed(shown, results))
    print(report.filled(f"{report.about(machine)}; {kind} run of {seconds} s"))
    for note in notes:
        print(report.filled(f"note: {note}"))
    document = {
        "machine": machine,
        "versions": {"awslambdaric": metadata.version("awslambdaric")},
        "quick": options.quick,
        "seconds": seconds,
        "notes": notes,
        "rows": ROWS,
        "metrics": _described(results),
    }
    written = output.write("runtime", document, folder)
    page = written.with_suffix(".md")
    page.write_text(report.markdown(cells(results)) + "\n", encoding="utf-8")
    print(f"All rows: {output.shown(page)}\nAll figures: {output.shown(written)}")
    return 0


def _chosen(parser: argparse.ArgumentParser, option: str, value: str | None, known: Collection[str]) -> list[str]:
    names = value.split(",") if value else list(known)
    for name in names:
        if name not in known:
            parser.error(f"{option}: {name!r} is none of {', '.join(known)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
