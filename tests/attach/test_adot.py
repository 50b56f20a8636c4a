"""AWS's distribution of OpenTelemetry (ADOT) comes by an exec wrapper, full or lite, and sends to X-Ray's daemon."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any

import pytest

from tests.attach.harness import AWS, INSTALLS, Attached, Function, Recorded
from tests.attach.test_opentelemetry import decoded
from tests.attach.test_xray import traced

# What the layer's script does, with the layer's folder where the function's is here, and a daemon's socket that the
# function inherits.
WRAPPER = """\
#!/bin/bash
set -ef -o pipefail
export PYTHONPATH="$LAMBDA_TASK_ROOT:$PYTHONPATH"
export PYTHONPATH="$LAMBDA_RUNTIME_DIR:$PYTHONPATH"
export OTEL_SERVICE_NAME="$AWS_LAMBDA_FUNCTION_NAME" OTEL_PROPAGATORS=baggage,xray,tracecontext
export OTEL_AWS_APPLICATION_SIGNALS_RUNTIME_ENABLED=false OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none
export OTEL_AWS_APPLICATION_SIGNALS_ENABLED=true
export OTEL_PYTHON_DISTRO=aws_distro OTEL_PYTHON_CONFIGURATOR=aws_configurator
export OTEL_RESOURCE_ATTRIBUTES="cloud.region=$AWS_REGION,cloud.platform=aws_lambda,faas.name=$AWS_LAMBDA_FUNCTION_NAME"
export OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=system_metrics,threading,aws-lambda
export ORIG_HANDLER="$_HANDLER"
export _HANDLER=otel_wrapper.lambda_handler
daemon="$LAMBDA_TASK_ROOT/daemon.py"
if [ "$AWS_LAMBDA_LITE_MODE" = true ]; then
    exec python3 "$daemon" "$@"
fi
exec python3 "$daemon" python3 "$LAMBDA_TASK_ROOT/bin/opentelemetry-instrument" "$@"
"""
DAEMON = """\
import os
import socket
import sys

daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
daemon.bind(("127.0.0.1", 0))
daemon.set_inheritable(True)
os.environ["DAEMON"] = str(daemon.fileno())
os.environ["AWS_XRAY_DAEMON_ADDRESS"] = "127.0.0.1:%d" % daemon.getsockname()[1]
os.execvp(sys.argv[1], sys.argv[1:])
"""
HANDLER = """\
import os
from importlib import import_module

from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor
from opentelemetry.propagate import get_global_textmap

if os.environ.get("AWS_LAMBDA_LITE_MODE") == "true":
    from amazon.opentelemetry.distro.opentelemetry_lite_sdk import configure_lite_mode

    configure_lite_mode()

def extract(event):
    return get_global_textmap().extract({"X-Amzn-Trace-Id": os.environ["_X_AMZN_TRACE_ID"]})

AwsLambdaInstrumentor().instrument(event_context_extractor=extract)
module, _, function = os.environ["ORIG_HANDLER"].rpartition(".")
lambda_handler = getattr(import_module(module.replace("/", ".")), function)
"""
# The last event returns what the daemon got.
APP = """\
import os
import socket

daemon = socket.socket(fileno=int(os.environ["DAEMON"]))
daemon.settimeout(0)

def got():
    try:
        while True:
            yield daemon.recv(65536).decode()
    except BlockingIOError:
        pass

def handler(event, context):
    return list(got()) if event == "spans" else 1 / (event - 2)
"""
FULL = Function(
    ("adot",),
    {"otel-instrument": WRAPPER, "daemon.py": DAEMON, "otel_wrapper.py": HANDLER, "app.py": APP},
    (traced(1, 1), traced(2, 2), traced(3, 3), traced("spans", 4)),
    wrapper="otel-instrument",
)
LITE = replace(FULL, env={"AWS_LAMBDA_LITE_MODE": "true"})
CODED = re.compile(r"\AT1[SU]")  # sampled or not


def spans(recorded: Recorded) -> list[Any]:
    """Return what the daemon got: a header and coded spans in each datagram."""
    body = recorded.posts[-1].body
    assert isinstance(body, list)
    return [decoded(base64.b64decode(CODED.sub("", datagram.splitlines()[1]))) for datagram in body]


@pytest.mark.parametrize("install", INSTALLS)
@pytest.mark.parametrize("function", [FULL, LITE], ids=["full", "lite"])
def test_adot_sends_the_same_spans(attached: Attached, install: str, function: Function) -> None:
    expected, ours = (attached(function, which) for which in (AWS, install))
    assert ours.posts[:-1] == expected.posts[:-1]
    assert spans(ours) == spans(expected)
    assert len(spans(expected)) == 3
