"""Modules of the function that have the name of one of the interpreter's: the runtime does without those."""

from __future__ import annotations

import json
import re
from importlib.machinery import BuiltinImporter, FrozenImporter

import pytest

from tests.contract.harness import OURS, Event, Outcome, Run, execute

# Modules that the runtime imports when it needs them, or asks for types where they are imported.
INTERPRETERS = BuiltinImporter, FrozenImporter
LATE = (
    "asyncio",
    "contextvars",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "inspect",
    "json",
    "linecache",
    "logging",
    "mmap",
    "select",
    "shlex",
    "signal",
    "traceback",
    "types",
    "typing",
    "uuid",
    "zoneinfo",
)
SOURCE = """
    IMPORT

    class Odd:
        pass

    class Callback:
        def __await__(self):
            return iter(())

    def handler(event, context):
        if event == "fail":
            raise ValueError("é") from KeyError("k")
        if event == "odd":
            return [Odd()]
        if event == "log":
            context.log("logged\\n")
        return event
"""
EVENTS = (
    Event(b' \n{"a": 1} '),
    Event(b'\xef\xbb\xbf{"a": 1}'),
    Event(b"{"),
    Event(b'"fail"'),
    Event(b'"odd"'),
    Event(b'"log"'),
    Event(b'["%b", 18446744073709551617]' % (b"x" * 300_000)),
    Event(b'["%b", 0.1]' % (b"x" * 3_000_000)),
    Event(b"[%b1]" % (b'{"id":1.5,"name":"x"},' * 20_000)),
    Event(b'{"a": 1}'),
)


def _run(files: dict[str, str], statement: str) -> list[Outcome]:
    outcomes = execute(Run({"app.py": SOURCE.replace("IMPORT", statement), **files}, EVENTS), OURS)
    assert len(outcomes) == len(EVENTS) + 1, outcomes[-1].seen
    return outcomes


@pytest.fixture(scope="module")
def without() -> list[Outcome]:
    return _run({}, "pass")


# What is built into the interpreter (select, on Debian) or frozen (linecache, in 3.15) comes before the function's.
@pytest.mark.parametrize("name", [name for name in LATE if not any(f.find_spec(name) for f in INTERPRETERS)])
@pytest.mark.parametrize("imported", [False, True], ids=["beside-the-handler", "imported"])
def test_a_function_may_have_a_module_of_this_name(name: str, imported: bool, without: list[Outcome]) -> None:
    found = _run({f"{name}.py": "MINE = True\n"}, f"import {name}; assert {name}.MINE" if imported else "pass")
    assert [_bodies(outcome) for outcome in found] == [_bodies(outcome) for outcome in without]


def _bodies(outcome: Outcome) -> list[object]:
    """Return the calls and their bodies, without json's message and without lines of source, which linecache reads."""
    bodies = []
    for request in outcome.requests:
        body = json.loads(request.body)
        if isinstance(body, dict) and "errorMessage" in body:
            body["errorMessage"] = re.sub(r"(Unable to unmarshal input:).*", r"\1", body["errorMessage"])
            body["stackTrace"] = [
                re.sub(r'File "[^"]*/|\n.*', "", line, flags=re.DOTALL) for line in body["stackTrace"]
            ]
        bodies.append((request.call, body))
    return bodies


@pytest.mark.parametrize("name", ["json"])
def test_json_log_records_need_no_module_of_this_name(name: str) -> None:
    source = """
        import logging

        def handler(event, context):
            logging.error("é", extra={"plain": [1, None], "odd": object})
            logging.error("%s", "nan", extra={"number": float("nan")})
    """
    env = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}
    records = []
    for files in ({f"{name}.py": "MINE = True\n"}, {}):
        outcome = execute(Run({"app.py": source, **files}, env=env), OURS)[-1]
        lines = [json.loads(line) for line in outcome.stdout.decode().splitlines()]
        records.append([{**line, "timestamp": None} for line in lines])
    assert records[0] == records[1]
    assert [record["message"] for record in records[0]] == ["é", "nan"]
