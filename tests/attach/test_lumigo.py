"""Lumigo's handler finds the function's own with _get_handler of AWS's client, and marks the context."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.attach.harness import AWS, INSTALLS, Attached, Function, Recorded

FUNCTION = Function(
    ("lumigo",),
    {
        # With its extension, Lumigo writes its spans to files. The last event reads them.
        "app.py": """
            from pathlib import Path

            def handler(event, context):
                if event == "spans":
                    files = sorted(Path("spans").iterdir(), key=lambda path: path.stat().st_mtime_ns)
                    return [path.read_text() for path in files]
                return 1 / (event - 2)
        """
    },
    (1, 2, "spans"),
    handler="lumigo_tracer.auto_instrument_handler._handler",
    env={
        "LUMIGO_ORIGINAL_HANDLER": "app.handler",
        "LUMIGO_TRACER_TOKEN": "t_0123456789abcdef01234",
        "LUMIGO_USE_TRACER_EXTENSION": "true",
        "LUMIGO_EXTENSION_SPANS_DIR_KEY": "spans",
    },
)


CHANCE = ("ended", "envs", "lambda_container_id", "maxFinishTime", "reporter_rtt", "sending_time", "started")


def spans(recorded: Recorded) -> list[dict[str, Any]]:
    """The spans of the events before the last, without what is chance."""
    files = recorded.posts[-1].body
    found = [span for text in files for span in json.loads(text)]
    return [{name: value for name, value in span.items() if name not in CHANCE} for span in found]


@pytest.mark.parametrize("install", INSTALLS)
def test_lumigo_traces_the_function(attached: Attached, install: str) -> None:
    expected, ours = (attached(FUNCTION, which) for which in (AWS, install))
    assert ours.posts[:-1] == expected.posts[:-1]
    assert spans(ours) == spans(expected)
    assert any("error" in span for span in spans(expected))
    assert "Could not import" not in ours.output  # Lumigo's warning that it uses a copy of _get_handler
