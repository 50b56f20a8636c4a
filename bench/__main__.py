"""Everything that is measured, one after the other: what `make bench` runs. QUICK=1 or --quick for few rounds.

Each benchmark is a process of its own, so that none is measured in what another one left in memory.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

BENCHMARKS = ("bench.runtime", "bench.cache", "bench.companion")
LONG = ("bench.lazy",)  # needs a container engine and says so


def main() -> int:
    """Exit code: the first that is not 0."""
    quick = ["--quick"] if os.environ.get("QUICK") or "--quick" in sys.argv[1:] else []
    others = [argument for argument in sys.argv[1:] if argument != "--quick"]
    if others:
        print(
            f"python -m bench takes --quick only; for {' '.join(others)}: python -m bench.runtime --help",
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
