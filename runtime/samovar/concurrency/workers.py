"""Several processes that serve, and the one that supervises them."""

from __future__ import annotations

from typing import NoReturn

from samovar.concurrency import settings


def shares(count: int, mode: str) -> list[int]:
    """Return how many invocations at once each process serves: one in the mode `process`, else `count` spread over as
    many processes as there are processors.
    """
    if mode == "process":
        return [1] * count
    processes = min(count, settings.processors())
    return [count // processes + (number < count % processes) for number in range(processes)]


def run(name: str, address: str, shares: list[int]) -> NoReturn:
    """Run a process for each share, until all have ended."""
    raise NotImplementedError
