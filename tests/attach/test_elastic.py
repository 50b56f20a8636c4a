"""Elastic's agent comes by an exec wrapper in Python that names a handler of its own."""

from __future__ import annotations

import json
import re

import pytest

from tests.attach.harness import AWS, INSTALLS, Attached, Function, Recorded
from tests.attach.plain import without

FUNCTION = Function(
    ("elastic",),
    {
        # The layer has it as bin/elasticapm-lambda.
        "elasticapm-lambda": """\
            #!/bin/sh
            package="$LAMBDA_TASK_ROOT/elasticapm/contrib/serverless/aws_wrapper"
            PYTHONPATH="$package:$LAMBDA_TASK_ROOT" exec python3 "$package/elasticapm-lambda.py" "$@"
        """,
        "app.py": """
            import elasticapm

            def handler(event, context):
                with elasticapm.capture_span("inner"):
                    return 1 / (event - 2)
        """,
    },
    (1, 2, 3),
    wrapper="elasticapm-lambda",
    env={
        "ELASTIC_APM_LAMBDA_APM_SERVER": "http://RECORDER",
        "ELASTIC_APM_SERVER_URL": "http://RECORDER",
        "ELASTIC_APM_SECRET_TOKEN": "secret",
    },
)


ADDRESS = re.compile(r"(?<= at )0x\w+")
CHANCE = ("id", "trace_id", "transaction_id", "parent_id", "timestamp", "duration", "pid", "ppid")


def documents(recorded: Recorded) -> list[str]:
    """Return what Elastic's server got. A thread sends it, spans and errors in any order."""
    lines = {line for sent in recorded.sent for line in sent.body.decode().splitlines()}
    return sorted({json.dumps(without(CHANCE, json.loads(ADDRESS.sub("", line)))) for line in lines})


@pytest.mark.parametrize("install", INSTALLS)
def test_elastic_gets_the_same_spans_errors_and_transactions(attached: Attached, install: str) -> None:
    expected, ours = (attached(FUNCTION, which) for which in (AWS, install))
    assert ours.posts == expected.posts
    assert documents(ours) == documents(expected)
    assert any('"outcome": "failure"' in document for document in documents(expected))
