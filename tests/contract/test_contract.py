"""The drop-in contract: the same handler, environment and events in awslambdaric and in Samovar, on both transports."""

from __future__ import annotations

import pytest

from tests.contract.contracts import CONTRACTS, Contract, pair
from tests.contract.differences import DIFFERENCES
from tests.contract.harness import OURS, OURS_URLLIB3, Outcomes, Run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each case and transport."""
    if "contract" in metafunc.fixturenames:
        metafunc.parametrize(
            ("contract", "run", "runtime"),
            [
                pytest.param(contract, contract.run, runtime, id=f"{contract.id}-{name}")
                for name, runtime in (("wire", OURS), ("urllib3", OURS_URLLIB3))
                for contract in CONTRACTS
                if runtime == OURS or contract.urllib3
            ],
        )


def test_every_case_has_an_id_of_its_own() -> None:
    ids = [contract.id for contract in CONTRACTS]
    assert len(ids) == len(set(ids))


def test_same_as_the_official_client(outcomes: Outcomes, contract: Contract, run: Run, runtime: str) -> None:
    theirs, ours = pair(contract, outcomes(run, run.oracle), outcomes(run, runtime))
    seen_theirs, seen_ours = [outcome.seen for outcome in theirs], [outcome.seen for outcome in ours]
    if contract.differs is None:
        assert seen_ours == seen_theirs
        return
    if not DIFFERENCES[contract.differs].by_version:
        assert seen_ours != seen_theirs, f"no longer different: take {contract.differs!r} off this case"
    assert contract.ours is not None, "a difference must say what ours does instead"
    as_said = contract.ours(ours if contract.at is None else ours[0])
    assert as_said, f"ours did something else than {contract.differs!r} says: {seen_ours}"
