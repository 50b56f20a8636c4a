"""Web applications with many requests in flight in one process: FastAPI, Django, and plain ASGI and WSGI ones."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from samovar.local.testing.scripted_api import Answer, Request
from tests.attach.harness import SITES
from tests.concurrency.serving import Serving, event, polls, serving
from tests.handler import events

STREAM = {"SAMOVAR_RESPONSE_MODE": "stream"}


def request(path: str, request_id: str, **headers: str) -> Answer:
    """A request to a Function URL, whose answer may be streamed."""
    made = events.function_url(body=None, rawPath=path)
    made["requestContext"]["http"].update(method="GET", path=path)
    made["rawQueryString"] = ""
    return event(made, request_id, **headers)


def requests(count: int, path: str = "/{}") -> list[Answer]:
    return [request(path.format(number), f"id-{number}") for number in range(count)]


def answered(served: Serving, count: int) -> dict[str, Any]:
    """Wait for so many answers and return them, by request id."""

    def posts() -> list[Request]:
        return [post for post in served.posts if "/invocation/" in post.path]

    served.wait_for(lambda: len(posts()) >= count or served.process.poll() is not None)
    assert len(posts()) == count, served.out
    return {post.path.split("/")[4]: json.loads(post.body) for post in posts()}


def streams(served: Serving, count: int) -> dict[str, Request]:
    """Wait for so many streamed answers and return them, by request id."""
    served.wait_for(lambda: len([post for post in served.posts if post.chunks]) >= count)
    return {post.path.split("/")[4]: post for post in served.posts if post.chunks}


@contextmanager
def web(*sent: Answer, source: str, env: Mapping[str, str] | None = None, **more: Any) -> Iterator[Serving]:
    """Serve with the packages that `make attach` has installed for web applications."""
    if not (SITES / "web" / ".done").exists():
        pytest.skip("run make attach: build/attach has no web")
    with serving(source, *sent, env={"PYTHONPATH": str(SITES / "web"), **(env or {})}, **more) as served:
        yield served


ASGI = """
import asyncio, contextvars, os, samovar

variable = contextvars.ContextVar("variable", default="fresh")
counts = {}
COUNT = 16

def together(path):
    '''Return what lets nobody go on until COUNT requests have come to a path.'''
    left, event = counts.setdefault(path, [COUNT, asyncio.Event()])
    counts[path][0] -= 1
    if counts[path][0] <= 0:
        event.set()
    return event.wait()

def said(*text):
    os.write(1, (" ".join(map(str, text)) + "\\n").encode())

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        said("start-up")
        scope["state"]["started"] = os.getpid()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        said("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    before = variable.get()
    variable.set(path)
    if path == "/late":
        try:
            await asyncio.Event().wait()
        finally:
            said("cleaned")
    await together(path.rpartition("/")[0])
    assert (await receive())["type"] == "http.request"
    if path == "/fails/3":
        raise LookupError(path)
    if path == "/exits/3":
        raise SystemExit(9)
    if path == "/odd/3":
        raise BaseException(path)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    ids = scope["aws.context"].aws_request_id, samovar.current().id
    text = " ".join((before, variable.get(), *ids))
    for part in text.encode(), b"", b" end":
        await send({"type": "http.response.body", "body": part, "more_body": True})
        await asyncio.sleep(0)
        if path == "/breaks/3":
            raise LookupError(path)
    await send({"type": "http.response.body"})
    assert (await receive())["type"] == "http.disconnect"
    if path.startswith("/after"):
        samovar.defer(said, "deferred", path)
        await asyncio.sleep(0.01)
        said("worked", path, samovar.current().id)
    if path == "/raises/3":
        raise LookupError("afterwards")
"""


def expected(number: int, path: str = "/{}") -> str:
    return f"fresh {path.format(number)} id-{number} id-{number} end"


def test_asgi_requests_are_in_flight_at_the_same_time_each_with_its_own_context() -> None:
    with serving(ASGI, *requests(16), count=16, handler="asgi:app:app") as served:
        answers = answered(served, 16)
        assert {name: answer["body"] for name, answer in answers.items()} == {
            f"id-{number}": expected(number) for number in range(16)
        }
        assert served.end() == -signal.SIGTERM
        assert [served.out.count(word) for word in ("start-up", "shutdown")] == [1, 1]


def test_asgi_streams_at_the_same_time_are_each_their_own() -> None:
    sent = requests(16, "/breaks/{}")
    with serving(ASGI, *sent, count=16, handler="asgi:app:app", env=STREAM) as served:
        posts = streams(served, 16)
        for number in range(16):
            post = posts[f"id-{number}"]
            _, _, body = post.body.partition(bytes(8))
            whole = expected(number, "/breaks/{}").encode()
            broken = dict(post.trailers).get("Lambda-Runtime-Function-Error-Type")
            if number == 3:
                assert (body, broken) == (whole.removesuffix(b" end"), "Function.LookupError")
            else:
                assert (body, broken) == (whole, None)


@pytest.mark.parametrize("env", [{}, STREAM], ids=["buffered", "streamed"])
@pytest.mark.parametrize("kind", ["fails", "odd", "raises"])
def test_a_request_that_fails_costs_nobody_else_anything(kind: str, env: dict[str, str]) -> None:
    sent = requests(16, f"/{kind}/{{}}")
    with serving(ASGI, *sent, count=16, handler="asgi:app:app", env=env) as served:
        served.wait_for(lambda: len([post for post in served.posts if "/invocation/" in post.path]) >= 16)
        posts = {post.path.split("/")[4]: post for post in served.posts if "/invocation/" in post.path}
        failed = posts.pop("id-3")
        for name, post in posts.items():
            whole = expected(int(name[3:]), f"/{kind}/{{}}")
            assert whole in post.body.decode()
        match kind:
            case "fails":
                assert b"Internal Server Error" in failed.body
            case "odd":
                assert failed.path.endswith("/error")
            case "raises":
                assert expected(3, "/raises/{}").encode() in failed.body
                served.wait_for_output(lambda out: "The application failed after its response" in out)
        served.wait_for(lambda: polls(served) >= 32)


@pytest.mark.parametrize("env", [{}, STREAM], ids=["buffered", "streamed"])
def test_an_application_that_exits_ends_the_environment_with_its_code(env: dict[str, str]) -> None:
    sent = requests(16, "/exits/{}")
    with serving(ASGI, *sent, count=16, handler="asgi:app:app", env=env) as served:
        assert served.process.wait(60) == 9
        posts = {post.path.split("/")[4] for post in served.posts if "/invocation/" in post.path}
        assert posts == {f"id-{number}" for number in range(16) if number != 3}


@pytest.mark.parametrize("env", [{}, STREAM], ids=["buffered", "streamed"])
def test_what_follows_a_response_belongs_to_its_invocation_and_comes_before_the_next(env: dict[str, str]) -> None:
    with serving(ASGI, *requests(16, "/after/{}"), count=16, handler="asgi:app:app", env=env) as served:
        served.wait_for(lambda: polls(served) >= 32)
        assert {line for line in served.out.splitlines() if line.startswith(("worked", "deferred"))} == {
            *(f"worked /after/{number} id-{number}" for number in range(16)),
            *(f"deferred /after/{number}" for number in range(16)),
        }
        for number in range(16):
            worked, deferred = f"worked /after/{number} ", f"deferred /after/{number}\n"
            assert served.out.index(worked) < served.out.index(deferred)


@pytest.mark.parametrize("env", [{}, STREAM], ids=["buffered", "streamed"])
def test_a_request_that_is_late_is_cancelled_and_no_other(env: dict[str, str]) -> None:
    late = request("/late", "late", deadline_ms=str(int((time.time() + 1) * 1000)))
    with serving(ASGI, *requests(16), late, count=17, handler="asgi:app:app", env=env) as served:
        served.wait_for(lambda: len([post for post in served.posts if "/invocation/" in post.path]) >= 17)
        posts = {post.path.split("/")[4]: post for post in served.posts if "/invocation/" in post.path}
        assert json.loads(posts["late"].body)["errorMessage"] == "cancelled: the invocation's time was nearly up"
        assert served.out.count("cleaned\n") == 1
        assert all(expected(number).encode() in posts[f"id-{number}"].body for number in range(16))


def test_an_answer_that_is_taken_no_longer_ends_its_application_only() -> None:
    source = """
import asyncio, os

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        for _ in range(5 if scope["path"] == "/short" else 10**9):
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
    except OSError as exc:
        os.write(1, f"told: {exc}\\n".encode())
        raise
    await send({"type": "http.response.body"})
"""
    with serving(source, count=4, handler="asgi:app:app", env=STREAM) as served:
        served.api.override("POST /2018-06-01/runtime/invocation/ID/response", Answer(b"no", 403, early=3))
        served.api.push(request("/endless", "endless"))
        served.wait_for_output(lambda out: "told: " in out)
        served.api.push(*(request("/short", f"short-{number}") for number in range(8)))
        posts = streams(served, 9)
        assert all(len(post.chunks) == 6 for name, post in posts.items() if name != "endless")
        served.wait_for(lambda: polls(served) >= 4 + 9)


@pytest.mark.parametrize("env", [{}, STREAM], ids=["buffered", "streamed"])
def test_at_sigterm_requests_end_within_the_time_left_or_are_cancelled(env: dict[str, str]) -> None:
    source = """
import asyncio, os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        os.write(1, b"shutdown\\n")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begins", "more_body": True})
    os.write(1, b"begun\\n")
    try:
        await asyncio.sleep(0.5 if scope["path"] == "/short" else 600)
    finally:
        os.write(1, f"{scope['path']} left\\n".encode())
    await send({"type": "http.response.body", "body": b" and ends"})
"""
    sent = request("/short", "short"), request("/long", "long")
    with serving(source, *sent, count=3, handler="asgi:app:app", env=env) as served:
        served.wait_for_output(lambda out: out.count("begun") == 2)
        assert served.end() == -signal.SIGTERM
        posts = {post.path.split("/")[4]: post for post in served.posts if "/invocation/" in post.path}
        assert b"begins and ends" in posts["short"].body
        assert served.out.count("shutdown\n") == 1
        assert served.out.index("/short left\n") < served.out.index("/long left\n")


WSGI = """
import os, threading, samovar
together = threading.Barrier(16, timeout=60)

def app(environ, start_response):
    number = int(environ["PATH_INFO"].rpartition("/")[2])
    together.wait()
    start_response("200 OK", [("Content-Type", "text/plain")])
    flags = environ["wsgi.multithread"], environ["wsgi.multiprocess"]

    class Body:
        def __iter__(self):
            yield f"{number} {samovar.current().id} {flags}".encode()
            if number == 3:
                raise LookupError("no such order")
        def close(self):
            os.write(1, f"closed {number} {samovar.current().id}\\n".encode())

    return Body()
"""


@pytest.mark.parametrize("env", [{}, STREAM], ids=["buffered", "streamed"])
def test_wsgi_requests_are_answered_and_closed_each_by_its_own_thread(env: dict[str, str]) -> None:
    with serving(WSGI, *requests(16), count=16, handler="wsgi:app:app", env=env) as served:
        served.wait_for(lambda: polls(served) >= 32)
        posts = {post.path.split("/")[4]: post.body for post in served.posts}
        failed = posts.pop("id-3")
        assert (b"3 id-3" if env else b"Internal Server Error") in failed
        for name, body in posts.items():
            assert f"{name[3:]} {name} (True, False)".encode() in body
        closed = [line for line in served.out.splitlines() if line.startswith("closed")]
        assert sorted(closed) == sorted(f"closed {number} id-{number}" for number in range(16))


def test_a_wsgi_application_is_told_that_there_are_other_processes() -> None:
    source = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str((environ["wsgi.multithread"], environ["wsgi.multiprocess"])).encode()]
"""
    modes = {"process": "(False, True)", "hybrid": "(True, True)", "thread": "(True, False)"}
    for mode, flags in modes.items():
        env = {"AWS_LAMBDA_CONCURRENCY_MODE": mode}
        with serving(source, *requests(1), count=2, handler="wsgi:app:app", env=env) as served:
            assert answered(served, 1)["id-0"]["body"] == flags
    with serving(source, *requests(1), handler="wsgi:app:app", one_at_a_time=True) as served:
        assert answered(served, 1)["id-0"]["body"] == "(False, False)"


FASTAPI = """
import asyncio, contextvars, os, threading, samovar
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware

@asynccontextmanager
async def lifespan(app):
    os.write(1, b"start-up\\n")
    yield {"pool": object()}
    os.write(1, b"shutdown\\n")

app = FastAPI(lifespan=lifespan)
user = contextvars.ContextVar("user", default=None)
left, everybody = 16, asyncio.Event()
threads = threading.Barrier(16, timeout=60)

def worked(name):
    os.write(1, f"worked {name} {samovar.current().id}\\n".encode())

async def worked_on(name):
    await asyncio.sleep(0.01)
    worked(name)

async def current_user(request: Request):
    user.set(request.headers["x-many"])
    return request.url.path

@app.get("/together/{item}")
async def item(item: int, request: Request, tasks: BackgroundTasks, path: str = Depends(current_user)):
    global left
    left -= 1
    if not left:
        everybody.set()
    await everybody.wait()
    tasks.add_task(worked_on, item)
    if item == 3:
        raise LookupError("no such order")
    return {"item": item, "path": path, "user": user.get(), "id": samovar.current().id,
            "pool": str(id(request.state.pool)), "state": request.state.seen}

@app.get("/threads/{item}")
def in_a_thread(item: int, tasks: BackgroundTasks):
    threads.wait()
    tasks.add_task(worked, item)
    return [item, samovar.current().id]

@app.get("/parts/{item}")
async def parts(item: int):
    async def stream():
        for at in range(3):
            yield f"{item}.{at} {samovar.current().id};"
            await asyncio.sleep(0)
    return StreamingResponse(stream(), media_type="text/plain")

class Middleware(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        request.state.seen = samovar.current().id
        response = await call_next(request)
        response.headers["x-seen"] = request.state.seen
        return response

app.add_middleware(Middleware)
app.add_middleware(GZipMiddleware, minimum_size=100000)
"""
FASTAPI = FASTAPI.replace("from starlette.middleware.sessions import SessionMiddleware\n", "")


def test_fastapi_serves_sixteen_at_once_with_middleware_and_background_tasks() -> None:
    with web(*requests(16, "/together/{}"), source=FASTAPI, count=16, handler="asgi:app:app") as served:
        answers = answered(served, 16)
        failed = answers.pop("id-3")
        assert (failed["statusCode"], failed["body"]) == (500, "Internal Server Error")
        pools = set()
        for name, answer in answers.items():
            body = json.loads(answer["body"])
            pools.add(body.pop("pool"))
            number = int(name[3:])
            assert body == {
                "item": number,
                "path": f"/together/{number}",
                "user": "one,two",
                "id": name,
                "state": name,
            }
            assert answer["headers"]["x-seen"] == name
        assert len(pools) == 1
        served.wait_for(lambda: polls(served) >= 32)
        assert {line for line in served.out.splitlines() if line.startswith("worked")} == {
            f"worked {number} id-{number}" for number in range(16) if number != 3
        }
        served.api.push(*requests(16, "/threads/{}"))
        answers = answered(served, 32)
        served.wait_for(lambda: polls(served) >= 48)
        assert served.end() == -signal.SIGTERM
        assert [served.out.count(word) for word in ("start-up", "shutdown")] == [1, 1]
        assert all(f"worked {number} id-{number}\n" in served.out for number in range(16))


def test_fastapi_streams_sixteen_at_once() -> None:
    sent = requests(16, "/parts/{}")
    with web(*sent, source=FASTAPI, count=16, handler="asgi:app:app", env=STREAM) as served:
        posts = streams(served, 16)
        for number in range(16):
            head, _, body = posts[f"id-{number}"].body.partition(bytes(8))
            assert json.loads(head)["headers"]["x-seen"] == f"id-{number}"
            assert body.decode() == "".join(f"{number}.{at} id-{number};" for at in range(3))


DJANGO = """
import asyncio, threading, django, samovar
from django.conf import settings
from django.core.signals import request_finished
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.utils import translation

settings.configure(
    SECRET_KEY="x",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="app",
    USE_I18N=True,
    LANGUAGES=[("en", "English"), ("de", "German"), ("fr", "French")],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:shared?mode=memory&cache=shared"}},
)
django.setup()
barrier = threading.Barrier(16, timeout=60)
left, everybody = 16, None
LANGUAGES = "en", "de", "fr"

def answer(item):
    from django.db import connection
    with connection.cursor() as cursor:
        cursor.execute("select %s", [item])
        value = cursor.fetchone()[0]
    language = translation.get_language()
    return JsonResponse({"item": item, "value": value, "id": samovar.current().id, "language": language})

def sync_view(request, item):
    translation.activate(LANGUAGES[item % 3])
    barrier.wait()
    return answer(item)

async def async_view(request, item):
    global left, everybody
    everybody = everybody or asyncio.Event()
    translation.activate(LANGUAGES[item % 3])
    left -= 1
    if not left:
        everybody.set()
    await everybody.wait()
    from asgiref.sync import sync_to_async
    return await sync_to_async(answer, thread_sensitive=item % 2 == 0)(item)

urlpatterns = [path("sync/<int:item>/", sync_view), path("async/<int:item>/", async_view)]

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

app = get_wsgi_application()
asgi = get_asgi_application()
"""


@pytest.mark.parametrize(
    ("handler", "path"), [("wsgi:app:app", "/sync/{}/"), ("asgi:app:asgi", "/async/{}/")], ids=["wsgi", "asgi"]
)
def test_django_serves_sixteen_at_once_over_both_interfaces(handler: str, path: str) -> None:
    with web(*requests(16, path), source=DJANGO, count=16, handler=handler) as served:
        answers = answered(served, 16)
        for number in range(16):
            assert json.loads(answers[f"id-{number}"]["body"]) == {
                "item": number,
                "value": number,
                "id": f"id-{number}",
                "language": ("en", "de", "fr")[number % 3],
            }
