"""The cost of a program as a companion, spawned anew for every event, and (Python) in process.

All environments run at once and take turns, each a real ./bootstrap with the benchmark's Runtime API. A figure is the
time that the function's caller waits, from sending the event to receiving the response.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from bench import output
from bench.launcher import Launcher
from bench.platform import Registering, event
from bench.report import Cells, Progress, machine, summary, target, whole

ROOT = output.CHECKOUT
BUILT = output.RUNS / "companion"
PATH = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
SIZES = {"1 KB": 1024, "1 MB": 1 << 20}
TURN = {"1 KB": 20, "1 MB": 2}  # events to an environment in its turn
ENVIRONMENT = {
    "PATH": PATH,
    "LAMBDA_TASK_ROOT": str(ROOT / "handlers"),
    "AWS_LAMBDA_FUNCTION_NAME": "bench",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
}
PYTHON = "python3 companion/hello.py"
GO = str(BUILT / "hello-go")
SPAWNED = {"_HANDLER": "spawn.handler", "PYTHONPATH": str(ROOT / "bench" / "handlers")}
ROWS: dict[str, Mapping[str, str]] = {
    "Python, in process": {"_HANDLER": "companion/hello.handler"},
    "Python, companion": {"_HANDLER": f"exec:{PYTHON}"},
    "Python, spawned anew": {**SPAWNED, "SPAWN": f"python3 {ROOT / 'handlers' / 'companion' / 'hello.py'}"},
    "Go, companion": {"_HANDLER": f"exec:{GO}"},
    "Go, spawned anew": {**SPAWNED, "SPAWN": GO},
}


def main() -> int:
    """Measure, print and write the figures; return 0, even if targets are missed."""
    quick = output.arguments("bench.companion", __doc__).parse_args().quick
    rounds = {"1 KB": 20, "1 MB": 8, "INIT": 5} if quick else {"1 KB": 100, "1 MB": 40, "INIT": 20}
    subprocess.run([ROOT / "handlers" / "companion" / "build.sh", BUILT], env={**os.environ, "PATH": PATH}, check=True)
    launcher = Launcher(ROOT)
    try:
        results = _measure(launcher, rounds)
    finally:
        launcher.close()
    small = {row: figures["1 KB"]["median"] for row, figures in results.items()}
    targets = [
        target(
            "a companion call, more than in process, at 1 KB, µs",
            (small["Python, companion"] - small["Python, in process"]) * 1000,
            at_most=80,
        ),
        target(
            "spawned anew / companion, Python, at 1 KB",
            small["Python, spawned anew"] / small["Python, companion"],
            at_least=20,
        ),
    ]
    document = {"machine": machine(), "quick": quick, "unit": "ms", "results": results, "targets": targets}
    print(whole(cells(document), document))
    print(f"All figures: {output.shown(output.write('companion', document, output.folder(quick)))}")
    return 0


def _measure(launcher: Launcher, rounds: Mapping[str, int]) -> dict[str, dict[str, dict[str, float]]]:
    taken: dict[str, dict[str, list[float]]] = {row: {part: [] for part in rounds} for row in ROWS}
    progress = Progress(sum(rounds.values()))
    for number in range(rounds["INIT"]):
        for row, env in ROWS.items():
            with _start(launcher, env) as runtime:
                taken[row]["INIT"].append((runtime.first_next() - runtime.started) / 1e6)
        progress.step(1, f"INIT {number + 1}")
    runtimes = {row: _start(launcher, env) for row, env in ROWS.items()}
    try:
        for runtime in runtimes.values():
            runtime.first_next()
        for part, size in SIZES.items():
            body = json.dumps({"name": "Ada", "text": ["Lambda ", 1.5, "x" * 50] * ((size - 30) // 68)}).encode()
            for number in range(rounds[part]):
                for row, runtime in runtimes.items():
                    runtime.invoke(event(body), keep=True)  # warm up
                    if json.loads(runtime.response())["event"] != json.loads(body):
                        raise ValueError(f"{row} returned {runtime.response()[:200]!r}")
                    for _ in range(TURN[part] if "SPAWN" not in ROWS[row] else 1):
                        taken[row][part].append(runtime.invoke(event(body)) / 1e6)
                        runtime.drain()
                progress.step(1, f"{part}: {number + 1}")
    finally:
        for runtime in runtimes.values():
            runtime.close()
        progress.close()
    return {row: {part: summary(values) for part, values in parts.items()} for row, parts in taken.items()}


def _start(launcher: Launcher, env: Mapping[str, str]) -> Registering:
    return Registering(launcher, [str(ROOT / "bootstrap")], {**ENVIRONMENT, **env})


def cells(document: Mapping[str, Any]) -> Cells:
    """Return the table: a line for each way to run the program."""
    head = ["ms", "INIT", *(f"{size} {part}" for size in SIZES for part in ("p50", "p99"))]
    lines = [head]
    for row, parts in document["results"].items():
        figures = [parts[size][part] for size in SIZES for part in ("median", "p99")]
        lines.append([row, f"{parts['INIT']['median']:.1f}", *(f"{each:.3f}" for each in figures)])
    return lines


if __name__ == "__main__":
    sys.exit(main())
