"""CodeGuru's profiler comes by an exec wrapper, and finds the handler with _get_handler of AWS's client."""

from __future__ import annotations

import json

import pytest

from tests.attach.harness import AWS, INSTALLS, Attached, Function, Recorded

FUNCTION = Function(
    ("codeguru",),
    {
        # What the script of the same name in CodeGuru's layer does.
        "codeguru_profiler_lambda_exec": """\
            #!/bin/sh
            export HANDLER_ENV_NAME_FOR_CODEGURU="$_HANDLER"
            export _HANDLER=codeguru_profiler_agent.aws_lambda.lambda_handler.call_handler
            exec "$@"
        """,
        "app.py": """
            import time

            from codeguru_profiler_agent.aws_lambda import profiler_decorator

            def handler(event, context):
                while not profiler_decorator._profiler._profiler_runner.is_profiling_in_progress:
                    time.sleep(0.01)  # its thread has not asked for its configuration yet
                return {"from the handler": event}
        """,
    },
    (1, 2),
    wrapper="codeguru_profiler_lambda_exec",
    env={"AWS_CODEGURU_PROFILER_GROUP_NAME": "group", "AWS_ENDPOINT_URL": "http://RECORDER"},
)


def calls(recorded: Recorded) -> list[tuple[str, object]]:
    """The calls of the CodeGuru API, without what is chance."""
    result = []
    for sent in recorded.sent:
        body = json.loads(sent.body)
        for name in ("AgentId", "LambdaRemainingTimeInMilliseconds"):
            body["metadata"].pop(name)
        result.append((sent.call, body))
    return result


@pytest.mark.parametrize("install", INSTALLS)
def test_codeguru_calls_the_handler_and_its_service(attached: Attached, install: str) -> None:
    expected, ours = (attached(FUNCTION, which) for which in (AWS, install))
    assert ours.posts == expected.posts
    assert calls(ours) == calls(expected) != []
