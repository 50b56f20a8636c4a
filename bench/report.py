"""Readable results: summaries, tables for a terminal and for a page, a chart, and a progress bar.

Knows nothing about how anything was measured.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from xml.sax.saxutils import escape

REFERENCE = "awslambdaric"
WIDTH = 80  # columns of a terminal


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the table.

    digits: decimals shown. statistic: which part of the summary is shown, and compared. target: at most this ratio to
    the reference; floor_target: and at most this ratio to the row `floor`.
    """

    key: str
    title: str
    unit: str
    digits: int
    target: float | None = None
    floor: str | None = None
    floor_target: float | None = None
    statistic: str = "median"


def summary(values: Sequence[float]) -> dict[str, float]:
    """Summarise the values: number, minimum, quartiles, median, 99th percentile, maximum, mean."""
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "min": ordered[0],
        "q1": percentile(ordered, 25),
        "median": statistics.median(ordered),
        "q3": percentile(ordered, 75),
        "p99": percentile(ordered, 99),
        "max": ordered[-1],
        "mean": statistics.fmean(ordered),
    }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of sorted values, interpolated between neighbours."""
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


Summaries = Mapping[str, Mapping[str, Mapping[str, float]]]  # metric, row, statistic


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, compared with what was measured."""

    metric: Metric
    ratio: float
    limit: float
    against: str

    @property
    def met(self) -> bool:
        return self.ratio <= self.limit

    def __str__(self) -> str:
        sign, word = ("≤", "met") if self.met else (">", "MISSED")
        return f"{self.ratio:.2f} {sign} {self.limit:.2f} × {self.against}: {word}"


def target(
    name: str, measured: float, at_most: float | None = None, at_least: float | None = None, digits: int = 1
) -> dict[str, Any]:
    """Return a target of a document and whether it is met. digits: of the figure that is kept."""
    met = measured <= at_most if at_most is not None else measured >= (at_least or 0)
    return {"name": name, "measured": round(measured, digits), "at_most": at_most, "at_least": at_least, "met": met}


def target_lines(document: Mapping[str, Any]) -> list[str]:
    """Return a line for each target of a document."""
    lines = []
    for each in document["targets"]:
        limit = f"≤ {each['at_most']}" if each["at_most"] is not None else f"≥ {each['at_least']}"
        word = "met" if each["met"] else "MISSED"
        lines.append(f"{each['name']}: {each['measured']}, target {limit}: {word}")
    return lines


def verdicts(metric: Metric, results: Summaries, row: str) -> list[Verdict]:
    """Return the verdicts on the metric's targets for one row, as far as their figures exist."""
    measured = results.get(metric.key, {})
    found = []
    for against, limit in ((REFERENCE, metric.target), (metric.floor or "", metric.floor_target)):
        if limit is not None and against in measured and row in measured:
            ratio = measured[row][metric.statistic] / measured[against][metric.statistic]
            found.append(Verdict(metric, ratio, limit, against))
    return found


Cells = list[list[str]]  # a table's lines, the head first


def compared(
    metrics: Sequence[Metric],
    rows: Mapping[str, str],
    results: Summaries,
    row: str,
    held: Callable[[Sequence[Verdict]], str],
) -> Cells:
    """Return a line for each metric: each row's figure, its ratio to the reference in brackets, and the verdict."""
    shown = [name for name in rows if any(name in results.get(metric.key, {}) for metric in metrics)]
    cells = [["", *(rows[name] for name in shown), "target"]]
    for metric in metrics:
        if measured := results.get(metric.key):
            figures = [_cell(metric, measured, name) for name in shown]
            cells.append([f"{metric.title}, {metric.unit}", *figures, held(verdicts(metric, results, row))])
    return cells


def text(cells: Cells) -> str:
    """Format a table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))])
        for first, *rest in cells
    ]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def markdown(cells: Cells) -> str:
    """Format a table for a page."""
    head, *lines = (f"| {' | '.join(line)} |" for line in cells)
    return "\n".join([head, "|---|" + "--:|" * (len(cells[0]) - 1), *lines])


def whole(cells: Cells, document: Mapping[str, Any]) -> str:
    """Format what a benchmark prints: its table, its targets, and the machine."""
    targets = [filled(line) for line in target_lines(document)]
    return "\n".join([text(cells), "", *targets, "", filled(about(document["machine"]))])


def filled(words: str) -> str:
    """Break a sentence into lines for a terminal."""
    return textwrap.fill(words, WIDTH)


def _cell(metric: Metric, measured: Mapping[str, Mapping[str, float]], name: str) -> str:
    if name not in measured:
        return ""
    value = measured[name][metric.statistic]
    text = f"{value:,.{metric.digits}f}"
    if name != REFERENCE and REFERENCE in measured:
        text += f" ({value / measured[REFERENCE][metric.statistic]:.2f})"
    return text


def svg(metrics: Sequence[Metric], rows: Mapping[str, str], results: Summaries, row: str, about: str) -> str:
    """Draw a bar chart: for each metric a bar a runtime, as a ratio to the reference, and a tick at the target."""
    colours = ("#c2410c", "#64748b", "#94a3b8", "#cbd5e1", "#e2e8f0")
    shown = [name for name in rows if any(name in results.get(metric.key, {}) for metric in metrics)]
    left, width, bar, gap, longest = 270, 880, 13, 14, 2.2
    scale = (width - left - 90) / longest
    bars: list[str] = []
    parts: list[str] = []
    y = 66
    for metric in metrics:
        measured = results.get(metric.key, {})
        present = [name for name in shown if name in measured]
        if REFERENCE not in present:
            continue
        middle = y + len(present) * bar / 2
        parts.append(f'<text x="{left - 12}" y="{middle + 4:.0f}" text-anchor="end">{escape(metric.title)}</text>')
        if metric.target is not None:
            x = left + metric.target * scale
            parts.append(f'<path d="M{x:.1f} {y - 3}V{y + len(present) * bar + 1}" class="target"/>')
        for place, name in enumerate(present):
            value = measured[name][metric.statistic]
            ratio = value / measured[REFERENCE][metric.statistic]
            length = min(ratio, longest) * scale
            top = y + place * bar
            colour = colours[shown.index(name) % len(colours)]
            bars.append(f'<rect x="{left}" y="{top}" width="{length:.1f}" height="{bar - 2}" fill="{colour}"/>')
            if ratio > longest:  # the bar is cut
                bars.append(f'<path d="M{left + length - 16:.1f} {top + bar}l8 {-bar - 2}" class="cut"/>')
            label = f"{value:,.{metric.digits}f} {metric.unit}" + (f" · {ratio:.2f}" if name != REFERENCE else "")
            parts.append(f'<text x="{left + length + 5:.1f}" y="{top + bar - 4}" class="figure">{escape(label)}</text>')
        y += len(present) * bar + gap
    legend = []
    x = left
    for place, name in enumerate(shown):
        legend.append(f'<rect x="{x}" y="36" width="11" height="11" fill="{colours[place % len(colours)]}"/>')
        legend.append(f'<text x="{x + 16}" y="46">{escape(rows[name])}</text>')
        x += 30 + 7 * len(rows[name])
    height = y + 24
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
            f"<title>Samovar beside {REFERENCE}: shorter is better</title>",
            "<style>text{font:12px system-ui,sans-serif;fill:#1e293b}.note{font-size:10px;fill:#64748b}",
            ".figure{font-size:10px;paint-order:stroke;stroke:#fff;stroke-width:3px}.cut{stroke:#fff;stroke-width:4}",
            ".target{stroke:#16a34a;stroke-width:2;fill:none}</style>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            f'<text x="{left}" y="22" font-weight="bold">Ratio to {REFERENCE}: shorter is better; green: target</text>',
            *legend,
            *bars,
            *parts,
            f'<text x="12" y="{height - 10}" class="note">{escape(about)}</text>',
            "</svg>",
            "",
        ]
    )


def machine() -> dict[str, Any]:
    """Describe the machine that the figures depend on."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def about(machine: Mapping[str, Any]) -> str:
    """Format the machine as one line."""
    return "{cpu}, {cores} cores, {memory_gb} GB, {kernel}, {python}; {date}".format(**machine)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


class Progress:
    """A bar on a terminal; elsewhere a line for each tenth. total: the work, in any unit."""

    def __init__(self, total: float, out: TextIO = sys.stderr) -> None:
        self._total = total
        self._out = out
        self._terminal = out.isatty()
        self._done = 0.0
        self._shown = -1
        self._start = time.monotonic()

    def step(self, work: float, what: str) -> None:
        """Add finished work. what: the name of that work."""
        self._done += work
        share = min(self._done / self._total, 1.0)
        seconds = time.monotonic() - self._start
        left = seconds / share - seconds if share else 0.0
        if self._terminal:
            width = min(shutil.get_terminal_size().columns, WIDTH)
            bar = "█" * round(share * 30) + "░" * (30 - round(share * 30))
            self._out.write(f"\r{bar} {share:4.0%} {what}, {left:.0f} s left"[:width].ljust(width - 1))
        elif int(share * 10) > self._shown:
            self._shown = int(share * 10)
            self._out.write(f"{share:4.0%} {what} ({seconds:.0f} s)\n")
        self._out.flush()

    def close(self) -> None:
        """Clear the line, for the table."""
        if self._terminal:
            self._out.write("\r" + " " * (min(shutil.get_terminal_size().columns, WIDTH) - 1) + "\r")
            self._out.flush()
