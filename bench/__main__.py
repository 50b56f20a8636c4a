"""Run all benchmarks, one after the other, as `make bench` does.

Each benchmark is a process of its own, so that none is affected by what another has left in memory.
"""

import subprocess
import sys

from bench import output

BENCHMARKS = (
    "bench.runtime",
    "bench.cache",
    "bench.companion",
    "bench.streams",
    "bench.web",
    "bench.concurrency",
)
LONG = ("bench.lazy",)  # needs a container engine and says so


def main() -> int:
    """Return the first exit code that is not 0, else 0."""
    quick = output.arguments("bench", __doc__).parse_args().quick
    failed = 0
    for name in BENCHMARKS if quick else BENCHMARKS + LONG:
        print(f"== {name}", flush=True)
        failed = failed or subprocess.run([sys.executable, "-m", name, *(["--quick"] if quick else [])]).returncode
    if not (quick or failed):
        print("== make bench-publish puts these figures into docs/benchmark.md and bench/results")
    return failed


if __name__ == "__main__":
    sys.exit(main())
