"""Take the figures of the last full runs into bench/results, and write docs/benchmark.md and its chart from there.

`make bench-publish`. It also writes the three figures of the README. Nothing is measured. A section of bench/page.md.in
is left out while there are no figures for it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from typing import Any

from bench import cache, companion, concurrency, containers, lazy, output, report, runtime, streams, web

TEMPLATE = output.CHECKOUT / "bench" / "page.md.in"
PAGE = output.CHECKOUT / "docs" / "benchmark.md"
CHART = output.PUBLISHED / "runtime.svg"
README = output.CHECKOUT / "README.md"
MARK = "<!-- make bench-publish writes this table -->\n\n"
HEADLINES = {
    "next": "cold start of a handler without imports",
    "warm_1k": "warm invocation, an event of 1 KB",
    "rss_300": "memory after 300 invocations",
}

Document = Mapping[str, Any]


def main() -> int:
    """Write everything that is tracked, and say what changed."""
    argparse.ArgumentParser(prog="python -m bench.publish", description=__doc__).parse_args()
    for name in SECTIONS:
        if line := take(output.RUNS / f"{name}.json", output.PUBLISHED):
            print(line)
    found = documents(output.PUBLISHED)
    CHART.write_text(chart(found["runtime"]), encoding="utf-8")
    PAGE.write_text(page(found), encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8"), found["runtime"]), encoding="utf-8")
    print(f"written: {output.shown(PAGE)}, {output.shown(CHART)} and the figures of {output.shown(README)}")
    return 0


def take(run: Path, published: Path) -> str:
    """Copy a run's figures where they are newer than the published ones; return what to tell."""
    if not run.exists():
        return ""
    tracked = published / run.name
    document = json.loads(run.read_text(encoding="utf-8"))
    date = document["machine"]["date"]
    if tracked.exists() and date < (known := json.loads(tracked.read_text(encoding="utf-8"))["machine"]["date"]):
        return f"kept: {output.shown(tracked)} of {known}, which is newer than {output.shown(run)} of {date}"
    output.write(run.stem, document, published)
    return f"taken: {output.shown(run)} of {date}"


def documents(folder: Path) -> dict[str, Document]:
    """Read the figures in a folder, by benchmark."""
    paths = {name: folder / f"{name}.json" for name in SECTIONS}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def page(found: Mapping[str, Document]) -> str:
    """Fill the template, without the sections whose figures are missing."""
    values = {
        name: value
        for benchmark, section in SECTIONS.items()
        if benchmark in found
        for name, value in section(found[benchmark]).items()
    }
    head, *sections = TEMPLATE.read_text(encoding="utf-8").split("\n## ")
    kept = [part for part in sections if set(Template(part).get_identifiers()) <= set(values)]
    return Template("\n## ".join([head, *kept])).substitute(values)


def chart(document: Document) -> str:
    """Draw the chart of the runtime benchmark."""
    return runtime.chart(summaries(document), _about_runtime(document))


def readme(text: str, document: Document) -> str:
    """Return the README with its three figures from this document."""
    results = summaries(document)
    lines = [["median", "Samovar", "AWS's client", "ratio"]]
    for key, title in HEADLINES.items():
        metric = next(metric for metric in runtime.METRICS if metric.key == key)
        ours, theirs = (results[key][row]["median"] for row in (runtime.OURS, report.REFERENCE))
        lines.append([title, *(f"{value:.1f} {metric.unit}" for value in (ours, theirs)), f"{ours / theirs:.2f}"])
    before, mark, after = text.partition(MARK)
    return before + mark + report.markdown(lines) + "\n\n" + after.partition("\n\n")[2]


def summaries(document: Document) -> report.Summaries:
    """Return the figures of the runtime benchmark without what is said about them."""
    return {key: metric["rows"] for key, metric in document["metrics"].items()}


def _about_runtime(document: Document) -> str:
    return f"{report.about(document['machine'])}; full run of {document['seconds']} s"


def _runtime(document: Document) -> dict[str, str]:
    results = summaries(document)
    missed = runtime.missed(runtime.METRICS, results)
    return {
        "awslambdaric": document["versions"]["awslambdaric"],
        "runtime": report.markdown(runtime.cells(results)),
        "runtime_about": _about_runtime(document),
        "runtime_missed": "\n".join(f"- {target}" for target in missed) or "None.",
    }


def _containers(document: Document) -> dict[str, str]:
    rounds = next(iter(document["cold start, ms"].values()))[containers.SAMOVAR]["n"]
    return {
        "sizes": report.markdown(containers.size_cells(document["bytes"])),
        "containers": report.markdown(containers.start_cells(document["cold start, ms"])),
        "containers_about": f"{report.about(document['machine'])}; medians of {rounds} rounds",
    }


def _lazy(document: Document) -> dict[str, str]:
    rounds = document["ms"]["echo_next"]["eager"]["n"]
    return {
        "lazy": report.markdown(lazy.cells(document)),
        "lazy_about": f"{report.about(document['machine'])}; medians of {rounds} rounds",
    }


def _cache(document: Document) -> dict[str, str]:
    return {
        "cache": report.markdown(cache.cells(document)),
        "churn": cache.churn(document),
        "hit_ratios": report.markdown(cache.hit_ratios(document)),
        "cache_about": report.about(document["machine"]),
    }


def _targets(name: str, cells: Callable[[Document], report.Cells]) -> Callable[[Document], dict[str, str]]:
    """Return the section of a benchmark whose document has its targets."""
    return lambda document: {
        name: report.markdown(cells(document)),
        f"{name}_targets": "\n".join(f"- {line}" for line in report.target_lines(document)),
        f"{name}_about": report.about(document["machine"]),
    }


SECTIONS: dict[str, Callable[[Document], dict[str, str]]] = {
    "runtime": _runtime,
    "containers": _containers,
    "lazy": _lazy,
    "cache": _cache,
    "companion": _targets("companion", companion.cells),
    "streams": _targets("streams", streams.cells),
    "web": _targets("web", web.cells),
    "concurrency": _targets("concurrency", concurrency.cells),
}


if __name__ == "__main__":
    sys.exit(main())
