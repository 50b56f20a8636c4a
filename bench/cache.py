"""The cache beside its peers, in one thread and one run: ns an operation, memory under churn, SIEVE against LRU.

The peers take turns within each round, so that other load on the machine affects all of them. A figure is the median of
the rounds, and a ratio the median of the rounds' ratios.
"""

from __future__ import annotations

import functools
import random
import statistics
import sys
import time
import tracemalloc
from bisect import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any

import cachebox
import cachetools
import cachetools.func

from bench import output, report
from samovar import cached
from samovar.caching import TTLCache

TTL = 3600.0  # s; nothing expires during a measurement
SIZE = 1000  # entries of a full cache
TARGETS = {"get, a hit": 0.25, "a cached call, a hit": 0.40, "set with eviction": 0.80}  # Samovar / cachetools
_REPEAT = 10  # calls in the body of a loop, so that the loop itself costs little


def main() -> int:
    """Measure, print and write the figures; return 0, even if targets are missed."""
    quick = output.arguments("bench.cache", __doc__).parse_args().quick
    operations = _operations(rounds=7 if quick else 25, number=2_000 if quick else 10_000)
    document = {
        "machine": report.machine(),
        "quick": quick,
        "operations": operations,
        "targets": {
            name: {"target": target, "met": operations[name]["samovar"]["ratio"] <= target}
            for name, target in TARGETS.items()
        },
        "churn": _churn(entries=100_000 if quick else 1_000_000),
        "hit_ratio": _hit_ratios(requests=50_000 if quick else 200_000),
    }
    print("The cache and its peers in one thread; ratios to cachetools", "", report.text(cells(document)), sep="\n")
    print("", report.filled(churn(document)), "", report.text(hit_ratios(document)), "", sep="\n")
    print(report.filled(report.about(report.machine())))
    print(f"All figures: {output.shown(output.write('cache', document, output.folder(quick)))}")
    return 0


# Operations


def _operations(rounds: int, number: int) -> dict[str, dict[str, dict[str, float]]]:
    table: dict[str, dict[str, dict[str, float]]] = {}
    for name, peers in (("get, a hit", _gets()), ("a cached call, a hit", _calls()), ("set with eviction", _sets())):
        runs: dict[str, list[float]] = {peer: [] for peer in peers}
        for run in peers.values():
            run(number)  # warm up: specialised bytecode, full caches
        for at in range(rounds):
            _progress(f"{name}: {at + 1} of {rounds}")
            for peer, run in peers.items():
                begin = time.process_time()
                run(number)
                runs[peer].append((time.process_time() - begin) / number * 1e9)
        table[name] = {
            peer: {
                "ns": round(statistics.median(figures), 1),
                "ratio": round(statistics.median(a / b for a, b in zip(figures, runs["cachetools"], strict=True)), 3),
            }
            for peer, figures in runs.items()
        }
    _progress("")
    return table


def _loop(statement: str, **names: Any) -> Callable[[int], None]:
    """Return a function of n that runs the statement n times without further calls, as timeit does."""
    body = "\n".join(f"        {statement}" for _ in range(_REPEAT))
    source = f"def loop(n, {', '.join(names)}):\n    for _ in range(n // {_REPEAT}):\n{body}\n"
    scope: dict[str, Any] = {}
    exec(source, scope)
    loop: Callable[..., None] = scope["loop"]
    return lambda n: loop(n, **names)


def _gets() -> dict[str, Callable[[int], None]]:
    ours = TTLCache(SIZE, TTL)
    tools: cachetools.TTLCache[str, int] = cachetools.TTLCache(SIZE, TTL)
    box: Any = cachebox.TTLCache(SIZE, TTL)
    powertools = _powertools()
    ours.set("key", 1)
    tools["key"] = box["key"] = 1
    return {
        "samovar": _loop("get('key')", get=ours.get),
        "cachetools": _loop("get('key')", get=tools.get),
        "cachebox": _loop("get('key')", get=box.get),
        "powertools": _loop("get('key')", get=powertools.get),
    }


def _calls() -> dict[str, Callable[[int], None]]:
    def double(x: int) -> int:
        return 2 * x

    return {
        "samovar": _loop("f(7)", f=cached(ttl=TTL)(double)),
        "cachetools": _loop("f(7)", f=cachetools.func.ttl_cache(SIZE, TTL)(double)),
        "cachebox": _loop("f(7)", f=cachebox.cached(cachebox.TTLCache(SIZE, TTL))(double)),
        "lru_cache (no ttl)": _loop("f(7)", f=functools.lru_cache(SIZE)(double)),
    }


def _sets() -> dict[str, Callable[[int], None]]:
    """Return loops that set new keys in full caches, so that each set evicts one entry."""

    def runner(put: Callable[[int, int], Any]) -> Callable[[int], None]:
        keys: Iterator[int] = iter(range(sys.maxsize))
        loop = _loop("put(next(keys), 1)", put=put, keys=keys)
        loop(2 * SIZE)
        return loop

    tools: cachetools.TTLCache[int, int] = cachetools.TTLCache(SIZE, TTL)
    box: Any = cachebox.TTLCache(SIZE, TTL)
    return {
        "samovar": runner(TTLCache(SIZE, TTL).set),
        "cachetools": runner(tools.__setitem__),
        "cachebox": runner(box.__setitem__),
    }


def _powertools() -> Any:
    """Return a parameter provider with its value cached: the cost of `get_parameter` when nothing is fetched."""
    from aws_lambda_powertools.utilities.parameters.base import BaseProvider

    class Provider(BaseProvider):
        def _get(self, name: str, **options: Any) -> str:
            return name

        def _get_multiple(self, path: str, **options: Any) -> dict[str, str]:
            return {}

    provider: Any = Provider()  # type: ignore[no-untyped-call]
    get = provider.get
    provider.get = functools.partial(get, max_age=int(TTL))
    provider.get("key")
    return provider


# Memory


def _churn(entries: int) -> dict[str, Any]:
    """Measure the peak memory while the first tenth of the entries passes through a cache of SIZE, and for the rest."""
    _progress(f"churn of {entries:,} entries")
    cache = TTLCache(SIZE, TTL)
    put, get = cache.set, cache.get
    peaks = []
    tracemalloc.start()
    for part in (range(entries // 10), range(entries // 10, entries)):
        tracemalloc.reset_peak()
        for i in part:
            put(i, i)
            get(i - 50)
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    _progress("")
    return {"entries": entries, "peak_bytes_first_tenth": peaks[0], "peak_bytes_rest": peaks[1], "size": len(cache)}


# Hit ratio


def _hit_ratios(requests: int, objects: int = 100_000) -> list[dict[str, float]]:
    """Compare SIEVE (the cache's) and LRU on the same traces of Zipf-distributed requests, by skew and cache size."""
    table = []
    for skew in (0.7, 0.9, 1.1):
        trace = _zipf(requests, objects, skew)
        for part in (0.001, 0.01, 0.1):
            _progress(f"hit ratio: Zipf {skew}, {part:.1%} of the objects fit")
            size = int(objects * part)
            sieve, lru = _sieve(trace, size), _lru(trace, size)
            table.append({"skew": skew, "size": part, "sieve": round(sieve, 4), "lru": round(lru, 4)})
    _progress("")
    return table


def _zipf(requests: int, objects: int, skew: float) -> list[int]:
    weights = list(accumulate(1 / rank**skew for rank in range(1, objects + 1)))
    rng = random.Random(20241122)
    return [bisect(weights, rng.random() * weights[-1]) for _ in range(requests)]


def _sieve(trace: list[int], size: int) -> float:
    cache = TTLCache(size)
    for key in trace:
        if cache.get(key) is None:
            cache.set(key, 1)
    return cache.stats().hits / len(trace)


def _lru(trace: list[int], size: int) -> float:
    held: OrderedDict[int, int] = OrderedDict()
    hits = 0
    for key in trace:
        if key in held:
            hits += 1
            held.move_to_end(key)
        else:
            if len(held) >= size:
                held.popitem(last=False)
            held[key] = 1
    return hits / len(trace)


# Output


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{what}")


def cells(document: Mapping[str, Any]) -> report.Cells:
    """Return the table of operations: a line for each peer."""
    lines = [["one operation", "ns", "ratio", "target"]]
    for name, peers in document["operations"].items():
        target = document["targets"][name]
        held = f"≤ {target['target']:.2f}: {'met' if target['met'] else 'MISSED'}"
        for peer, figures in peers.items():
            figure = f"{figures['ns']:,.0f}"
            lines.append([f"{name}: {peer}", figure, f"{figures['ratio']:.2f}", held if peer == "samovar" else ""])
    return lines


def churn(document: Mapping[str, Any]) -> str:
    """Say what the memory did while many entries passed through a small cache."""
    found = document["churn"]
    return (
        f"{found['entries']:,} entries through a cache of {found['size']:,}: at most "
        f"{found['peak_bytes_first_tenth']:,} bytes in the first tenth, {found['peak_bytes_rest']:,} in the rest."
    )


def hit_ratios(document: Mapping[str, Any]) -> report.Cells:
    """Return the table of hit ratios."""
    lines = [["hit ratio on Zipf traces", "fits", "SIEVE", "LRU"]]
    for row in document["hit_ratio"]:
        lines.append([f"skew {row['skew']}", f"{row['size']:.1%}", f"{row['sieve']:.1%}", f"{row['lru']:.1%}"])
    return lines


if __name__ == "__main__":
    sys.exit(main())
