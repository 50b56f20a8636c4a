"""Logfire looks for LambdaRuntimeClient in every module, to send what it has before each post."""

from __future__ import annotations

import re

import pytest

from tests.attach.harness import AWS, INSTALLS, NEXT, Attached, Function, Recorded, Sent

FUNCTION = Function(
    ("logfire",),
    {
        "app.py": """
            import os

            import logfire

            logfire.configure(
                token="pylf_v1_us_" + "0" * 43,
                console=False,
                inspect_arguments=False,
                advanced=logfire.AdvancedOptions(base_url=os.environ["LOGFIRE"]),
            )

            def handler(event, context):
                with logfire.span("span of event {number}", number=event):
                    return 1 / (event - 2)
        """
    },
    (1, 2, 3),
    env={"LOGFIRE": "http://RECORDER"},
)


def steps(recorded: Recorded) -> list[str | bytes]:
    """The messages that Logfire sent, in protobuf, between the runtime's calls."""
    steps: list[str | bytes] = []
    for entry in recorded.journal:
        if isinstance(entry, Sent):
            if entry.call == "POST /v1/traces":
                steps += re.findall(rb"span of event \d|ZeroDivisionError: [a-z ]+", entry.body)
        else:
            steps.append(entry if isinstance(entry, str) else entry.call)
    return steps


@pytest.mark.parametrize("install", INSTALLS)
def test_logfire_sends_each_span_before_its_post(attached: Attached, install: str) -> None:
    expected = steps(attached(FUNCTION, AWS))
    assert steps(attached(FUNCTION, install)) == expected
    assert [step for step in expected if isinstance(step, str)][0::2] == [NEXT] * 4
    assert expected[1] == b"span of event 1"
