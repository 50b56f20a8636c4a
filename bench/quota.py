"""A share of a core, as Lambda gives it to a small function: a control group with a quota, v1 or v2.

Knows nothing of what runs in it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PERIOD = 20_000  # microseconds; the kernel's own 100 ms would round every time to a multiple of it


_V1 = {"cpu.cfs_period_us": "{period}", "cpu.cfs_quota_us": "{quota}"}
_V2 = {"cpu.max": "{quota} {period}"}


class NoQuota(Exception):
    """There is no way here to limit the processor; the text says why."""


@contextlib.contextmanager
def group(share: float) -> Iterator[Path]:
    """A control group that gets `share` of one core; what joins it by cgroup.procs shares that. Raises NoQuota."""
    made = _make(share)
    try:
        yield made
    finally:
        made.rmdir()


def _make(share: float) -> Path:
    quota = max(1000, round(PERIOD * share))  # the kernel takes no less than 1 ms
    reasons = []
    for controller, files in _places():
        folder = controller / f"samovar-bench-{os.getpid()}-{round(share * 100):02d}"
        try:
            folder.mkdir()
        except OSError as exc:
            reasons.append(f"{exc.strerror}: {folder}")
            continue
        try:
            for name, value in files.items():
                (folder / name).write_text(value.format(quota=quota, period=PERIOD))
        except OSError as exc:
            folder.rmdir()
            reasons.append(f"{exc.strerror}: {exc.filename}")
            continue
        return folder
    raise NoQuota(
        "no control group can be made (as root it can): " + "; ".join(reasons or ["no cpu controller is mounted"])
    )


def _places() -> Iterator[tuple[Path, dict[str, str]]]:
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, options = line.split(" ")[:4]
        if kind == "cgroup" and "cpu" in options.split(","):
            path = next((path for names, path in own.items() if "cpu" in names.split(",")), "/")
            yield _existing(mount, path), _V1
        elif kind == "cgroup2":
            yield _existing(mount, own.get("", "/")), _V2
            yield Path(mount), _V2


def _existing(mount: str, path: str) -> Path:
    inside = Path(mount) / path.lstrip("/")
    return inside if inside.is_dir() else Path(mount)
