"""What the platform's variables say of concurrency, and how many processors there are."""

from __future__ import annotations

import os

_COUNT = "AWS_LAMBDA_MAX_CONCURRENCY"
_MODE = "AWS_LAMBDA_CONCURRENCY_MODE"
_MODES = ("process", "thread", "hybrid")
_QUOTA = "/sys/fs/cgroup/cpu.max"  # of cgroup 2: processor time and the period that it is for, in us; or "max"


def read() -> tuple[int, str]:
    """Return how many invocations may be in flight, and the mode. Raises ValueError, which names the variable."""
    value = os.environ.get(_COUNT, "")
    try:
        count = int(value)
    except ValueError:
        count = 0
    if count < 1:
        raise ValueError(f"{_COUNT}={value!r}: want the number of invocations at the same time, 1 or more")
    mode = os.environ.get(_MODE, "") or "process"
    if mode not in _MODES:
        raise ValueError(f"{_MODE}={mode!r}: want process, thread or hybrid; without it, process")
    return count, mode


def processors() -> int:
    """Return how many processors the environment has: its share of them, or else those that it may use."""
    usable = len(os.sched_getaffinity(0))
    try:
        with open(_QUOTA) as file:
            quota, _, period = file.read().partition(" ")
        share = int(quota) / int(period)
    except (OSError, ValueError):
        return usable
    return max(1, min(usable, round(share)))
