"""An ASGI application answers events, and works on once its answer has left."""

from __future__ import annotations

import asyncio
import contextvars
import json
import signal
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from time import time
from typing import Any

import pytest

from samovar import aio, handler, hooks
from samovar.environment import environment
from samovar.errors import Fault
from tests.contract.harness import OURS, Event, Run, execute
from tests.handler import events
from tests.handler.events import EVENTS
from tests.invocations import begin, forget, invocation

Application = Callable[..., Any]


class Loaded:
    """A handler, called as the loop calls it."""

    def __init__(self, name: str) -> None:
        self.handle = handler.load(name)

    def __call__(self, event: Any, **context: Any) -> Any:
        made = invocation(event=json.dumps(event).encode())
        made.context = context.get("context")
        answer = self.handle(made)
        assert isinstance(answer, bytes)
        return json.loads(answer)

    def after(self) -> None:
        for work in environment.after_response:
            work()


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Loaded]]:
    module: Any = types.ModuleType("web_code")
    monkeypatch.setitem(sys.modules, "web_code", module)
    monkeypatch.setattr(aio, "_event_loop", None)
    monkeypatch.setattr(environment, "after_response", list(environment.after_response))
    monkeypatch.setattr(environment, "shutdown_hooks", [])
    monkeypatch.setattr(environment, "at_fork", list(environment.at_fork))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def made(app: Application, other: str = "", **names: Any) -> Loaded:
        module.app = app
        vars(module).update(names)
        return Loaded(f"asgi:web_code:app{other}")

    yield made
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    asyncio.set_event_loop(None)


def http(app: Application) -> Application:
    """The application, without a lifespan."""

    async def only_http(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await app(scope, receive, send)

    return only_http


async def respond(send: Any, *parts: bytes, status: int = 200, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


def test_the_scope_is_that_of_asgi_2_4_for_every_source(load: Any) -> None:
    seen: list[Any] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, await receive()))
        await respond(send, b"ok")

    loaded = load(app)
    for name, event in EVENTS.items():
        assert loaded(event)["body"] == "ok"
        loaded.after()
        scope, message = seen.pop()
        root = {"rest_api": "/live", "http_api_1": "/live"}.get(name, "")
        assert message == {"type": "http.request", "body": "Grüße".encode(), "more_body": False}
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
        assert (scope["method"], scope["http_version"], scope["root_path"]) == ("POST", "1.1", root)
        assert (scope["path"], scope["raw_path"]) == (
            f"{root}/orders/café au",
            f"{root}/orders/caf%C3%A9%20au".encode(),
        )
        assert type(scope["query_string"]) is bytes
        assert scope["client"] == ("203.0.113.7", 0)
        assert scope["server"][1] == (8080 if name.startswith("alb") else 443)
        assert scope["scheme"] == ("http" if name.startswith("alb") else "https")
        assert (b"cookie", b"a=1; b=2") in scope["headers"]
        assert scope["aws.event"] == event
        assert "aws.context" in scope
        assert "state" not in scope
        assert "extensions" not in scope


def test_a_body_in_parts_is_one_answer(load: Any) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, b"a", b"", b"b", status=201, headers=[(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])

    made = load(app)(events.http_api())
    assert (made["statusCode"], made["body"], made["cookies"]) == (201, "ab", ["a=1", "b=2"])


def test_a_chunk_that_the_application_changes_later_is_sent_as_it_was(load: Any) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        chunk = bytearray(b"one")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        chunk[:] = b"two"
        await send({"type": "http.response.body", "body": memoryview(chunk)})
        chunk[:] = b"ten"

    assert load(app)(events.http_api())["body"] == "onetwo"


def test_the_answer_to_head_has_no_body_and_keeps_its_length(load: Any) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, b"text", headers=[(b"content-length", b"4")])

    event = events.http_api()
    event["requestContext"]["http"]["method"] = "HEAD"
    made = load(app)(event)
    assert (made["body"], made["headers"]) == ("", {"content-length": "4"})


def test_the_answer_leaves_before_what_follows_the_last_message_even_where_that_blocks(load: Any) -> None:
    done: list[str] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, b"ok")
        done.append("at once")  # no await between the last message and this
        await asyncio.sleep(0.01)
        done.append("later")

    loaded = load(app)
    environment.after_response.append(lambda: done.append("deferred"))
    assert loaded(events.http_api())["body"] == "ok"
    assert done == []
    loaded.after()
    assert done == ["at once", "later", "deferred"]
    assert loaded(events.http_api())["body"] == "ok"
    loaded.after()
    assert len(done) == 6


def test_receive_blocks_after_the_body_until_the_response_has_left(load: Any) -> None:
    seen: list[Any] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        listening = asyncio.ensure_future(receive())
        await asyncio.sleep(0.01)
        seen.append(listening.done())
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await asyncio.sleep(0)
        seen.append(listening.done())
        await send({"type": "http.response.body", "body": b"b"})
        seen.append(await listening)
        seen.append(await receive())

    loaded = load(app)
    assert loaded(events.http_api())["body"] == "ab"
    assert seen == [False, False]
    loaded.after()
    assert seen[2:] == [{"type": "http.disconnect"}] * 2


def test_a_cancelled_receive_leaves_the_body(load: Any) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        asking = asyncio.ensure_future(receive())
        asyncio.get_running_loop().call_soon(asking.cancel)
        await asyncio.wait([asking])
        assert asking.cancelled()
        await respond(send, (await receive())["body"])

    assert load(app)(events.http_api())["body"] == "Grüße"


@pytest.mark.parametrize("begun", [False, True])
def test_a_failure_before_the_answer_is_whole_is_a_500_and_a_line_in_the_log(
    load: Any, begun: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise LookupError("no such order")

    loaded = load(app)
    for _ in range(2):
        made = loaded(events.http_api())
        loaded.after()
        assert (made["statusCode"], made["body"]) == (500, "Internal Server Error")
        assert "LookupError: The application failed: no such order" in capfd.readouterr().out


def test_a_failure_after_a_whole_answer_is_only_logged(load: Any, capfd: pytest.CaptureFixture[str]) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, b"the application's own page", status=500)
        raise LookupError("no such order")

    loaded = load(app)
    made = loaded(events.http_api())
    loaded.after()
    assert (made["statusCode"], made["body"]) == (500, "the application's own page")
    assert "LookupError: The application failed after its response: no such order" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "the application returned before its response was complete"),
        ([{"type": "http.response.body"}], "'http.response.body' was sent where 'http.response.start' is due"),
        (
            [{"type": "http.response.start", "status": 200}] * 2,
            "'http.response.start' was sent where 'http.response.body'",
        ),
        ([{"type": "http.response.pathsend", "path": "/a"}], "'http.response.pathsend' was sent where"),
    ],
)
def test_messages_out_of_order_are_a_500(
    load: Any, messages: list[Any], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    assert load(app)(events.http_api())["statusCode"] == 500
    assert says in capfd.readouterr().out


def test_each_request_has_contextvars_of_its_own_and_the_same_event_loop(load: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="fresh")
    loops: set[int] = set()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        loops.add(id(asyncio.get_running_loop()))
        value = variable.get()
        variable.set("used")
        await respond(send, value.encode())

    loaded = load(app)
    for _ in range(3):
        assert loaded(events.http_api())["body"] == "fresh"
        loaded.after()
    assert len(loops) == 1


def test_an_application_is_cancelled_before_the_time_out(load: Any) -> None:
    cleaned: list[bool] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.append(True)

    loaded = load(app)
    try:
        context = begin(deadline_ms=str(int(time() * 1000) + 50))
        with pytest.raises(TimeoutError, match="the invocation's time was nearly up"):
            loaded(events.http_api(), context=context)
    finally:
        forget()
    assert cleaned == [True]
    loaded.after()


def test_work_after_the_response_is_cancelled_before_the_time_out(load: Any, capfd: pytest.CaptureFixture[str]) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, b"ok")
        await asyncio.sleep(3600)

    loaded = load(app)
    try:
        context = begin(deadline_ms=str(int(time() * 1000) + 2000))
        assert loaded(events.http_api(), context=context)["body"] == "ok"
        loaded.after()
    finally:
        forget()
    assert "Out of time: what the application did after its response is cancelled" in capfd.readouterr().out


def lifespan(log: list[Any], *, start: str = "complete", raises: bool = False, stop: str = "complete") -> Application:
    """An application that knows a lifespan."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            log.append(dict(scope["state"]))
            scope["state"]["own"] = True
            await respond(send, b"ok")
            return
        log.append((await receive())["type"])
        scope["state"]["pool"] = "open"
        await send({"type": f"lifespan.startup.{start}", "message": "no database"})
        if raises:
            raise ConnectionError("no database")
        if start == "complete":
            log.append((await receive())["type"])
            await send({"type": f"lifespan.shutdown.{stop}", "message": "not closed"})

    return app


def test_start_up_runs_once_in_init_and_shutdown_when_the_environment_ends(load: Any) -> None:
    log: list[Any] = []
    loaded = load(lifespan(log))
    assert log == ["lifespan.startup"]
    for _ in range(2):
        assert loaded(events.http_api())["body"] == "ok"
        loaded.after()
    assert log == ["lifespan.startup", {"pool": "open"}, {"pool": "open"}]  # a copy for each request
    hooks.shut_down()
    assert log[3:] == ["lifespan.shutdown"]


def test_the_shutdown_comes_before_the_functions_own_hooks(load: Any) -> None:
    log: list[Any] = []
    hooks.on_shutdown(lambda: log.append("own"))  # as the module is imported
    load(lifespan(log))
    hooks.shut_down()
    assert log == ["lifespan.startup", "lifespan.shutdown", "own"]


def test_a_failed_shutdown_is_logged(load: Any, capfd: pytest.CaptureFixture[str]) -> None:
    load(lifespan([], stop="failed"))
    hooks.shut_down()
    assert "The application's shutdown failed: not closed" in capfd.readouterr().out


def test_a_failed_start_up_fails_init_with_what_was_raised_or_said(load: Any) -> None:
    with pytest.raises(Fault) as caught:
        load(lifespan([], start="failed"))
    assert caught.value.error_type == "Runtime.StartupFailed"
    assert caught.value.message == "The application's start-up failed: no database"
    with pytest.raises(ConnectionError, match="no database"):
        load(lifespan([], start="failed", raises=True))
    assert environment.shutdown_hooks == []


def test_a_failed_start_up_fails_init_where_the_application_waits_for_its_shutdown(load: Any) -> None:
    cleaned: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            while (await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.failed", "message": "no database"})
        finally:
            cleaned.append(True)

    with pytest.raises(Fault, match="The application's start-up failed: no database"):
        load(app)
    assert cleaned == [True]


def test_a_start_up_that_raises_without_a_message_is_logged_and_the_application_served(
    load: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            raise ConnectionError("no database")
        assert "state" not in scope
        await respond(send, b"ok")

    assert load(app)(events.http_api())["body"] == "ok"
    says = "ConnectionError: The application's start-up failed, and it is served without a lifespan: no database"
    assert says in capfd.readouterr().out


@pytest.mark.parametrize("receives", [False, True])
def test_an_application_that_takes_its_lifespan_for_a_request_goes_on(
    load: Any, receives: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if receives:
            await receive()
        await respond(send, b"ok")

    assert load(app)(events.http_api())["body"] == "ok"
    says = "'http.response.start' was sent where 'lifespan.startup.complete' is due"
    assert (says in capfd.readouterr().out) is receives
    assert environment.shutdown_hooks == []


def test_an_application_without_a_lifespan_goes_on(load: Any) -> None:
    @http
    async def refuses(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, b"ok")

    async def returns(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            assert "state" not in scope
            await respond(send, b"ok")

    async def answers_everything(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, b"ok")

    for app in (refuses, returns, answers_everything):
        assert load(app)(events.http_api())["body"] == "ok"
    assert environment.shutdown_hooks == []  # and no extension is registered for it


@pytest.mark.parametrize("wrong", ["lifespan.shutdown.complete", "lifespan.startup.complete", "http.response.start"])
def test_a_message_that_is_not_due_in_a_lifespan_is_an_error(load: Any, wrong: str) -> None:
    raised: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if wrong == "lifespan.startup.complete":
            await send({"type": wrong})
        try:
            await send({"type": wrong})
        except RuntimeError as exc:
            raised.append(exc)
            raise

    load(app)
    (error,) = raised
    assert str(error).startswith(f"{wrong!r} was sent where 'lifespan.s")


def test_an_event_that_is_no_request_goes_to_the_handler_after_the_comma(load: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    loaded = load(app, ",web_code.jobs", jobs=lambda event, context: {"job": event})
    assert loaded({"Records": [1]}) == {"job": {"Records": [1]}}
    with pytest.raises(Fault) as caught:
        load(app)({"Records": [1]})
    assert caught.value.error_type == "Runtime.NotHttp"
    assert "name a handler for other events after a comma: asgi:MODULE:APPLICATION,MODULE.FUNCTION" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "error_type", "message"),
    [
        ("asgi:web_code", "Runtime.MalformedHandlerName", "want asgi:MODULE:APPLICATION, as asgi:main:app"),
        ("asgi::app", "Runtime.MalformedHandlerName", "want asgi:MODULE:APPLICATION"),
        ("asgi:no_such:app", "Runtime.ImportModuleError", "Unable to import module 'no_such'"),
        ("asgi:web_code:missing", "Runtime.HandlerNotFound", "Handler 'missing' missing on module 'web_code'"),
        ("asgi:web_code:text", "Runtime.HandlerNotFound", "'text' in module 'web_code' is no application"),
        ("asgi:web_code:text.missing", "Runtime.HandlerNotFound", "Handler 'text.missing' missing"),
        ("wsgi:web_code", "Runtime.MalformedHandlerName", "want wsgi:MODULE:APPLICATION, as wsgi:main:app"),
    ],
)
def test_an_application_that_cannot_be_found(load: Any, name: str, error_type: str, message: str) -> None:
    load(lifespan([]), text="text")
    with pytest.raises(Fault) as caught:
        handler.load(name)
    assert caught.value.error_type == error_type
    assert message in caught.value.message


def test_an_application_may_be_an_attribute_of_an_object(load: Any) -> None:
    load(lifespan([]), site=types.SimpleNamespace(app=lifespan([])))
    assert Loaded("asgi:web_code:site.app")(events.http_api())["body"] == "ok"


@pytest.mark.parametrize("value", ["", "buffered", "streamed"])
def test_the_response_mode_is_one_that_there_is(load: Any, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import posix

    monkeypatch.setitem(posix.environ, b"SAMOVAR_RESPONSE_MODE", value.encode())
    if value == "streamed":
        with pytest.raises(ValueError, match="SAMOVAR_RESPONSE_MODE='streamed': want buffered or stream"):
            load(lifespan([]))
    else:
        assert load(lifespan([]))(events.http_api())["body"] == "ok"


SNAPSHOT = """
    import asyncio
    import samovar

    loops = set()

    @samovar.before_snapshot
    async def disconnect():
        loops.add(asyncio.get_running_loop())
        print("before the snapshot")

    @samovar.after_restore
    async def connect():
        loops.add(asyncio.get_running_loop())
        print("after the restore")

    async def app(scope, receive, send):
        loops.add(asyncio.get_running_loop())
        if scope["type"] == "lifespan":
            await receive()
            print("start-up")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            return
        print(len(loops), "loop")
        await asyncio.sleep(0.001)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ok"})
"""


def test_with_snapstart_start_up_is_before_the_snapshot_and_the_event_loop_outlives_it() -> None:
    source = textwrap.dedent(SNAPSHOT)
    sent = Event(json.dumps(events.http_api()).encode())
    env = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    init, served = execute(Run({"app.py": source}, (sent,), "asgi:app:app", env), OURS)
    assert "GET /2018-06-01/runtime/restore/next" in [request.call for request in init.requests]
    assert init.stdout.decode().splitlines() == ["start-up", "before the snapshot", "after the restore"]
    assert (served.stdout, served.value["body"]) == (b"1 loop\n", "ok")


SIGTERM = """
    import asyncio, os, signal

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            print("shutdown")
            return
        if scope["path"] == "/after":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"ok"})
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(600)
"""


@pytest.mark.parametrize("path", ["/within", "/after"])
def test_sigterm_within_an_invocation_ends_the_environment_and_says_that_there_is_no_shutdown(path: str) -> None:
    sent = Event(json.dumps(events.http_api(rawPath=path)).encode())
    last = execute(Run({"app.py": textwrap.dedent(SIGTERM)}, (sent,), "asgi:app:app"), OURS)[-1]
    assert last.exit == -signal.SIGTERM
    (line,) = last.stdout.decode().splitlines()
    assert "The environment ends within an invocation, without the application's shutdown" in line
    assert [request.path.endswith("/response") for request in last.requests].count(True) == (path == "/after")
