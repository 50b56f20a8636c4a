"""Runs the process pairs of all selected cases in the background, a few at a time, and hands each case its outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.contract.harness import Outcome, Outcomes, Run, execute

_WORKERS = 4  # processes of a pair wait for each other and for disks: a few more than the two cores


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """The outcomes of a run in a runtime; each pair is executed once in a session, on demand or ahead of it."""
    futures: dict[tuple[int, str], Future[list[Outcome]]] = {}
    kept: list[Run] = []  # or its id would become another one's
    with ThreadPoolExecutor(_WORKERS) as pool:

        def start(run: Run, runtime: str) -> Future[list[Outcome]]:
            key = id(run), runtime
            if key not in futures:
                kept.append(run)
                futures[key] = pool.submit(execute, run, runtime)
            return futures[key]

        for item in request.session.items:
            params = getattr(getattr(item, "callspec", None), "params", {})
            run, runtime = params.get("run"), params.get("runtime")
            if isinstance(run, Run) and isinstance(runtime, str):
                start(run, run.oracle)
                start(run, runtime)
        yield lambda run, runtime: start(run, runtime).result()
        pool.shutdown(cancel_futures=True)
