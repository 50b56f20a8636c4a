"""Web applications in an environment under the real RIE."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samovar.local.rie import RIE
from tests.conftest import ROOT
from tests.handler import events

FUNCTIONS = Path(__file__).parent / "functions"
HANDLERS = ROOT / "handlers"
Start = Callable[..., RIE]


@pytest.fixture
def start(environment: Start) -> Start:
    def start(handler: str, **options: Any) -> RIE:
        return environment(handler, task_root=FUNCTIONS, **options)

    return start


def test_an_asgi_application_starts_once_and_shuts_down_at_sigterm(start: Start) -> None:
    rie = start("asgi:web:app,web.jobs")
    for event in (events.function_url(), events.rest_api(), events.alb()):
        answer = rie.invoke(event).json()
        root = "/live" if "resource" in event else ""
        assert (answer["statusCode"], answer["body"]) == (200, f"{root}/orders/café au Grüße")
    assert rie.invoke({"Records": []}).json() == {"job": {"Records": []}}
    pid = rie.pid
    assert pid is not None
    ended = os.pidfd_open(pid)
    os.kill(pid, signal.SIGTERM)
    wait_for(ended)
    lines = rie.log().lines
    assert [line for line in lines if line in ("start-up", "after the response", "shutdown")] == [
        "start-up",
        *["after the response"] * 3,
        "shutdown",
    ]


@pytest.mark.parametrize("handler", ["asgi:web:app", "wsgi:web:shop"])
def test_a_streamed_answer_is_a_prelude_and_the_body(start: Start, handler: str) -> None:
    rie = start(handler, env={"SAMOVAR_RESPONSE_MODE": "stream"})
    for _ in range(2):
        head, end, body = rie.invoke(events.function_url()).body.partition(bytes(8))
        assert (end, body.decode()) == (bytes(8), "/orders/café au Grüße")
        assert json.loads(head)["statusCode"] == 200
    assert rie.invoke(events.alb()).json()["body"] == "/orders/café au Grüße"
    assert rie.log().lines.count("after the response") == (3 if handler.startswith("asgi") else 0)


def wait_for(descriptor: int) -> None:
    import select

    select.select([descriptor], [], [])
    os.close(descriptor)


def test_a_start_up_that_fails_is_told_to_the_caller_as_a_failed_init(start: Start) -> None:
    rie = start("asgi:web:app", env={"NO_START": "no database"})
    answer = rie.invoke(events.function_url())
    assert answer.status == 502
    assert answer.error.error_type == "Runtime.StartupFailed"
    assert answer.error.error_message == "The application's start-up failed: no database"


def test_a_wsgi_application_answers(start: Start) -> None:
    rie = start("wsgi:web:shop")
    assert rie.invoke(events.http_api()).json()["body"] == "/orders/café au Grüße"
    assert rie.invoke({"Records": []}).error.error_type == "Runtime.NotHttp"
    assert rie.invoke(events.lattice_v1()).json()["body"] == "/orders/café au Grüße"


def test_the_examples_answer(environment: Start) -> None:
    event = json.loads((HANDLERS / "events" / "function_url.json").read_text())
    rie = environment("wsgi:shop_wsgi:app,shop_wsgi.restock")
    assert [json.loads(rie.invoke(event).json()["body"])["left"] for _ in range(2)] == [2, 1]
    assert rie.invoke({"source": "aws.events"}).json() == {"samovar": 3}
    if sys.version_info >= (3, 15):
        return  # no FastAPI yet
    rie = environment("asgi:web_app:app")
    answer = rie.invoke(event).json()
    assert (answer["statusCode"], json.loads(answer["body"])) == (201, {"item": "samovar", "count": 2})
    assert rie.invoke({**event, "body": "{}"}).json()["statusCode"] == 422
    assert [line for line in rie.log().lines if "mail" in line] == ["mail: 2 × samovar"]
