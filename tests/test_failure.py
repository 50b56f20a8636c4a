"""A failure is posted and logged, whatever the function has done to the interpreter, memory and descriptors."""

from __future__ import annotations

import sys

import pytest

from tests.contract.harness import OURS, Event, Run, execute, failed
from tests.contract.table import app

WRECK = "sys.path.clear(); sys.meta_path.clear(); sys.modules.clear()"


@pytest.mark.parametrize(
    ("wreck", "frames"),
    [
        ("sys.path[:] = ['/tmp/deps']", 1),
        ("sys.path = None", 1),
        ("sys.meta_path.clear()", 0),
        ("builtins.__import__ = None", 0),
        ("builtins.open = None", 1),
        ("import _io; _io.open_code = None", 0),
        (WRECK, 0),
    ],
)
def test_a_failure_is_posted_whatever_became_of_the_interpreter(wreck: str, frames: int) -> None:
    source = app(f"""
        import builtins, sys

        def handler(event, context):
            if event == "wreck":
                {wreck}
            elif event == "fail":
                raise ValueError("why")
            return event
    """)
    _, _, *failures, after = execute(
        Run(source, (Event(b'"wreck"'), Event(b'"fail"'), Event(b'"fail"'), Event(b'"after"'))), OURS
    )
    for outcome in failures:
        error = failed(outcome)
        assert (error["errorType"], error["errorMessage"]) == ("ValueError", "why")
        assert len(error["stackTrace"]) == frames
    assert after.value == "after"


def test_the_stack_has_its_source_without_the_standard_librarys_folder() -> None:
    """From Python 3.13 on, linecache imports tokenize when it reads."""
    source = app("""
        import sys

        def handler(event, context):
            sys.path[:] = ["/tmp/deps"]
            raise ValueError("why")
    """)
    _, outcome = execute(Run(source), OURS)
    assert 'raise ValueError("why")' in failed(outcome)["stackTrace"][0]


def test_a_failure_of_init_is_posted_whatever_became_of_the_interpreter() -> None:
    (outcome,) = execute(Run(app(f"import sys\n{WRECK}\nraise ValueError('why')\n")), OURS)
    error = failed(outcome)
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "why")
    assert outcome.exit == 1


def test_deferred_work_fails_in_a_wrecked_interpreter() -> None:
    source = app("""
        import sys, samovar

        def fail():
            raise ValueError("why")

        def handler(event, context):
            samovar.defer(fail)
            sys.path.clear()
            sys.meta_path.clear()
            return event
    """)
    _, first, second = execute(Run(source, (Event(b"1"), Event(b"2"))), OURS)
    assert (first.value, second.value) == (1, 2)
    assert f"[ERROR] ValueError: Deferred fail failed (RequestId: {Event().request_id}): why" in first.stdout.decode()


@pytest.mark.parametrize("piece", ["bytearray(100_000)", "bytearray(1000)", "[]"])
def test_no_memory_is_left_in_init(piece: str) -> None:
    source = app(f"""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (100 << 20, 100 << 20))
        held = []
        while True:
            held.append({piece})
    """)
    (outcome,) = execute(Run(source), OURS)
    assert failed(outcome)["errorType"] == "MemoryError"
    assert outcome.exit == 1


@pytest.mark.parametrize("piece", ["bytearray(100_000)", "bytearray(1000)", "[]"])
def test_no_memory_is_left_in_an_invocation(piece: str) -> None:
    source = app(f"""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (100 << 20, 100 << 20))
        held = []

        def handler(event, context):
            if event == "free":
                held.clear()
                return "freed"
            while True:
                held.append({piece})
    """)
    _, *failures, free = execute(Run(source, (*[Event(b'"hold"')] * 3, Event(b'"free"'))), OURS)
    assert [failed(outcome)["errorType"] for outcome in failures] == ["MemoryError"] * 3
    assert free.value == "freed"


def test_descriptors_are_used_up_again_and_again() -> None:
    source = app("""
        import resource, sys
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []

        def handler(event, context):
            for name in ("samovar.report", "linecache"):  # so that each report has to read a file
                sys.modules.pop(name, None)
            vars(sys.modules["samovar"]).pop("report", None)
            while True:
                held.append(open("/dev/null"))
    """)
    _, *failures = execute(Run(source, (Event(),) * 4), OURS)
    for outcome in failures:
        error = failed(outcome)
        assert error["errorType"] == "OSError"
        assert len(error["stackTrace"]) == 1


OWN = ["traceback", "types", "signal"]
if sys.version_info < (3, 15):  # which has imported linecache before the function's folder is on sys.path
    OWN.append("linecache")


@pytest.mark.parametrize("name", OWN)
def test_a_module_of_the_functions_own_is_not_the_runtimes(name: str) -> None:
    files = {
        "app.py": f"import {name}\n\ndef handler(event, context):\n    raise ValueError({name}.MINE)\n",
        f"{name}.py": "MINE = 'mine'\n",
    }
    _, *failures = execute(Run(files, (Event(), Event())), OURS)
    for outcome in failures:
        error = failed(outcome)
        assert (error["errorType"], error["errorMessage"]) == ("ValueError", "mine")
        assert '/app.py", line 4, in handler' in error["stackTrace"][0]
