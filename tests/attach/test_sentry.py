"""Sentry replaces handle_event_request and the posts of AWS's client."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.attach.harness import AWS, INSTALLS, Attached, Function, Recorded, Sent
from tests.contract.harness import Post

INIT = """
import importlib, os

import sentry_sdk
from sentry_sdk.integrations.aws_lambda import AwsLambdaIntegration

sentry_sdk.init(
    dsn="http://key@" + os.environ["SENTRY"] + "/1",
    integrations=[AwsLambdaIntegration()],
    traces_sample_rate=1.0,
)
"""
HANDLER = """
def handler(event, context):
    if "fail" in event:
        raise ValueError(event["fail"])
    return {"ok": event}
"""
EVENTS = ({"number": 1}, {"fail": "the second"}, {"number": 3})
ENV = {"SENTRY": "RECORDER"}

AT_INIT = Function(("sentry",), {"app.py": INIT + HANDLER}, EVENTS, env=ENV)
IN_AN_EVENT = Function(
    ("sentry",),
    {"app.py": HANDLER.replace("    if", "    import errors\n    if", 1), "errors.py": INIT},
    EVENTS,
    env=ENV,
)
COROUTINE = Function(("sentry",), {"app.py": INIT + HANDLER.replace("def", "async def")}, EVENTS, env=ENV)
# What the module of Sentry's layer does, which becomes the handler.
LAYER = Function(
    ("sentry",),
    {
        "init_serverless_sdk.py": INIT
        + """
def sentry_lambda_handler(event, context):
    module, _, name = os.environ["SENTRY_INITIAL_HANDLER"].rpartition(".")
    return getattr(importlib.import_module(module), name)(event, context)
""",
        "app.py": HANDLER,
    },
    EVENTS,
    "init_serverless_sdk.sentry_lambda_handler",
    env={**ENV, "SENTRY_INITIAL_HANDLER": "app.handler"},
)
INIT_FAILS = Function(("sentry",), {"app.py": INIT + "raise LookupError('no such table')"}, env=ENV)
NO_HANDLER = Function(("sentry",), {"app.py": INIT}, env=ENV)


RUNTIMES = re.compile(r"(^|/)(awslambdaric|samovar|importlib)/|^<frozen importlib|^bootstrap\.py$")


def seen(recorded: Recorded) -> list[Any]:
    """What was posted and what Sentry got, in order."""
    return [_documents(entry) if isinstance(entry, Sent) else entry for entry in recorded.journal]


def _documents(sent: Sent) -> list[dict[str, Any]]:
    """The errors and transactions of an envelope: what happened in which function, and where."""
    lines = [json.loads(line) for line in sent.body.split(b"\n") if line.startswith(b"{")]
    return [_document(line) for line in lines if "exception" in line or "transaction" in line]


def _document(document: dict[str, Any]) -> dict[str, Any]:
    function = dict(document.get("extra", {}).get("lambda", {}))
    for name in ("execution_duration_in_millis", "remaining_time_in_millis"):
        function.pop(name, None)
    return {
        "transaction": document.get("transaction"),
        "request": document.get("request"),
        "function": function,
        "trace": {name: document["contexts"]["trace"].get(name) for name in ("op", "origin", "status")},
        "exceptions": [_exception(value) for value in document.get("exception", {}).get("values", [])],
    }


def _exception(value: dict[str, Any]) -> dict[str, Any]:
    frames = [(frame["filename"], frame["function"], frame["lineno"]) for frame in value["stacktrace"]["frames"]]
    return {
        **{name: value[name] for name in ("type", "value", "mechanism")},
        "frames": [frame for frame in frames if not RUNTIMES.search(frame[0])],
    }


@pytest.mark.parametrize("install", INSTALLS)
@pytest.mark.parametrize(
    "function", [AT_INIT, IN_AN_EVENT, LAYER], ids=["init at INIT", "init in an event", "Sentry's layer"]
)
def test_sentry_gets_the_same_errors_and_transactions_before_each_post(
    attached: Attached, install: str, function: Function
) -> None:
    expected, ours = (attached(function, which) for which in (AWS, install))
    assert seen(ours) == seen(expected)
    assert any(document["exceptions"] for entry in expected.sent for document in _documents(entry))


@pytest.mark.parametrize("install", INSTALLS)
@pytest.mark.parametrize("function", [INIT_FAILS, NO_HANDLER], ids=["its own failure", "no handler"])
def test_sentry_gets_an_error_of_init(attached: Attached, install: str, function: Function) -> None:
    expected, ours = (attached(function, which) for which in (AWS, install))
    # Sentry sends it from a thread, before or after the post.
    assert ours.posts == expected.posts
    assert [_documents(sent) for sent in ours.sent] == [_documents(sent) for sent in expected.sent] != []
    assert ours.exit == expected.exit == 1


@pytest.mark.parametrize("install", INSTALLS)
def test_sentry_gets_errors_and_transactions_of_a_coroutine_function(attached: Attached, install: str) -> None:
    function, coroutine = ([*seen(attached(each, install))] for each in (AT_INIT, COROUTINE))
    assert [_without_frames(step) for step in coroutine] == [_without_frames(step) for step in function]


def _without_frames(step: Any) -> Any:
    if isinstance(step, Post):
        return step.call
    if isinstance(step, list):
        for exception in (exception for document in step for exception in document["exceptions"]):
            del exception["frames"]
    return step
