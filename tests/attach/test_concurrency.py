"""Packages that trace and log, where 16 invocations are in flight in one process: each sees its own, and no other."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.attach import test_sentry as sentry
from tests.attach.harness import LAYER, OS_ONLY, Attached, Function, Recorded, Sent
from tests.attach.test_opentelemetry import document
from tests.contract.harness import Event, Post

COUNT = 16
AT_ONCE = {"AWS_LAMBDA_MAX_CONCURRENCY": str(COUNT), "AWS_LAMBDA_CONCURRENCY_MODE": "thread"}
ASYNC = {"AWS_LAMBDA_CONCURRENCY_MODE": "process"}  # one process all the same, which is found out after INIT
# The first events wait until all of them are there; the last one until they have done what they do.
TOGETHER = f"""
import threading

together, ended = threading.Barrier({COUNT}), threading.Semaphore(0)

def wait_for_the_others():
    for _ in range({COUNT}):
        ended.acquire()

"""


def root(number: int) -> str:
    return f"1-{number + 1:08x}-bd862e3fe1be46a994272793"


def parent(number: int) -> str:
    return f"53995c3f42cd{number:04x}"


def traced(body: object, number: int) -> Event:
    header = f"Root={root(number)};Parent={parent(number)};Sampled=1"
    return Event(body, f"id-{number}", headers=(("Lambda-Runtime-Trace-Id", header),))


EVENTS = tuple(traced(number, number) for number in range(COUNT))

DAEMON = """\
import os
import socket

daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
daemon.bind(("127.0.0.1", 0))
daemon.settimeout(0)
os.environ["AWS_XRAY_DAEMON_ADDRESS"] = "127.0.0.1:%d" % daemon.getsockname()[1]

def got():
    try:
        while True:
            yield daemon.recv(65536).decode()
    except BlockingIOError:
        pass

"""
XRAY = Function(
    ("xray",),
    {
        "app.py": TOGETHER
        + DAEMON
        + """\
from concurrent.futures import ThreadPoolExecutor
from aws_xray_sdk.core import patch, xray_recorder
from botocore.session import get_session

pool = ThreadPoolExecutor(4)

patch(["botocore"])
table = get_session().create_client("dynamodb", endpoint_url=os.environ["ENDPOINT"])

def in_a_thread(event):
    with xray_recorder.in_subsegment("thread") as subsegment:
        subsegment.put_annotation("event", event)

def handler(event, context):
    if event == "segments":
        wait_for_the_others()
        return list(got())
    together.wait()
    with xray_recorder.in_subsegment("inner") as subsegment:
        subsegment.put_annotation("event", event)
        together.wait()
        table.list_tables()
        pool.submit(in_a_thread, event).result()
        together.wait()
    ended.release()
"""
    },
    (*EVENTS, traced("segments", COUNT)),
    env={"ENDPOINT": "http://RECORDER", **AT_ONCE},
)


def test_xray_gets_the_segments_of_each_invocation_with_its_own_trace_id(attached: Attached) -> None:
    recorded = attached(XRAY, OS_ONLY)
    segments = _segments(recorded)
    inner, thread, dynamodb = (
        [segment for segment in segments if segment["name"] == name] for name in ("inner", "thread", "dynamodb")
    )
    of = {segment["id"]: segment["annotations"]["event"] for segment in inner}
    assert sorted(of.values()) == list(range(COUNT))
    assert all(ids(segment) == (root(of[segment["id"]]), parent(of[segment["id"]])) for segment in inner)
    # A thread has no segment of its own: what it does belongs to the function's.
    assert sorted(segment["annotations"]["event"] for segment in thread) == list(range(COUNT))
    assert all(
        ids(segment) == (root(number), parent(number))
        for segment in thread
        for number in [segment["annotations"]["event"]]
    )
    assert sorted(of[segment["parent_id"]] for segment in dynamodb) == list(range(COUNT))
    assert all(segment["trace_id"] == root(of[segment["parent_id"]]) for segment in dynamodb)
    sent = [sent.headers["X-Amzn-Trace-Id"].partition(";")[0] for sent in recorded.sent]
    assert sorted(sent) == [f"Root={root(number)}" for number in range(COUNT)]


def ids(segment: dict[str, Any]) -> tuple[str, str]:
    return segment["trace_id"], segment["parent_id"]


def _segments(recorded: Recorded) -> list[dict[str, Any]]:
    """Return what the daemon got."""
    (datagrams,) = (post.body for post in recorded.posts if isinstance(post.body, list))
    return [json.loads(datagram.splitlines()[1]) for datagram in datagrams]


XRAY_COROUTINE = replace(
    XRAY,
    env={**XRAY.env, **ASYNC},
    files={
        "app.py": DAEMON
        + """\
import asyncio
from aws_xray_sdk.core import xray_recorder

together, ended = asyncio.Barrier(16), asyncio.Semaphore(0)

async def handler(event, context):
    if event == "segments":
        for _ in range(16):
            await ended.acquire()
        return list(got())
    await together.wait()
    async with xray_recorder.in_subsegment_async("inner") as subsegment:
        subsegment.put_annotation("event", event)
        await together.wait()
        async with xray_recorder.in_subsegment_async("nested") as subsegment:
            subsegment.put_annotation("event", event)
            await together.wait()
    ended.release()
""",
    },
)


def test_xray_gets_the_segments_of_coroutines_that_share_a_thread(attached: Attached) -> None:
    segments = _segments(attached(XRAY_COROUTINE, OS_ONLY))
    inner, nested = (
        {each["annotations"]["event"]: each for each in segments if each["name"] == name}
        for name in ("inner", "nested")
    )
    assert {event: ids(each) for event, each in inner.items()} == {n: (root(n), parent(n)) for n in range(COUNT)}
    assert {event: ids(each) for event, each in nested.items()} == {n: (root(n), inner[n]["id"]) for n in range(COUNT)}
    assert len(segments) == 2 * COUNT


OTEL = Function(
    ("otel",),
    {
        "otel_wrapper.py": """\
            from importlib import import_module
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            trace.set_tracer_provider(TracerProvider())
            trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            AwsLambdaInstrumentor().instrument()
            lambda_handler = import_module("app").handler
            """,
        "app.py": TOGETHER
        + """\
from opentelemetry import trace

def handler(event, context):
    together.wait()
    with trace.get_tracer("app").start_as_current_span("inner", attributes={"event": event}):
        together.wait()
""",
    },
    EVENTS,
    "otel_wrapper.lambda_handler",
    env={
        "ORIG_HANDLER": "app.handler",
        "OTEL_PROPAGATORS": "xray-lambda",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://RECORDER",
        **AT_ONCE,
    },
)


def test_opentelemetry_exports_the_spans_of_each_invocation_with_its_own_trace_id(attached: Attached) -> None:
    recorded = attached(OTEL, OS_ONLY)
    assert len(recorded.posts) == COUNT
    spans = [span for sent in recorded.sent for span in _spans(document(sent.body))]
    functions, inner = (
        {span[name]: span for span in spans if name in span} for name in ("faas.invocation_id", "event")
    )
    for number in range(COUNT):
        function = functions[f"id-{number}"]
        assert function["trace"] == root(number).replace("-", "")[1:]
        assert function["parent"] == parent(number)
        assert (inner[number]["trace"], inner[number]["parent"]) == (function["trace"], function["id"])
    assert len(spans) == 2 * COUNT


def _spans(export: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the ids and the attributes of each span."""
    for resource in export["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                attributes = {each["key"]: each["value"] for each in span["attributes"]}
                yield {
                    "trace": base64.b64decode(span["traceId"]).hex(),
                    "id": base64.b64decode(span["spanId"]).hex(),
                    "parent": base64.b64decode(span["parentSpanId"]).hex(),
                    **{key: value.get("stringValue") or int(value["intValue"]) for key, value in attributes.items()},
                }


POWERTOOLS = Function(
    ("powertools", "xray"),
    {
        "app.py": TOGETHER
        + DAEMON
        + """\
from concurrent.futures import ThreadPoolExecutor
from aws_lambda_powertools import Logger, Tracer

logger, tracer, pool = Logger(service="orders"), Tracer(service="orders"), ThreadPoolExecutor(4)

def log(where, event):
    logger.info(where, event=event)

def handler(event, context):
    if event == "segments":
        wait_for_the_others()
        return list(got())
    traced(event, context)
    ended.release()

@tracer.capture_lambda_handler
def traced(event, context):
    logger.thread_safe_append_keys(function_request_id=context.aws_request_id)
    together.wait()
    tracer.put_annotation("event", event)
    log("the handler", event)
    together.wait()
    pool.submit(log, "a pool", event).result()
    thread = threading.Thread(target=log, args=["a thread", event])
    thread.start()
    thread.join()
"""
    },
    (*EVENTS, traced("segments", COUNT)),
    env=AT_ONCE,
)


def test_powertools_logs_and_traces_each_invocation_with_its_own_trace_id(attached: Attached) -> None:
    recorded = attached(POWERTOOLS, OS_ONLY)
    records = [json.loads(line) for line in recorded.output.splitlines() if line.startswith("{")]
    assert sorted((record["message"], record["event"], record["xray_trace_id"]) for record in records) == sorted(
        (where, number, root(number)) for where in ("the handler", "a pool", "a thread") for number in range(COUNT)
    )
    assert {
        record["event"]: record["function_request_id"] for record in records if record["message"] == "the handler"
    } == {number: f"id-{number}" for number in range(COUNT)}
    segments = _segments(recorded)
    assert {segment["annotations"]["event"]: ids(segment) for segment in segments} == {
        number: (root(number), parent(number)) for number in range(COUNT)
    }
    assert len(segments) == COUNT


SENTRY = """
import os, threading
from concurrent.futures import ThreadPoolExecutor

import samovar

together, pool = threading.Barrier(16), ThreadPoolExecutor(4)

def handler(event, context):
    together.wait()
    import errors
    import sentry_sdk
    sentry_sdk.set_tag("event", event)
    together.wait()
    def look(): return samovar.current().id
    seen = [look(), pool.submit(look).result()]
    thread = threading.Thread(target=lambda: seen.append(look()))
    thread.start()
    thread.join()
    if event % 2:
        raise ValueError(f"{event} {seen}")
    return seen
"""
SENTRY_AT_INIT = Function(
    ("sentry",),
    {"app.py": "import errors\n" + SENTRY, "errors.py": sentry.INIT},
    EVENTS,
    env={**sentry.ENV, **AT_ONCE},
)
SENTRY_COROUTINE = replace(
    SENTRY_AT_INIT,
    env={**SENTRY_AT_INIT.env, **ASYNC},
    files={
        "app.py": """\
import asyncio
import errors
import samovar
import sentry_sdk

together = asyncio.Barrier(16)

async def handler(event, context):
    await together.wait()
    sentry_sdk.set_tag("event", event)
    await together.wait()
    async def look(): return samovar.current().id
    seen = [await look(), await asyncio.create_task(look()), await asyncio.to_thread(lambda: samovar.current().id)]
    if event % 2:
        raise ValueError(f"{event} {seen}")
    return seen
""",
        "errors.py": sentry.INIT,
    },
)
SENTRY_IN_EVENTS = replace(
    SENTRY_AT_INIT,
    files={"app.py": SENTRY, "errors.py": sentry.INIT},
    events=tuple(traced(number, number) for number in range(2 * COUNT)),
)


@pytest.mark.parametrize(
    ("install", "function", "first"),
    [(LAYER, SENTRY_AT_INIT, 0), (OS_ONLY, SENTRY_COROUTINE, 0), (OS_ONLY, SENTRY_IN_EVENTS, COUNT)],
    ids=["init at INIT", "a coroutine function", "init in an event"],
)
def test_sentry_gets_the_errors_and_transactions_of_each_invocation_before_its_post(
    attached: Attached, install: str, function: Function, first: int
) -> None:
    recorded = attached(function, install)
    posted = {entry.path.split("/")[-2]: at for at, entry in enumerate(recorded.journal) if isinstance(entry, Post)}
    assert posted.keys() == {f"id-{number}" for number in range(len(function.events))}
    documents = [
        (at, document)
        for at, entry in enumerate(recorded.journal)
        if isinstance(entry, Sent)
        for document in _documents(entry)
    ]
    for number in range(first, len(function.events)):
        of = f"id-{number}"
        own = [(at, each) for at, each in documents if each["extra"]["lambda"]["aws_request_id"] == of]
        assert all(at < posted[of] for at, _ in own)
        assert {each["tags"]["event"] for _, each in own} == {number}
        errors = [each["exception"]["values"][0]["value"] for _, each in own if "exception" in each]
        assert errors == ([f"{number} {[of] * 3}"] if number % 2 else [])
        assert len(own) == 1 + len(errors)
    assert len(documents) == COUNT + COUNT // 2


def _documents(sent: Sent) -> list[dict[str, Any]]:
    """Return the errors and transactions of an envelope."""
    lines = [json.loads(line) for line in sent.body.split(b"\n") if line.startswith(b"{")]
    return [line for line in lines if "exception" in line or "transaction" in line]


def test_sentry_gets_an_error_of_init_where_there_are_many_pollers(attached: Attached) -> None:
    function = replace(sentry.INIT_FAILS, env={**sentry.ENV, **AT_ONCE})
    expected, ours = attached(sentry.INIT_FAILS, OS_ONLY), attached(function, OS_ONLY)
    assert ours.posts == expected.posts != []
    assert [sentry._documents(sent) for sent in ours.sent] == [sentry._documents(sent) for sent in expected.sent] != []
    assert ours.exit == 1
