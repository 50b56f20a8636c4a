"""OpenTelemetry's layers come by an exec wrapper that names a handler of their own."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from tests.attach.harness import AWS, INSTALLS, PYTHON, SITES, Attached, Function, Recorded
from tests.attach.plain import FOLDER, without

# The scripts of the layers do this, with the layer's folder where the function's is here.
VARIABLES = """\
#!/bin/bash
set -ef -o pipefail
export PYTHONPATH="$LAMBDA_TASK_ROOT:$PYTHONPATH"
export PYTHONPATH="$LAMBDA_RUNTIME_DIR:$PYTHONPATH"
export OTEL_SERVICE_NAME="$AWS_LAMBDA_FUNCTION_NAME" OTEL_PROPAGATORS=baggage,xray,tracecontext
export OTEL_TRACES_EXPORTER=otlp_proto_http OTEL_METRICS_EXPORTER=none
export OTEL_LOGS_EXPORTER=none OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=aws-lambda
export ORIG_HANDLER="$_HANDLER"
export _HANDLER=otel_wrapper.lambda_handler
"""
INSTRUMENT = 'exec python3 "$LAMBDA_TASK_ROOT/bin/opentelemetry-instrument" "$@"\n'
LITE = 'exec "$@"\n'
AS_A_CHILD = """\
#!/usr/bin/env python3
from os import environ, system
import sys

environ["ORIG_HANDLER"] = environ["_HANDLER"]
environ["_HANDLER"] = "otel_wrapper.lambda_handler"
environ["OTEL_SERVICE_NAME"] = environ["AWS_LAMBDA_FUNCTION_NAME"]
environ["OTEL_PROPAGATORS"] = "baggage,xray,tracecontext"
system(" ".join(sys.argv[1:]))
"""
HANDLER = """\
import os
from importlib import import_module

from opentelemetry import trace
from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor

if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # no opentelemetry-instrument has run
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    trace.set_tracer_provider(TracerProvider())
    trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
AwsLambdaInstrumentor().instrument()
module, _, function = os.environ["ORIG_HANDLER"].rpartition(".")
lambda_handler = getattr(import_module(module.replace("/", ".")), function)
"""
APP = """\
from opentelemetry import trace

def handler(event, context):
    with trace.get_tracer("app").start_as_current_span("inner", attributes={"event": str(event)}):
        return 1 / (event - 2)
"""
FULL = Function(
    ("otel",),
    {"otel-instrument": VARIABLES + INSTRUMENT, "otel_wrapper.py": HANDLER, "app.py": APP},
    (1, 2, 3),
    wrapper="otel-instrument",
    env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://RECORDER"},
)
SHAPES = {
    "opentelemetry-instrument": FULL,
    "lite": replace(FULL, files={**FULL.files, "otel-instrument": VARIABLES + LITE}),
    "child": replace(FULL, files={**FULL.files, "otel-instrument": AS_A_CHILD}),
}
DECODE = """
import sys
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

print(MessageToJson(ExportTraceServiceRequest.FromString(sys.stdin.buffer.read()), indent=None))
"""
CHANCE = ("traceId", "spanId", "parentSpanId", "startTimeUnixNano", "endTimeUnixNano", "timeUnixNano")
INSTANCE = re.compile(r'(?<="service.instance.id", "value": {"stringValue": ")[0-9a-f-]+')


def spans(recorded: Recorded) -> list[Any]:
    """What was exported, each request in order, without what is chance."""
    assert {sent.call for sent in recorded.sent} == {"POST /v1/traces"}
    return [decoded(sent.body) for sent in recorded.sent]


def decoded(body: bytes) -> Any:
    text = FOLDER.sub("/var/task", json.dumps(document(body)))
    return without(CHANCE, json.loads(INSTANCE.sub("", text)))


def document(body: bytes) -> Any:
    """Return an export as JSON."""
    env = {"PYTHONPATH": str(SITES / "otel")}
    return json.loads(
        subprocess.run([PYTHON, "-c", DECODE], input=body, env=env, check=True, stdout=subprocess.PIPE).stdout
    )


@pytest.mark.parametrize("install", INSTALLS)
@pytest.mark.parametrize("shape", SHAPES)
def test_opentelemetry_exports_the_same_spans_before_each_response(
    attached: Attached, install: str, shape: str
) -> None:
    expected, ours = (attached(SHAPES[shape], which) for which in (AWS, install))
    assert [type(entry) for entry in ours.journal] == [type(entry) for entry in expected.journal]
    assert ours.posts == expected.posts
    assert spans(ours) == spans(expected) != []
