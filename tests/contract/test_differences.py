"""The list of differences is true: each is used and real, and docs/compatibility.md has it."""

from __future__ import annotations

import json

import pytest

from tests.contract import page
from tests.contract.contracts import CONTRACTS, pair
from tests.contract.differences import DIFFERENCES
from tests.contract.harness import (
    OFFICIAL,
    OURS,
    OURS_URLLIB3,
    START_RECORD,
    UPDATE_WARNING,
    Event,
    Outcome,
    Outcomes,
    Run,
    execute,
)
from tests.contract.table import app

# Differences that no case shows, each with a test of its own below, named for it: the harness leaves them out of every
# comparison, and what the official client does in a forked child is chance.
OWN_TEST = {
    "call-frame",
    "compact-json",
    "error-type-header",
    "init-content-type",
    "init-frames",
    "start-record",
    "update-warning",
    "user-agent",
    "forked-child",
}

WORKS = Run(
    app("""
        def handler(event, context):
            if event == "fail":
                raise ValueError("é")
            return {"a": [1, "é"]}
    """),
    (Event(b"{}"), Event(b'"fail"')),
)
FAILS = Run(app("1 / 0\n"))
NOT_ENTERED = [Run(app(f"handler = {handler}\n")) for handler in ("lambda event: 1", "5")]

BOTH = pytest.mark.parametrize("runtime", [OURS, OURS_URLLIB3])


def _shown() -> set[str]:
    """The differences that a case or a test of this file shows."""
    return OWN_TEST | {contract.differs for contract in CONTRACTS if contract.differs}


def _rows(text: str) -> list[tuple[str, ...]]:
    """The cells of the page's tables of differences, row by row, without their heads."""
    section = text.partition(f"\n## {page.HEADING}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [tuple(line.removeprefix("| ").removesuffix(" |").split(" | ")) for line in lines]
    return [row for row in rows if row not in (("what differs", "why"), ("|---|---|",))]


def test_every_difference_is_shown_and_every_shown_one_is_listed() -> None:
    assert _shown() == set(DIFFERENCES)
    assert {f"test_{name.replace('-', '_')}" for name in OWN_TEST} <= set(globals())


@pytest.mark.parametrize("name", sorted(name for name, difference in DIFFERENCES.items() if difference.by_version))
def test_a_difference_by_version_is_real_in_this_one(outcomes: Outcomes, name: str) -> None:
    cases = [contract for contract in CONTRACTS if contract.differs == name]
    differing = 0
    for contract in cases:
        theirs, ours = pair(contract, outcomes(contract.run, OFFICIAL), outcomes(contract.run, OURS))
        differing += [outcome.seen for outcome in theirs] != [outcome.seen for outcome in ours]
    assert differing > 0


def test_the_page_has_these_rows_and_no_others() -> None:
    rows = _rows(page.PAGE.read_text(encoding="utf-8"))
    assert sorted(rows) == sorted((difference.title, difference.reason) for difference in DIFFERENCES.values())


def test_the_page_is_the_one_that_its_command_writes() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "make compatibility writes it"


def test_a_row_that_no_difference_has_is_seen() -> None:
    head = f"# T\n\n## {page.HEADING}\n\nWords.\n\n| what differs | why |\n|---|---|\n"
    assert _rows(f"{head}| Invented | `a` |\n\n## Next\n\n| x | y |\n") == [("Invented", "`a`")]


def _init(outcomes: list[Outcome]) -> Outcome:
    (outcome,) = outcomes
    return outcome


@BOTH
def test_compact_json(outcomes: Outcomes, runtime: str) -> None:
    assert outcomes(WORKS, OFFICIAL)[1].requests[0].body == b'{"a": [1, "\\u00e9"]}'
    assert outcomes(WORKS, runtime)[1].requests[0].body == '{"a":[1,"é"]}'.encode()


@BOTH
def test_error_type_header(outcomes: Outcomes, runtime: str) -> None:
    name = "Lambda-Runtime-Function-Error-Type"
    assert outcomes(WORKS, OFFICIAL)[2].requests[0].header(name) is None
    assert outcomes(WORKS, runtime)[2].requests[0].header(name) == "ValueError"
    assert _init(outcomes(FAILS, OFFICIAL)).requests[0].header(name) == "ZeroDivisionError"
    assert _init(outcomes(FAILS, runtime)).requests[0].header(name) == "ZeroDivisionError"


@BOTH
def test_init_content_type(outcomes: Outcomes, runtime: str) -> None:
    assert _init(outcomes(FAILS, OFFICIAL)).requests[0].header("Content-Type") is None
    assert _init(outcomes(FAILS, runtime)).requests[0].header("Content-Type") == "application/json"


@BOTH
def test_user_agent(outcomes: Outcomes, runtime: str) -> None:
    theirs, ours = (outcomes(WORKS, which)[1].requests[0].header("User-Agent") or "" for which in (OFFICIAL, runtime))
    assert theirs.startswith("aws-lambda-python/")
    assert ours.startswith("samovar/")


@BOTH
@pytest.mark.parametrize("log_format", ["Text", "JSON"])
@pytest.mark.parametrize(("level", "records"), [("DEBUG", 1), ("INFO", 0), ("", 0)])
def test_start_record(runtime: str, log_format: str, level: str, records: int) -> None:
    env = {"AWS_LAMBDA_LOG_FORMAT": log_format, "AWS_LAMBDA_LOG_LEVEL": level}
    run = Run(app("def handler(event, context):\n    pass\n"), (Event(b"1"), Event(b"2")), env=env)
    for which, count in ((OFFICIAL, 0), (runtime, records)):
        assert [len(START_RECORD.findall(outcome.stdout)) for outcome in execute(run, which)] == [count, 0, 0]


@BOTH
def test_update_warning(outcomes: Outcomes, runtime: str) -> None:
    assert UPDATE_WARNING in _init(outcomes(FAILS, OFFICIAL)).stdout
    assert UPDATE_WARNING not in _init(outcomes(FAILS, runtime)).stdout


@BOTH
def test_init_frames(outcomes: Outcomes, runtime: str) -> None:
    theirs, ours = (
        json.loads(_init(outcomes(FAILS, which)).requests[0].body)["stackTrace"] for which in (OFFICIAL, runtime)
    )
    assert "/importlib/__init__.py" in theirs[0]
    assert "/app.py" in theirs[-1]
    assert len(ours) == 1
    assert "/app.py" in ours[0]


@BOTH
@pytest.mark.parametrize("run", NOT_ENTERED)
def test_call_frame(outcomes: Outcomes, run: Run, runtime: str) -> None:
    theirs, ours = (json.loads(outcomes(run, which)[1].requests[0].body) for which in (OFFICIAL, runtime))
    assert "/awslambdaric/bootstrap.py" in theirs.pop("stackTrace")[-1]
    assert ours.pop("stackTrace") == []
    assert ours == theirs


@BOTH
@pytest.mark.parametrize("leaves", ["raise ValueError('in the child')", "return 'from the child'"])
def test_forked_child(runtime: str, leaves: str) -> None:
    source = app(f"""
        import os, signal, samovar

        def handler(event, context):
            samovar.on_shutdown(lambda: print("the parent ends"))
            samovar.defer(print, "after", event)
            if not (child := os.fork()):
                samovar.defer(print, "at once in the child")
                {leaves}
            ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if not (child := os.fork()):
                os.kill(os.getpid(), signal.SIGTERM)
            return [event, ended, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]
    """)
    _, *handled = execute(Run(source, (Event(b"1"), Event(b"2"))), runtime)
    assert [outcome.value for outcome in handled] == [[1, 1, -15], [2, 1, -15]]
    for number, outcome in enumerate(handled, 1):
        text = outcome.stdout.decode()
        assert text.splitlines()[0] == "at once in the child"
        assert text.count("after") == text.count(f"after {number}\n") == 1
        assert "the parent ends" not in text
        assert ("in the child" in text.replace("at once in the child", "")) is leaves.startswith("raise")
        assert b"a process that the function forked" in outcome.stderr


@BOTH
def test_no_header_but_the_known_ones(outcomes: Outcomes, runtime: str) -> None:
    known = {"host", "user-agent", "content-type", "content-length", "accept", "accept-encoding"}
    result, failure = (outcomes(WORKS, runtime)[index].requests[0] for index in (1, 2))
    assert {name.lower() for name, _ in result.headers} <= known
    added = {"lambda-runtime-function-error-type", "lambda-runtime-function-xray-error-cause"}
    assert added <= {name.lower() for name, _ in failure.headers} <= known | added
