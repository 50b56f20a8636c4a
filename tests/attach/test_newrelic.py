"""New Relic's layer is the handler that the function names. What it has to say goes to the log. The list
of loaded modules, with samovar instead of awslambdaric, is the one difference.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any

import pytest

from tests.attach.harness import AWS, INSTALLS, Attached, Function, Recorded
from tests.attach.plain import FOLDER, without

FUNCTION = Function(
    ("newrelic",),
    {
        # What the module of this name in the layer does.
        "newrelic_lambda_wrapper.py": """
            import os
            from importlib import import_module

            import newrelic.agent
            from newrelic_lambda.lambda_handler import lambda_handler

            newrelic.agent.initialize()
            module, _, name = os.environ["NEW_RELIC_LAMBDA_HANDLER"].rpartition(".")
            function = getattr(import_module(module), name)

            @lambda_handler()
            def handler(event, context):
                context.iopipe = "New Relic"
                return function(event, context)
        """,
        "app.py": """
            import newrelic.agent

            def handler(event, context):
                with newrelic.agent.FunctionTrace("inner"):
                    return context.iopipe, 1 / (event - 2)
        """,
    },
    (1, 2, 3),
    handler="newrelic_lambda_wrapper.handler",
    env={
        "NEW_RELIC_LAMBDA_HANDLER": "app.handler",
        "NEW_RELIC_ACCOUNT_ID": "1",
        "NEW_RELIC_TRUSTED_ACCOUNT_KEY": "1",
        "NEW_RELIC_SERVERLESS_MODE_ENABLED": "true",
    },
)


CHANCE = ("guid", "traceId", "transactionId", "spanId", "parentId", "priority", "timestamp", "duration", "totalTime")
CHANCE += ("nr.transactionGuid", "thread.concurrency")
FUNCTIONS_OWN = re.compile("OtherTransaction|Function|Errors")
RUNTIMES = re.compile(r'File "(?!/var/task/)')


def payloads(recorded: Recorded) -> list[Any]:
    """Return the telemetry of each event; of the metrics, those of the function."""
    lines = (line for line in recorded.output.splitlines() if line.startswith('[1,"NR_LAMBDA_MONITORING",'))
    return [_payload(base64.b64decode(json.loads(line)[2])) for line in lines]


def _payload(zipped: bytes) -> Any:
    data = json.loads(FOLDER.sub("/var/task", gzip.decompress(zipped).decode()))["data"]
    metrics = [metric["name"] for metric, _ in data["metric_data"][3]]
    errors = [error[1:] for error in data.get("error_data", [None, []])[1]]  # the first of each is the time
    for *_, error in errors:
        error["stack_trace"] = [line for line in error["stack_trace"] if not RUNTIMES.match(line)]
    events = [data.get(f"{kind}_event_data") for kind in ("analytic", "span", "error")]
    return without(CHANCE, [errors, events]), sorted(filter(FUNCTIONS_OWN.match, metrics))


@pytest.mark.parametrize("install", INSTALLS)
def test_newrelic_gets_the_same_transactions_and_errors(attached: Attached, install: str) -> None:
    expected, ours = (attached(FUNCTION, which) for which in (AWS, install))
    assert ours.posts == expected.posts
    assert payloads(ours) == payloads(expected)
    assert ["Errors/all" in metrics for _, metrics in payloads(expected)] == [False, True, False]
