"""X-Ray's SDK reads the trace header of each event from the environment, and sends segments to a daemon."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.attach.harness import AWS, INSTALLS, Attached, Event, Function, Recorded
from tests.attach.plain import without


def traced(body: object, number: int) -> Event:
    header = f"Root=1-5759e988-bd862e3fe1be46a99427279{number};Parent=53995c3f42cd8ad{number};Sampled=1"
    return Event(body, f"8476a536-e9f4-11e8-9739-{number:012}", headers=(("Lambda-Runtime-Trace-Id", header),))


FUNCTION = Function(
    ("xray",),
    {
        # The last event returns what the daemon got.
        "app.py": """
            import os
            import socket

            daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            daemon.bind(("127.0.0.1", 0))
            daemon.settimeout(0)
            os.environ["AWS_XRAY_DAEMON_ADDRESS"] = "127.0.0.1:%d" % daemon.getsockname()[1]

            from aws_xray_sdk.core import patch, xray_recorder
            from botocore.session import get_session

            patch(["botocore"])
            table = get_session().create_client("dynamodb", endpoint_url=os.environ["ENDPOINT"])

            def got():
                try:
                    while True:
                        yield daemon.recv(65536).decode()
                except BlockingIOError:
                    pass

            def handler(event, context):
                if event == "segments":
                    return list(got())
                with xray_recorder.in_subsegment("inner") as subsegment:
                    subsegment.put_annotation("event", event)
                    table.list_tables()
                    return 1 / (event - 2)
        """
    },
    (traced(1, 1), traced(2, 2), traced(3, 3), traced("segments", 4)),
    env={"ENDPOINT": "http://RECORDER"},
)
CHANCE = ("id", "start_time", "end_time")
PARENT = re.compile(r'(?<="parent_id": ")(?!53995c3f)\w+')  # one that is not of an event's header


def segments(recorded: Recorded) -> list[Any]:
    """Return what the daemon got: a header and a segment in each datagram."""
    body = recorded.posts[-1].body
    assert isinstance(body, list)
    return [without(CHANCE, json.loads(PARENT.sub("", datagram).splitlines()[1])) for datagram in body]


@pytest.mark.parametrize("install", INSTALLS)
def test_xray_gets_the_same_segments(attached: Attached, install: str) -> None:
    expected, ours = (attached(FUNCTION, which) for which in (AWS, install))
    assert ours.posts[:-1] == expected.posts[:-1]
    assert segments(ours) == segments(expected)
    assert [segment["name"] for segment in segments(expected)] == ["dynamodb", "inner"] * 3
    roots = [[sent.headers["X-Amzn-Trace-Id"].partition(";")[0] for sent in each.sent] for each in (ours, expected)]
    assert roots[0] == roots[1]
