"""`CompanionError` as users make and catch it."""

import copy
import pickle

import pytest

import samovar
from samovar.report import Report


@pytest.mark.parametrize(
    "error",
    [
        samovar.CompanionError("Ended", "it ended"),
        samovar.CompanionError("Error", "no such tea", error_type="ValueError"),
        samovar.CompanionError("Silent", "Failure 4 in a row", fatal=True),
    ],
)
def test_it_survives_pickle_and_copy(error: samovar.CompanionError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is samovar.CompanionError
        assert vars(again) == vars(error)
        assert str(again) == str(error)


def test_lambda_gets_the_kind_as_the_type() -> None:
    report = Report(samovar.CompanionError("Busy", "no worker"), "id")
    assert (report.error["errorType"], report.error["errorMessage"]) == ("Companion.Busy", "no worker")
    report = Report(samovar.CompanionError("Error", "no such tea", error_type="ValueError"), "id")
    assert (report.error["errorType"], report.error["errorMessage"]) == ("ValueError", "no such tea")
