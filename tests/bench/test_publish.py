"""What a run leaves behind, what `make bench-publish` makes of it, and how wide the printed tables are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import cache, companion, concurrency, containers, lazy, output, publish, report, runtime, streams, web
from bench.__main__ import BENCHMARKS, LONG
from tests.conftest import ROOT

PUBLISHED = publish.documents(output.PUBLISHED)


def test_the_page_and_the_chart_are_those_of_the_published_figures() -> None:
    command = "make bench-publish writes it"
    assert publish.PAGE.read_text(encoding="utf-8") == publish.page(PUBLISHED), command
    assert publish.CHART.read_text(encoding="utf-8") == publish.chart(PUBLISHED["runtime"]), command


def test_the_figures_of_the_readme_are_the_published_ones() -> None:
    text = publish.README.read_text(encoding="utf-8")
    assert publish.MARK in text
    assert text == publish.readme(text, PUBLISHED["runtime"]), "make bench-publish writes them"


def test_a_section_without_figures_is_left_out_and_the_others_stay() -> None:
    page = publish.page({name: document for name, document in PUBLISHED.items() if name != "containers"})
    assert "\n## In containers\n" in publish.page(PUBLISHED)
    assert "\n## In containers\n" not in page
    assert page.count("\n## ") == publish.page(PUBLISHED).count("\n## ") - 1


def test_the_published_figures_are_of_full_runs() -> None:
    assert [name for name, document in PUBLISHED.items() if document["quick"]] == []


def test_every_run_writes_below_build_and_a_quick_one_not_over_a_full_one() -> None:
    full, quick = output.folder(), output.folder(quick=True)
    assert full != quick
    assert full.is_relative_to(ROOT / "build" / "bench")
    assert quick.is_relative_to(ROOT / "build" / "bench")
    writers = [path for path in (ROOT / "bench").glob("*.py") if "output.PUBLISHED" in path.read_text(encoding="utf-8")]
    assert [path.name for path in writers] == ["publish.py"]


def test_every_benchmark_that_make_bench_runs_has_a_section_of_the_page() -> None:
    names = {name.removeprefix("bench.") for name in BENCHMARKS + LONG}
    assert names <= set(publish.SECTIONS)
    figures = dict.fromkeys(("median", "p99"), 1.0)
    document = {"machine": PUBLISHED["runtime"]["machine"], "targets": [report.target("rate", 0.5, at_least=0.75)]}
    streamed = document | {"results": {"first byte, µs": {"generator": figures}}}
    served = document | {"results": {"GET, µs": dict.fromkeys(web.ROWS, figures)}}
    page = publish.page({**PUBLISHED, "streams": streamed, "web": served})
    for heading in ("## Streams and async handlers", "## Web applications"):
        section = page.partition(heading)[2].partition("\n## ")[0]
        assert "- rate: 0.5, target ≥ 0.75: MISSED" in section


def test_publishing_takes_a_run_and_keeps_newer_figures(tmp_path: Path) -> None:
    tracked, run = tmp_path / "tracked", tmp_path / "run"
    output.write("cache", {"machine": {"date": "2026-11-20"}, "at": 1}, tracked)
    old = output.write("cache", {"machine": {"date": "2026-11-19"}, "at": 2}, run)
    assert publish.take(old, tracked).startswith("kept: ")
    assert json.loads((tracked / "cache.json").read_text())["at"] == 1
    new = output.write("cache", {"machine": {"date": "2026-11-21"}, "at": 3}, run)
    assert publish.take(new, tracked).startswith("taken: ")
    assert json.loads((tracked / "cache.json").read_text())["at"] == 3
    assert publish.take(run / "lazy.json", tracked) == ""


def _printed() -> dict[str, str]:
    """Return what each benchmark prints, from the published figures or from ones as wide as they get."""
    figures = dict.fromkeys(("median", "p99"), 1234.5678)
    operation = {"ns": 12345.0, "ratio": 12.345}
    peers = {"samovar": operation, "cachetools": operation, "lru_cache (no ttl)": operation}
    cached = {
        "operations": dict.fromkeys(cache.TARGETS, peers),
        "targets": {name: {"target": target, "met": False} for name, target in cache.TARGETS.items()},
        "churn": dict.fromkeys(("entries", "size", "peak_bytes_first_tenth", "peak_bytes_rest"), 1_000_000),
        "hit_ratio": [{"skew": 0.7, "size": 0.1, "sieve": 0.5, "lru": 0.5}],
    }
    parts = dict.fromkeys(("INIT", *companion.SIZES), figures)
    return {
        "runtime": runtime.printed(runtime.METRICS, publish.summaries(PUBLISHED["runtime"])),
        "machine": report.filled(report.about(PUBLISHED["runtime"]["machine"])),
        "containers": report.text(containers.start_cells(PUBLISHED["containers"]["cold start, ms"])),
        "sizes": report.text(containers.size_cells(PUBLISHED["containers"]["bytes"])),
        "lazy": report.text(lazy.cells(PUBLISHED["lazy"])),
        "lazy, title": report.filled(lazy.title(PUBLISHED["lazy"])),
        "cache": report.text(cache.cells(cached)),
        "churn": report.filled(cache.churn(cached)),
        "hit ratios": report.text(cache.hit_ratios(cached)),
        "streams": report.text(streams.cells({"results": {"200 MB: peak above idle, MB": {streams.RAW: figures}}})),
        "web": report.text(web.cells({"results": dict.fromkeys(web.WARM, dict.fromkeys(web.ROWS, figures))})),
        "concurrency": report.text(
            concurrency.cells(
                {
                    "results": {
                        part: {concurrency.OFFICIAL: figures, concurrency.FREE_THREADED: figures}
                        for part in (*concurrency.WAIT.values(), concurrency.MEMORY, concurrency.COMPUTE)
                    }
                }
            )
        ),
        "companion": report.text(companion.cells({"results": dict.fromkeys(companion.ROWS, parts)})),
    }


@pytest.mark.parametrize(("name", "printed"), _printed().items())
def test_what_a_benchmark_prints_fits_80_columns(name: str, printed: str) -> None:
    assert [line for line in printed.splitlines() if len(line) > 80] == []


def test_the_printed_table_has_the_ratio_to_awslambdaric_and_every_missed_target() -> None:
    results = publish.summaries(PUBLISHED["runtime"])
    printed = runtime.printed(runtime.METRICS, results)
    assert printed.splitlines()[0].split() == ["Samovar", "awslambdaric", "target"]
    assert printed.count("\nMISSED: ") == len(runtime.missed(runtime.METRICS, results))
