"""What an import costs a cold start: `python -m bench.imports` prints ARCHITECTURE.md's table.

Processor time of whole processes, less that of the bare interpreter. The rows take turns, so that what disturbs the
machine disturbs all of them. Each runs with `-S`, as the runtime does, and finds what is installed here.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import sysconfig

ROUNDS = 40
BARE = "pass"
IMPORTS = (
    BARE,
    "import __future__",
    "import _json, _socket",
    "import heapq",
    "import os",
    "import collections.abc",
    "import threading",
    "import queue",
    "import re",
    "import json",
    "import traceback",
    "import typing",
    "import logging",
    "import dataclasses",
    "import asyncio",
    "import orjson",
    "import http.client",
    "import urllib3",
    "import awslambdaric.bootstrap",
)


def main() -> int:
    """Print the table, the cheapest first."""
    argparse.ArgumentParser(prog="python -m bench.imports", description=__doc__).parse_args()
    environment = {"PYTHONPATH": sysconfig.get_path("purelib"), "PATH": os.defpath}
    taken: dict[str, list[float]] = {source: [] for source in IMPORTS}
    for _ in range(ROUNDS):
        for source, times in taken.items():
            pid = os.posix_spawn(sys.executable, [sys.executable, "-S", "-c", source], environment)
            _, status, usage = os.wait4(pid, 0)
            if status:
                print(f"bench.imports: `{source}` failed; `make setup` installs what is measured", file=sys.stderr)
                return 1
            times.append((usage.ru_utime + usage.ru_stime) * 1e3)
    medians = {source: statistics.median(times) for source, times in taken.items()}
    bare = medians.pop(BARE)
    print("| import | ms |\n|---|--:|")
    for source in sorted(medians, key=medians.__getitem__):
        print(f"| `{source.removeprefix('import ')}` | {medians[source] - bare:.1f} |")
    print(f"\n`python -S -c pass`: {bare:.1f} ms; Python {sys.version.partition(' ')[0]}, median of {ROUNDS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
