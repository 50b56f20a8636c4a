"""Datadog's layer is the handler that the function names. Its wrapper gives the Runtime API another address.
The tag that names the entry point's folder is the one difference.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.attach.harness import AWS, INSTALLS, Attached, Function, Recorded
from tests.attach.plain import without

APP = """
    import os

    from datadog_lambda.metric import lambda_metric
    from ddtrace import tracer

    def handler(event, context):
        lambda_metric("orders", event, tags=["kind:test"])
        with tracer.trace("inner", resource=os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")[0]):
            return 1 / (event - 2)
"""
HANDLER = Function(
    ("datadog",),
    {"app.py": APP},
    (1, 2, 3),
    handler="datadog_lambda.handler.handler",
    env={
        "DD_LAMBDA_HANDLER": "app.handler",
        "DD_API_KEY": "key",
        "DD_FLUSH_TO_LOG": "true",
        "DD_COLD_START_TRACING": "false",
    },
)
WRAPPER = """\
#!/bin/bash
args=("$@")
# The layer's wrapper has the address of the extension's proxy here.
export AWS_LAMBDA_RUNTIME_API="localhost:${AWS_LAMBDA_RUNTIME_API##*:}"
exec "${args[@]}"
"""
WRAPPED = replace(HANDLER, files={"app.py": APP, "datadog_wrapper": WRAPPER}, wrapper="datadog_wrapper")
ENTRY_POINT = "_dd.tags.process"  # names the folder of the runtime's script: samovar instead of runtime
CHANCE = (
    "trace_id",
    "parent_id",
    "span_id",
    "start",
    "duration",
    "e",
    "runtime-id",
    "process_id",
    "_dd.p.tid",
    ENTRY_POINT,
)


def sent(recorded: Recorded) -> list[Any]:
    """Return the metrics and traces, which go to the log."""
    lines = (line for line in recorded.output.splitlines() if line.startswith(('{"m":', '{"traces":')))
    return [without(CHANCE, json.loads(line)) for line in lines]


@pytest.mark.parametrize("install", INSTALLS)
@pytest.mark.parametrize("function", [HANDLER, WRAPPED], ids=["handler", "wrapper"])
def test_datadog_gets_the_same_metrics_and_traces(attached: Attached, install: str, function: Function) -> None:
    expected, ours = (attached(function, which) for which in (AWS, install))
    assert ours.posts == expected.posts
    assert sent(ours) == sent(expected)
    assert ('"localhost"' in json.dumps(sent(expected))) == bool(function.wrapper)
