"""All contract cases of all tables, as pairs of outcomes to compare. Knows the tables; knows nothing of pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.contract import (
    cases_attach,
    cases_context,
    cases_errors,
    cases_events,
    cases_init,
    cases_logging,
    cases_process,
    cases_results,
    cases_snapshot,
    cases_wire,
)
from tests.contract.harness import Outcome, Run

MODULES = (
    cases_results,
    cases_events,
    cases_context,
    cases_errors,
    cases_logging,
    cases_init,
    cases_snapshot,
    cases_process,
    cases_wire,
    cases_attach,
)


class Contract(NamedTuple):
    """One comparison: which outcomes of which run."""

    id: str
    run: Run
    at: int | None
    """The outcome in a batch; None compares all of them."""
    differs: str | None
    urllib3: bool
    ours: Callable[[Any], object] | None


def contracts() -> Iterator[Contract]:
    """Every case of every table."""
    for module in MODULES:
        for batch in module.BATCHES:
            run = batch.run()
            for index, case in enumerate(batch.cases):
                yield Contract(case.id, run, index + 1, case.differs, True, case.ours)
        for solo in module.SOLOS:
            yield Contract(solo.id, solo.run, None, solo.differs, solo.urllib3, solo.ours)


CONTRACTS = list(contracts())


def pair(contract: Contract, theirs: list[Outcome], ours: list[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """The outcomes that this case compares. AssertionError when a runtime did not get that far in a batch."""
    if contract.at is None:
        return theirs, ours
    for name, found in (("awslambdaric", theirs), ("samovar", ours)):
        assert len(found) == len(contract.run.events) + 1, (
            f"{name} took {len(found) - 1} of {len(contract.run.events)} events; its last outcome: {found[-1].seen}"
        )
    return [theirs[contract.at]], [ours[contract.at]]
