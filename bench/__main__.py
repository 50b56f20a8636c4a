"""Run all benchmarks, one after the other, as `make bench` does. QUICK=1 or --quick takes few rounds.

Each benchmark is a process of its own, so that none is affected by what another has left in memory.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

BENCHMARKS = ("bench.runtime", "bench.cache", "bench.companion")
LONG = ("bench.lazy",)  # needs a container engine and says so


def main() -> int:
    """Return the first exit code that is not 0, else 0."""
    quick = ["--quick"] if os.environ.get("QUICK") or "--quick" in sys.argv[1:] else []
    others = [argument for argument in sys.argv[1:] if argument != "--quick"]
    if others:
        print(
            f"python -m bench takes only --quick; for {' '.join(others)}, see python -m bench.runtime --help",
            file=sys.stderr,
        )
        return 2
    failed = 0
    for name in BENCHMARKS if quick else BENCHMARKS + LONG:
        if find_spec(name) is None:
            continue
        print(f"== {name}", flush=True)
        failed = failed or subprocess.run([sys.executable, "-m", name, *quick]).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
