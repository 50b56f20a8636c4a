"""An exception as error JSON, X-Ray cause and details of the log; tests/contract compares them with the official
client's.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from samovar import report
from samovar.errors import LARGEST, Fault
from samovar.report import Report


def raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:
        return caught


def test_a_fault_is_reported_as_it_says() -> None:
    report = Report(Fault("Companion.Error", "message", ["line"]), "id")
    assert report.error == {
        "errorMessage": "message",
        "errorType": "Companion.Error",
        "requestId": "id",
        "stackTrace": ["line"],
    }


def test_an_exception_is_reported_with_its_stack() -> None:
    told = Report(raised(ValueError("why")), "id")
    (frame,) = told.error.pop("stackTrace")
    assert frame == f'  File "{__file__}", line {raised.__code__.co_firstlineno + 2}, in raised\n    raise exc\n'
    assert told.error == {"errorMessage": "why", "errorType": "ValueError", "requestId": "id"}
    cause = json.loads(told.xray_header())
    assert cause["exceptions"] == [
        {
            "message": "why",
            "type": "ValueError",
            "stack": [{"label": "raised", "path": __file__, "line": raised.__code__.co_firstlineno + 2}],
        }
    ]
    assert cause["paths"] == [__file__]


def test_a_message_that_is_too_large_is_cut() -> None:
    told = Report(ValueError("x" * (LARGEST + 1)), "id")
    body = told.body()
    assert len(body) < LARGEST
    message = json.loads(body)["errorMessage"]
    assert message.startswith("x" * 100_000 + "… (")
    assert message.endswith(" bytes, cut to be reported)")


def test_an_xray_cause_that_is_too_large_is_left_out() -> None:
    told = Report(ValueError(""), "id")
    room = 1024 * 1024 - 1 - len(told.xray_header())
    assert len(Report(ValueError("x" * room), "id").xray_header()) == 1024 * 1024 - 1
    assert Report(ValueError("x" * (room + 1)), "id").xray_header() == b""


def test_details_are_notes_members_of_a_group_and_the_chain() -> None:
    cause, member = KeyError("cause"), TypeError("member")
    group = ExceptionGroup("group", [member])
    group.__cause__ = cause
    group.add_note("note")
    cause.__context__ = group  # a circle
    details = report.details(group)
    assert details == {
        "notes": ["note"],
        "exceptions": [{"errorType": "TypeError", "errorMessage": "member", "stackTrace": []}],
        "cause": {"errorType": "KeyError", "errorMessage": "'cause'", "stackTrace": []},
    }
    assert report.details(ValueError()) == {}


def test_an_exception_that_cannot_be_described_is() -> None:
    class Odd(Exception):
        __notes__: Any = [1]

        def __str__(self) -> str:
            raise RuntimeError

    assert report.text(Odd()) == "<Odd: its __str__ raised RuntimeError>"
    assert Report(Odd(), "id").error["errorMessage"] == report.text(Odd())
    assert report.details(Odd()) == {"notes": ["1"]}


def test_a_context_that_is_suppressed_is_no_detail() -> None:
    exc = ValueError()
    exc.__context__ = KeyError("context")
    assert report.details(exc)["context"]["errorType"] == "KeyError"
    exc.__suppress_context__ = True
    assert report.details(exc) == {}


def stack(levels: int) -> list[str]:
    def down(levels: int) -> None:
        if levels:
            down(levels - 1)
        raise ValueError

    try:
        down(levels)
    except ValueError as exc:
        trace: list[str] = Report(exc, "id").error["stackTrace"]
    return trace


@pytest.mark.parametrize(("levels", "more"), [(4, "1 more time"), (5, "2 more times"), (9, "6 more times")])
def test_a_line_that_repeats_is_shown_three_times(levels: int, more: str) -> None:
    trace = stack(levels)
    assert len(trace) == 1 + 3 + 1 + 1  # the test, the repeated line, how often more, and the raise
    assert trace[4] == f"  [Previous line repeated {more}]\n"
    assert len(stack(3)) == 1 + 3 + 1


@pytest.mark.parametrize(("limit", "lines"), [(0, 0), (1, 1), (2, 2)])
def test_a_stack_is_no_longer_than_tracebacklimit(monkeypatch: pytest.MonkeyPatch, limit: int, lines: int) -> None:
    monkeypatch.setattr(sys, "tracebacklimit", limit, raising=False)
    assert len(stack(3)) == lines
