"""The tests of Mangum and apig-wsgi, from their source archives, over Samovar: shims/ has the modules that they import.

`make attach` brings them to build/suites.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.suites.differences import DIFFERENCES, PASS, SUITES, Expected

CHECKOUT = Path(__file__).resolve().parents[2]
ARCHIVES = CHECKOUT / "build" / "suites"


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_passes_but_for_the_differences_of_the_table(suite: str, tmp_path: Path) -> None:
    if not (ARCHIVES / ".done").exists():
        pytest.skip("run make attach: build/suites is not there")
    outcomes = run(suite, tmp_path / "outcomes.json")
    failed = {test: says for test, says in outcomes.items() if says}
    wanted, differ = expected(SUITES[suite], outcomes)
    assert differ == [], "these differences have no test in the suite"
    assert {test: failed.get(test, "passes") for test in wanted} == wanted
    assert failed.keys() - wanted.keys() == set(), {test: failed[test] for test in failed.keys() - wanted.keys()}
    assert len(outcomes) - len(failed) == PASS[suite]


def test_every_difference_has_a_test() -> None:
    used = {difference for expected in SUITES.values() for _, difference, _ in expected}
    assert used == DIFFERENCES.keys()


def run(suite: str, outcomes: Path) -> dict[str, str]:
    """Run a suite, and return how each test failed; an empty text for one that passed."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-p", "outcomes", "-p", "no:cacheprovider", "-q", "tests"],
        cwd=ARCHIVES / suite,
        env={
            "PATH": os.environ["PATH"],
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join(
                (str(Path(__file__).parent / "shims"), str(CHECKOUT / "build" / "attach" / "suites"))
            ),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OUTCOMES": str(outcomes),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcomes.exists(), done.stdout + done.stderr
    made: dict[str, str] = json.loads(outcomes.read_text())
    return made


def expected(table: Sequence[Expected], tests: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return how the tests of a table fail, and the entries that match none."""
    wanted: dict[str, str] = {}
    without = []
    for name, _, shows in table:
        first, star, last = name.partition("*")
        met = [test for test in tests if (test.startswith(first) and test.endswith(last) if star else test == name)]
        wanted.update(dict.fromkeys(met, shows))
        if not met:
            without.append(name)
    return wanted, without
