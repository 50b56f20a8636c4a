"""Coroutines of many invocations at once: one process, one event loop, and nothing of one seen by another."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
from typing import Any

import pytest

from samovar.local.testing.scripted_api import Answer, Request
from tests.concurrency.serving import Serving, event, polls, serving

TOGETHER = """
import asyncio, samovar

class Together:
    '''Lets nobody go on until so many have come.'''

    def __init__(self, count):
        self.left = count
        self.all = asyncio.Event()

    async def __call__(self):
        self.left -= 1
        if self.left <= 0:
            self.all.set()
        await self.all.wait()
"""


def events(*bodies: object, **more: Any) -> list[Answer]:
    return [event(body, f"id-{number}", **more) for number, body in enumerate(bodies)]


def wait_for_line(served: Serving, text: str) -> None:
    """Wait until the log has this text. A poll that fails wakes the wait up."""
    served.wait_for_output(lambda out: text in out)


def test_all_are_in_flight_at_the_same_time_on_one_event_loop_after_one_init() -> None:
    source = f"""{TOGETHER}
import contextvars, threading
print("INIT")
together = Together(32)
variable = contextvars.ContextVar("variable", default="of INIT")
variable.set("set in INIT")

async def seen():
    await asyncio.sleep(0)
    return samovar.current().id

async def handler(event, context):
    before = variable.get()
    variable.set(event)
    await together()
    own = await asyncio.create_task(seen())
    assert threading.current_thread() is threading.main_thread()
    return [before, variable.get(), own, samovar.current().id, context.aws_request_id, id(asyncio.get_running_loop())]
"""
    with serving(source, *events(*range(32)), count=32) as served:
        answers = served.answers(32)
        loops = {answer[-1] for answer in answers.values()}
        assert len(loops) == 1
        assert {name: answer[:-1] for name, answer in answers.items()} == {
            f"id-{number}": ["set in INIT", number, *[f"id-{number}"] * 3] for number in range(32)
        }
        assert served.out.count("INIT") == 1


FAILING = """
import asyncio

async def deep(event):
    await asyncio.sleep(0)
    if event == "group":
        async with asyncio.TaskGroup() as group:
            group.create_task(deep("value"))
    if event == "cancelled":
        raise asyncio.CancelledError("by itself")
    if event == "cause":
        try:
            await deep("value")
        except ValueError as exc:
            raise LookupError("instead") from exc
    raise ValueError("no such order")

async def handler(event, context):
    if event == "result":
        return {1, 2}
    await deep(event)
"""


def test_an_error_is_reported_as_with_one_invocation_at_a_time() -> None:
    bodies = ("value", "group", "cancelled", "cause", "result")
    reports: list[dict[str, Any]] = []
    for one_at_a_time in (True, False):
        with serving(FAILING, *events(*bodies), count=4, one_at_a_time=one_at_a_time) as served:
            reports.append(served.answers(len(bodies)))
            assert all(post.path.endswith("/error") for post in served.posts)
    one, many = (json.loads(re.sub(r"/tmp/[^/]+/", "", json.dumps(report))) for report in reports)
    for name, report in one.items():
        assert many[name] == report
    assert [line.split(", in ")[1].split("\n")[0] for line in many["id-0"]["stackTrace"]] == ["handler", "deep"]


def test_the_deadline_cancels_the_invocation_that_is_late_and_no_other() -> None:
    source = f"""{TOGETHER}
cleaned = asyncio.Event()

async def handler(event, context):
    if event == "late":
        try:
            await asyncio.sleep(600)
        finally:
            cleaned.set()
    await cleaned.wait()
    return "in time"
"""
    late = event("late", "late", deadline_ms=soon())
    with serving(source, *events("a", "b"), late, count=3) as served:
        answers = served.answers(3)
    assert [answers["id-0"], answers["id-1"]] == ["in time"] * 2
    assert answers["late"]["errorType"] == "TimeoutError"
    assert answers["late"]["errorMessage"] == "cancelled: the invocation's time was nearly up"
    assert any("sleep" in line for line in answers["late"]["stackTrace"])


def soon(seconds: float = 1.0) -> str:
    return str(int((time.time() + seconds) * 1000))


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="a free-threaded Python frees what another thread has let go when the owner goes on",
)
@pytest.mark.parametrize("how", ["returns", "raises", "late", "stream", "stream fails", "defers"])
def test_nothing_of_an_invocation_stays_in_memory(how: str) -> None:
    source = f"""
import asyncio, gc, os, samovar
gc.disable()
how = {how!r}

class Held:
    def __init__(self, name):
        self.name = name
    def __del__(self):
        os.write(1, f"gone {{self.name}}\\n".encode())

async def work(event):
    held = Held("coroutine")
    await asyncio.sleep(0)
    if how == "late":
        await asyncio.Event().wait()
    if "raises" in how:
        raise ValueError(event)
    if how == "defers":
        samovar.defer(asyncio.sleep, 0)

async def items(event):
    held = Held("stream")
    yield "a"
    if how == "stream fails":
        raise ValueError(event)
    yield "b"

async def handler(event, context):
    held = Held("frame")
    event["held"] = Held("event")
    context.held = Held("context")
    await work(event)
    if "stream" in how:
        return items(event)
"""
    gone = {"coroutine", "frame", "event", "context", *(["stream"] if "stream" in how else [])}
    given = [event({}, f"id-{number}", deadline_ms=soon(1.0 if how == "late" else 600.0)) for number in range(4)]
    with serving(source, *given, count=2, env={"AWS_LAMBDA_LOG_FORMAT": "Text"}) as served:
        served.wait_for(lambda: polls(served) >= 6)
        served.wait_for_output(lambda out: out.count("gone") == 4 * len(gone))
        lines = re.findall("gone [a-z]+", served.out)
    assert sorted(lines) == sorted(f"gone {name}" for name in gone for _ in range(4))


@pytest.mark.parametrize("where", ["the handler", "a task", "a stream", "a deferred coroutine", "a plain handler"])
def test_sys_exit_ends_the_environment_with_its_code_after_what_is_in_flight(where: str) -> None:
    source = f"""{TOGETHER}
import sys
where = {where!r}
exits = asyncio.Event()

async def leave():
    exits.set()
    sys.exit(7)

async def items():
    yield "a"
    await leave()
    yield "b"

async def handler(event, context):
    if event == "exit":
        match where:
            case "the handler":
                await leave()
            case "a task":
                await asyncio.create_task(leave())
            case "a stream":
                return items()
            case "a deferred coroutine":
                samovar.defer(leave)
    else:
        await exits.wait()
        return "answered"

def plain(event, context):
    if event == "exit":
        samovar.defer(leave)
"""
    plain = where == "a plain handler"
    given = [event("exit", "exit")] if plain else [event("wait", "id-0"), event("exit", "exit")]
    with serving(source, *given, count=2, handler="app.plain" if plain else "app.handler") as served:
        assert served.process.wait(60) == 7
        answers = {post.path.split("/")[4]: post for post in served.posts}
    if not plain:
        assert json.loads(answers["id-0"].body) == "answered"
    if where in ("the handler", "a task"):
        assert "exit" not in answers
    if where == "a stream":
        assert not answers["exit"].complete


def test_a_base_exception_costs_its_own_invocation_only() -> None:
    source = """
import asyncio

class Odd(BaseException):
    pass

async def fails():
    raise Odd("in a task")

async def handler(event, context):
    if event == "task":
        await asyncio.create_task(fails())
    if event == "handler":
        raise Odd("here")
    await asyncio.sleep(0.01)
    return event
"""
    with serving(source, *events("a", "task", "b", "handler", "c"), count=3) as served:
        answers = served.answers(5)
        assert [answers[f"id-{number}"] for number in (0, 2, 4)] == ["a", "b", "c"]
        assert [answers[f"id-{number}"]["errorType"] for number in (1, 3)] == ["Odd"] * 2
        served.api.push(event("again", "again"))
        assert served.answers(6)["again"] == "again"


def test_a_handler_that_stops_the_event_loop_stops_nobody() -> None:
    source = f"""{TOGETHER}
together = Together(4)

async def handler(event, context):
    asyncio.get_running_loop().stop()
    await together()
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    return event
"""
    with serving(source, *events(*range(4)), count=4) as served:
        assert served.answers(4) == {f"id-{number}": number for number in range(4)}


def test_a_loop_that_init_has_closed_is_followed_by_another() -> None:
    source = """
import asyncio

async def connect():
    return id(asyncio.get_running_loop())

first = asyncio.new_event_loop()
asyncio.set_event_loop(first)
made = first.run_until_complete(connect())
first.close()

async def handler(event, context):
    return asyncio.get_running_loop() is not first
"""
    with serving(source, *events(1, 2), count=2) as served:
        assert served.answers(2) == {"id-0": True, "id-1": True}


def test_a_loop_that_init_has_set_is_the_environments() -> None:
    source = """
import asyncio

loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
lock = asyncio.Lock()

async def handler(event, context):
    async with lock:
        await asyncio.sleep(0)
    return asyncio.get_running_loop() is loop
"""
    with serving(source, *events(*range(4)), count=4) as served:
        assert set(served.answers(4).values()) == {True}


def test_uvloop_serves_where_the_function_ships_it() -> None:
    pytest.importorskip("uvloop")
    source = f"""{TOGETHER}
together = Together(8)

async def handler(event, context):
    await together()
    return type(asyncio.get_running_loop()).__module__.split(".")[0]
"""
    with serving(source, *events(*range(8)), count=8, env={"SAMOVAR_LOOP": "uvloop"}) as served:
        assert set(served.answers(8).values()) == {"uvloop"}
        assert served.end() == -15


def test_tasks_left_running_go_on_and_are_named_with_their_own_invocation() -> None:
    source = f"""{TOGETHER}
started = asyncio.create_task
tasks = []
released = None

async def heartbeat():
    await released.wait()
    return samovar.current().id

async def ended():
    await asyncio.sleep(0)

async def handler(event, context):
    global released
    released = released or asyncio.Event()
    if event == "leave":
        tasks.append(asyncio.create_task(heartbeat()))
        tasks.append(asyncio.create_task(ended()))
    elif event == "wait":
        await released.wait()
    elif event == "release":
        released.set()
        return [await tasks[0], await tasks[1]]
"""
    with serving(source, event("wait", "waits"), event("leave", "leaves"), count=3) as served:
        served.wait_for_output(lambda out: "Tasks left running" in out)
        (said,) = [record for record in served.records if "Tasks left running" in str(record.get("message"))]
        assert said["message"].endswith(": heartbeat")
        assert (said["level"], said["requestId"]) == ("WARNING", "leaves")
        served.api.push(event("release", "releases"))
        assert served.answers(3)["releases"] == ["leaves", None]


def test_a_plain_function_gets_an_event_loop_with_its_first_coroutine() -> None:
    source = """
import asyncio, sys, threading, samovar

print("asyncio" in sys.modules, "samovar.aio" in sys.modules)
loads, loops, deferred = [], set(), []
both = threading.Barrier(8)

def load():
    async def value():
        loops.add(asyncio.get_running_loop())
        return 1
    loads.append(1)
    return value()

@samovar.cached(ttl=60)
async def loaded(key):
    loads.append(key)
    await asyncio.sleep(0.05)
    loops.add(asyncio.get_running_loop())
    return key

async def after(event):
    loops.add(asyncio.get_running_loop())
    deferred.append((event, samovar.current().id))

def handler(event, context):
    if event == "seen":
        return [loads, len(loops), sorted(deferred)]
    samovar.defer(after, event)
    both.wait()
    from samovar import aio
    aio.finish(loaded("key"))
    both.wait()
    return asyncio.run(asyncio.sleep(0, event))
"""
    source = source.replace("import asyncio, sys", "import sys").replace(
        "print(", "before = dict(sys.modules)\nprint(", 1
    )
    source = source.replace("loads, loops", "import asyncio\nloads, loops", 1)
    with serving(source, *events(*range(8)), count=8) as served:
        assert served.answers(8) == {f"id-{number}": number for number in range(8)}
        served.wait_for(lambda: polls(served) >= 16)
        served.api.push(event("seen", "seen"))
        assert served.answers(9)["seen"] == [["key"], 1, [[number, f"id-{number}"] for number in range(8)]]
        assert served.out.startswith("False False\n")


def test_a_child_that_a_handler_forks_has_an_event_loop_of_its_own() -> None:
    source = """
import asyncio, os, samovar

async def value(event):
    await asyncio.sleep(0)
    return event

def run(event):
    from samovar import aio
    return aio.run(value(event))

def handler(event, context):
    before = run(event)
    read, write = os.pipe()
    if not os.fork():
        os.write(write, str(run(f"child of {event}")).encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        return [before, file.read().decode(), run(event)]
"""
    with serving(source, *events("a", "b"), count=2) as served:
        assert served.answers(2) == {"id-0": ["a", "child of a", "a"], "id-1": ["b", "child of b", "b"]}


def test_what_raises_out_of_the_event_loop_is_logged_and_it_goes_on() -> None:
    source = """
import asyncio, signal

async def handler(event, context):
    if event == "alarm":
        signal.setitimer(signal.ITIMER_REAL, 0.02)  # while the event loop waits
    await everybody.wait()
    return event

def over(*args):
    asyncio.get_event_loop().call_soon(everybody.set)
    raise TimeoutError("over")

everybody = asyncio.Event()
signal.signal(signal.SIGALRM, over)
"""
    with serving(source, *events("a", "b", "alarm"), count=3) as served:
        assert served.answers(3) == {"id-0": "a", "id-1": "b", "id-2": "alarm"}
        (said,) = [record for record in served.records if "interrupted" in str(record.get("errorMessage", record))]
        assert said["level"] == "ERROR"


def test_a_cached_loader_runs_once_for_all_and_its_refresh_after_the_response() -> None:
    source = f"""{TOGETHER}
loads = []
together = Together(16)
again = Together(16)
now = [0.0]

@samovar.cached(ttl=1, stale=60, clocks=(lambda: now[0], lambda: now[0]))
async def loaded():
    loads.append(samovar.current() and samovar.current().id)
    await asyncio.sleep(0.02)
    return len(loads)

async def handler(event, context):
    if event == "seen":
        return [loads, await loaded()]
    if event == "first":
        await together()
        return await loaded()
    await again()
    now[0] = 2.0
    return await loaded()
"""
    with serving(source, *events(*["first"] * 16), count=16) as served:
        assert set(served.answers(16).values()) == {1}
        served.wait_for(lambda: polls(served) >= 32)
        served.api.push(*[event("stale", f"stale-{number}") for number in range(16)])
        answers = served.answers(32)
        assert {answers[f"stale-{number}"] for number in range(16)} == {1}
        served.wait_for(lambda: polls(served) >= 48)
        served.api.push(event("seen", "seen"))
        loads, value = served.answers(33)["seen"]
        assert value == 2
        assert len(loads) == 2
        assert loads[1].startswith("stale-")


def streamed(served: Serving) -> dict[str, Request]:
    return {post.path.split("/")[4]: post for post in served.posts if "/invocation/" in post.path}


STREAMS = f"""{TOGETHER}
together = Together(32)

async def items(event):
    for number in range(5):
        yield f"{{event}} {{number}} {{samovar.current().id}};"
        if event == "fails" and number == 2:
            raise LookupError("midway")
        await asyncio.sleep(0)

async def handler(event, context):
    await together()
    return items(event)

async def generator(event, context):
    await together()
    async for item in items(event):
        yield item

def plain(event, context):
    return generator(event, context)
"""


@pytest.mark.parametrize("handler", ["app.handler", "app.generator", "app.plain"])
def test_streams_at_the_same_time_are_each_their_own(handler: str) -> None:
    bodies = ["fails" if number % 8 == 7 else f"stream {number}" for number in range(32)]
    with serving(STREAMS, *events(*bodies), count=32, handler=handler) as served:
        served.wait_for(lambda: len(served.posts) >= 32)
        posts = streamed(served)
        for number, body in enumerate(bodies):
            post = posts[f"id-{number}"]
            count = 3 if body == "fails" else 5
            assert post.body.decode() == "".join(f"{body} {at} id-{number};" for at in range(count))
            assert len(post.chunks) == count
            failed = dict(post.trailers).get("Lambda-Runtime-Function-Error-Type")
            assert failed == ("Function.LookupError" if body == "fails" else None)
            assert post.complete


THREADS = """
import threading, samovar
together = threading.Barrier(64, timeout=60)

def handler(event, context):
    together.wait()
    for number in range(4):
        yield f"{event} {number};"
        if event == "fails" and number == 1:
            raise LookupError("midway")
"""


def test_sixty_four_plain_generators_stream_at_the_same_time() -> None:
    bodies = ["fails" if number == 40 else f"stream {number}" for number in range(64)]
    with serving(THREADS, *events(*bodies), count=64) as served:
        served.wait_for(lambda: len(served.posts) >= 64)
        for name, post in streamed(served).items():
            body = bodies[int(name.partition("-")[2])]
            count = 2 if body == "fails" else 4
            assert post.body.decode() == "".join(f"{body} {at};" for at in range(count))


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_slow_reader_holds_up_its_own_stream_only(kind: str) -> None:
    source = f"""
import samovar
pulled = {{}}

{kind} items(name):
    for number in range(200):
        pulled[name] = number
        yield name.encode() + bytes(65536)

{kind} handler(event, context):
    yield str(pulled)

{kind} big(event, context):
    {"async " if "async" in kind else ""}for item in items(event):
        yield item
    yield str(pulled)
"""
    release = threading.Event()

    def on_chunk(chunk: bytes) -> None:
        if chunk.startswith(b"slow"):
            release.wait(60)

    with serving(source, event("slow", "slow"), count=4, handler="app.big", on_chunk=on_chunk) as served:
        served.wait_for(lambda: polls(served) >= 4)
        served.api.push(*events(*["fast"] * 6))
        served.wait_for(lambda: len(served.posts) >= 6)
        posts = streamed(served)
        assert "slow" not in posts
        for post in posts.values():
            assert len(post.body) > 200 * 65536
            assert b"'slow': 199" not in post.body[-100:]  # backpressure: what nobody takes is not made
        release.set()
        served.wait_for(lambda: len(served.posts) >= 7)
        assert len(streamed(served)["slow"].chunks) == 201


ENDING = """
import asyncio, os, sys, threading, time, samovar

def said(text):
    os.write(1, f"{text}\\n".encode())

@samovar.on_shutdown
def hook():
    said("hook")

async def items(event):
    try:
        yield f"{event} begins"
        if event == "short":
            await asyncio.sleep(0.5)
        while event != "short":
            if event == "sleeps":
                await asyncio.sleep(600)
            yield bytes(65536)
        yield "and ends"
    finally:
        await asyncio.sleep(0)
        said(f"{event} closed")

def plain(event, context):
    try:
        yield f"{event} begins"
        if event == "short":
            time.sleep(0.5)
        while event != "short":
            if event == "sleeps":
                time.sleep(0.01)
            yield bytes(65536)
        yield "and ends"
    finally:
        said(f"{event} closed")

async def handler(event, context):
    if event == "value":
        try:
            await asyncio.sleep(600)
        finally:
            said("value closed")
    return items(event)
"""


@pytest.mark.parametrize("handler", ["app.handler", "app.plain"])
def test_at_sigterm_streams_end_within_the_time_left_or_are_closed(handler: str) -> None:
    begun, gone = threading.Semaphore(0), threading.Event()

    def on_chunk(chunk: bytes) -> None:
        if chunk.endswith(b"begins"):
            begun.release()
        elif chunk == bytes(65536):
            gone.wait(60)

    kinds = ["short", "sleeps", "unread", *(["value"] if handler == "app.handler" else [])]
    given = [event(kind, kind) for kind in kinds]
    with serving(ENDING, *given, count=4, handler=handler, on_chunk=on_chunk) as served:
        for _ in range(3):
            assert begun.acquire(timeout=60)
        assert served.end() == -signal.SIGTERM
        gone.set()
        served.wait_for(lambda: "short" in streamed(served))
        posts = streamed(served)
        assert posts["short"].body == b"short beginsand ends"
        assert {kind for kind in kinds if f"{kind} closed\n" in served.out} == set(kinds)
        assert served.out.count("hook\n") == 1
        assert served.out.index("hook\n") < served.out.index("unread closed")
        assert "out of time for the invocations" in served.out
        if "value" in kinds:
            assert json.loads(posts["value"].body)["errorType"] == "CancelledError"
