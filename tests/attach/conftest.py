"""Runs each function once in each install."""

from __future__ import annotations

import pytest

from tests.attach.harness import Attached, Function, Recorded, execute, missing


@pytest.fixture(scope="session")
def attached() -> Attached:
    """What a function's process did in an install. Skips where `make attach` has not been run."""
    done: dict[tuple[int, str], tuple[Function, Recorded]] = {}

    def run(function: Function, install: str) -> Recorded:
        if names := missing(function):
            pytest.skip(f"run make attach: build/attach has no {', '.join(names)}")
        key = id(function), install
        if key not in done:
            done[key] = function, execute(function, install)  # the function is kept, or its id could be another's
        return done[key][1]

    return run
