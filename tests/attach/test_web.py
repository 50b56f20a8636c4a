"""FastAPI, Flask and Django served by the runtime, beside Mangum and serverless-wsgi under AWS's client."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.attach.harness import AWS, OS_ONLY, Attached, Function, Recorded, Sent
from tests.contract.harness import CHECKOUT, Post
from tests.handler import events

FASTAPI = """
    import os
    import urllib.request
    from contextlib import asynccontextmanager

    from fastapi import BackgroundTasks, FastAPI, Request, Response
    from fastapi.responses import RedirectResponse, StreamingResponse
    from mangum import Mangum
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.middleware.gzip import GZipMiddleware

    def tell(what):
        urllib.request.urlopen(f"http://{os.environ['AT']}/{what}").close()

    @asynccontextmanager
    async def lifespan(app):
        tell("start-up")
        yield {"pool": "open"}
        tell("shutdown")

    app = FastAPI(lifespan=lifespan)

    @app.post("/echo/{item}")
    async def echo(item: str, request: Request):
        return {
            "item": item,
            "method": request.method,
            "query": sorted(request.query_params.multi_items()),
            "cookies": request.cookies,
            "body": (await request.body()).decode(),
            "many": ",".join(request.headers.getlist("x-many")).replace(", ", ","),
        }

    @app.get("/cookies")
    def cookies(response: Response):
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return "cookies"

    @app.get("/bytes")
    def octets():
        return Response(bytes(range(256)), media_type="application/octet-stream")

    @app.get("/text")
    def text():
        return Response("Grüße", media_type="text/plain")

    @app.get("/redirect")
    def redirect():
        return RedirectResponse("/text", 303)

    @app.get("/empty", status_code=204)
    def empty():
        return None

    @app.get("/parts")
    def parts():
        return StreamingResponse((part for part in ("a", "b", "c")), media_type="text/plain")

    @app.get("/fails")
    def fails():
        raise LookupError("no such order")

    @app.get("/work")
    def work(tasks: BackgroundTasks):
        tasks.add_task(tell, "worked")
        return "accepted"

    @app.get("/state")
    def state(request: Request):
        return request.state.pool

    class Middleware(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            response = await call_next(request)
            response.headers["x-middleware"] = "seen"
            return response

    app.add_middleware(Middleware)
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    handler = Mangum(app)
"""

PATHS = (
    "/cookies",
    "/bytes",
    "/text",
    "/redirect",
    "/empty",
    "/parts",
    "/fails",
    "/nothing",
    "/state",
    "/openapi.json",
)


def get(path: str, make: Callable[..., dict[str, Any]] = events.http_api, method: str = "GET") -> dict[str, Any]:
    """A request without a body."""
    event = make(body=None)
    if "rawPath" in event:
        event["rawPath"] = path
        event["requestContext"]["http"].update(method=method, path=path)
        event["rawQueryString"] = ""
    else:
        event["path"] = path
        event["httpMethod"] = method
        if "path" in event["requestContext"]:
            event["requestContext"]["path"] = f"/live{path}"
            event["pathParameters"] = {"proxy": path.removeprefix("/")}
        for name in ("queryStringParameters", "multiValueQueryStringParameters"):
            event[name] = None
    return event


REQUESTS: tuple[dict[str, Any], ...] = (
    *(get(path, make) for make in (events.http_api, events.rest_api, events.alb) for path in PATHS),
    {**get("/echo/café", events.http_api, "POST"), "body": "Grüße", "rawQueryString": events.QUERY},
    events.rest_api(path="/echo/caf%C3%A9"),
)


def function(source: str, handler: str, *sent: Any, **more: Any) -> Function:
    return Function(
        ("web",),
        {"app.py": source},
        sent,
        handler=handler,
        env={"AT": "RECORDER"},
        **more,
    )


def answers(recorded: Recorded) -> list[Any]:
    posts = [post for post in recorded.posts if not post.path.startswith("/2020-01-01/extension")]
    assert all(post.path.endswith("/response") for post in posts), recorded.output
    assert "without being closed" not in recorded.output  # wsgiref's validator
    return [plain(value(post.body)) for post in posts]


def value(exact: Any) -> Any:
    """The value of a document in the form of the contract: pairs for objects, numbers as they are written."""
    match exact:
        case ("object", pairs):
            return {name: value(member) for name, member in pairs}
        case ("int", digits):
            return int(digits)
        case list():
            return [value(item) for item in exact]
    return exact


def plain(answer: Mapping[str, Any]) -> Any:
    """What the client gets of an answer, whichever of its forms says so."""
    body = answer.get("body", "").encode()
    headers: dict[str, list[str]] = {}
    for name, text in answer.get("headers", {}).items():
        headers.setdefault(name.lower(), []).append(text)  # cookies in several spellings
    for name, values in answer.get("multiValueHeaders", {}).items():
        headers[name.lower()] = values
    headers.setdefault("set-cookie", answer.get("cookies", []))
    return (
        answer["statusCode"],
        {name: values for name, values in sorted(headers.items()) if values},
        base64.b64decode(body) if answer.get("isBase64Encoded") else body,
    )


@pytest.fixture
def served(attached: Attached) -> Callable[..., tuple[Recorded, Recorded]]:
    """What an application did under an adapter and AWS's client, and under Samovar."""

    def run(source: str, name: str, *sent: Any) -> tuple[Recorded, Recorded]:
        theirs = attached(function(source, "app.handler", *sent), AWS)
        return theirs, attached(function(source, name, *sent), OS_ONLY)

    return run


def test_fastapi_answers_as_under_mangum(served: Any) -> None:
    theirs, ours = served(FASTAPI, "asgi:app:app", *REQUESTS)
    differ = []
    for event, one, other in zip(REQUESTS, answers(theirs), answers(ours), strict=True):
        if one != other:
            differ.append(event.get("rawPath") or event["requestContext"].get("path") or event["path"])
    # Mangum gives an answer without a content type one, to an HTTP API, and does not know a REST API's stage.
    assert differ == ["/redirect", "/live/openapi.json"]


def test_a_background_task_runs_after_the_response_and_start_up_once(served: Any) -> None:
    theirs, ours = served(FASTAPI, "asgi:app:app", get("/work"), get("/work"))
    assert order(theirs) == ["start-up", "worked", "shutdown", "posted"] * 2
    assert order(ours) == ["start-up", "posted", "worked", "posted", "worked"]


def order(recorded: Recorded) -> list[str]:
    return [
        entry.call.rpartition("/")[2] if isinstance(entry, Sent) else "posted"
        for entry in recorded.journal
        if isinstance(entry, Sent) or (isinstance(entry, Post) and entry.path.endswith("/response"))
    ]


def test_the_pages_of_fastapis_documentation_open_behind_a_stage(served: Any) -> None:
    event = events.http_api(body=None, rawPath="/live/docs")
    event["requestContext"]["stage"] = "live"
    event["requestContext"]["http"]["method"] = "GET"
    _, ours = served(FASTAPI, "asgi:app:app", event, get("/docs", events.rest_api), get("/docs"))
    for (status, _, body), url in zip(
        answers(ours), ("/live/openapi.json", "/live/openapi.json", "/openapi.json"), strict=True
    ):
        assert status == 200
        assert f"url: '{url}'".encode() in body


def test_fastapi_streams_behind_a_middleware_and_works_on_after_the_last_chunk(attached: Attached) -> None:
    paths = ("/parts", "/text", "/empty", "/fails", "/work", "/parts")
    sent = [get(path, events.function_url) for path in paths]
    streamed = function(FASTAPI, "asgi:app:app", *sent)
    recorded = attached(replace(streamed, env={**streamed.env, "SAMOVAR_RESPONSE_MODE": "stream"}), OS_ONLY)
    parts = [post.body.partition(bytes(8)) for post in recorded.posts if post.path.endswith("/response")]
    assert [body for _, _, body in parts] == [
        b"abc",
        "Grüße".encode(),
        b"",
        b"Internal Server Error",
        b'"accepted"',
        b"abc",
    ]
    heads = [json.loads(head) for head, _, _ in parts]
    assert [head["statusCode"] for head in heads] == [200, 200, 204, 500, 200, 200]
    assert [head["headers"].get("x-middleware") for head in heads] == ["seen", "seen", "seen", None, "seen", "seen"]
    assert "content-length" not in heads[1]["headers"]
    assert order(recorded) == ["start-up", *["posted"] * 5, "worked", "posted"]


FLASK = """
    import os
    import urllib.request
    from wsgiref.validate import validator

    import serverless_wsgi
    from flask import Flask, Response, after_this_request, jsonify, redirect, request

    app = Flask(__name__)

    def tell(what):
        urllib.request.urlopen(f"http://{os.environ['AT']}/{what}").close()

    @app.route("/echo/<item>", methods=["GET", "POST"])
    def echo(item):
        return jsonify(
            item=item,
            method=request.method,
            query=sorted(request.args.items(multi=True)),
            cookies=request.cookies,
            body=request.get_data(as_text=True),
        )

    @app.get("/cookies")
    def cookies():
        response = Response("cookies")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    @app.get("/bytes")
    def octets():
        return Response(bytes(range(256)), mimetype="application/octet-stream")

    @app.get("/text")
    def text():
        return Response("Grüße", mimetype="text/plain")

    @app.get("/redirect")
    def redirected():
        return redirect("/text", 303)

    @app.get("/empty")
    def empty():
        return "", 204

    @app.get("/parts")
    def parts():
        return Response((part for part in ("a", "b", "c")), mimetype="text/plain")

    @app.get("/fails")
    def fails():
        raise LookupError("no such order")

    @app.get("/work")
    def work():
        response = Response("accepted")
        response.call_on_close(lambda: tell("worked"))
        return response

    def handler(event, context):
        return serverless_wsgi.handle_request(app, event, context)

    checked = validator(app)

    def validated(environ, start_response):
        # Flask gives a 204 a content type, which the validator refuses.
        return (app if environ["PATH_INFO"] == "/empty" else checked)(environ, start_response)
"""
WSGI_PATHS = ("/cookies", "/bytes", "/text", "/redirect", "/empty", "/parts", "/fails", "/nothing")
WSGI_REQUESTS: tuple[dict[str, Any], ...] = (
    *(get(path, make) for make in (events.http_api, events.rest_api, events.alb) for path in WSGI_PATHS),
    {**events.rest_api(), "path": "/echo/a"},
    {**events.http_api(), "rawPath": "/echo/a"},
)


def test_flask_answers_as_under_serverless_wsgi(served: Any) -> None:
    theirs, ours = served(FLASK, "wsgi:app:validated", *WSGI_REQUESTS)
    for event, one, other in zip(WSGI_REQUESTS, answers(theirs), answers(ours), strict=True):
        assert one == other, event


def test_what_flask_calls_on_close_runs_after_the_response(served: Any) -> None:
    theirs, ours = served(FLASK, "wsgi:app:validated", get("/work"))
    assert order(theirs) == ["posted"]  # serverless-wsgi never calls close()
    assert order(ours) == ["posted", "worked"]


DJANGO = """
    import django
    from django.conf import settings
    from django.http import HttpResponse, JsonResponse
    from django.urls import path, reverse

    settings.configure(
        SECRET_KEY="x",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="app",
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    )
    django.setup()

    def echo(request, item):
        return JsonResponse({
            "item": item,
            "method": request.method,
            "path": request.path,
            "reversed": reverse("echo", args=["b"]),
            "host": request.get_host(),
            "url": request.build_absolute_uri(),
            "query": sorted(request.GET.lists()),
            "cookies": request.COOKIES,
            "body": request.body.decode(),
        })

    def cookies(request):
        response = HttpResponse("cookies")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    urlpatterns = [path("echo/<item>/", echo, name="echo"), path("cookies/", cookies)]

    from wsgiref.validate import validator

    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application

    app = validator(get_wsgi_application())
    asgi = get_asgi_application()
"""


@pytest.mark.parametrize("handler", ["wsgi:app:app", "asgi:app:asgi"])
def test_django_answers_over_both_interfaces(attached: Attached, handler: str) -> None:
    staged = events.http_api(rawPath="/live/echo/a/")
    staged["requestContext"]["stage"] = "live"
    rest = events.rest_api(path="/echo/a/")
    rest["requestContext"]["path"] = "/live/echo/a/"
    sent = (staged, rest, get("/cookies/"), get("/cookies", events.function_url), get("/nothing/"))
    recorded = attached(function(DJANGO, handler, *sent), OS_ONLY)
    made = answers(recorded)
    for _, _, body in made[:2]:
        echoed = json.loads(body)
        assert (echoed["item"], echoed["method"], echoed["body"]) == ("a", "POST", "Grüße")
        assert (echoed["path"], echoed["reversed"]) == ("/live/echo/a/", "/live/echo/b/")
        assert echoed["cookies"] == {"a": "1", "b": "2"}
        assert dict(echoed["query"])["repeat"] == ["one", "two"]
        assert dict(echoed["query"])["encoded"] == ["a+b"]
    assert [made[2][0], made[2][1]["set-cookie"]] == [200, ["a=1; Path=/", "b=2; Path=/"]]
    assert [made[3][0], made[3][1]["location"]] == [301, ["/cookies/"]]
    assert made[4][0] == 404


def test_the_example_with_flask_is_valid_wsgi(attached: Attached) -> None:
    example = (CHECKOUT / "handlers" / "shop_wsgi.py").read_text(encoding="utf-8")
    checked = "from wsgiref.validate import validator\nimport shop_wsgi\napp = validator(shop_wsgi.app)\n"
    sent = get("/orders", events.function_url, "POST"), {"source": "aws.events"}
    shop = Function(("web",), {"shop_wsgi.py": example, "app.py": checked}, sent, "wsgi:app:app,shop_wsgi.restock")
    recorded = attached(shop, OS_ONLY)
    order, stock = (value(post.body) for post in recorded.posts)
    assert (order["statusCode"], json.loads(order["body"])) == (201, {"item": "samovar", "left": 2})
    assert stock == {"samovar": 3}
    assert "without being closed" not in recorded.output
