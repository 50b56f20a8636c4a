"""Starlette's test client with Lambda in between: requests become events, which the runtime answers.

A pytest plugin, for Starlette's own tests. Each request of a client goes into a recording Runtime API over a real
socket; what is posted there becomes the client's response. SUITE_SOURCE names the event source.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import posix
import sys
import types
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

import httpx2 as httpx
import pytest
import starlette.testclient

from samovar import aio, handler, hooks, loop
from samovar.environment import environment
from samovar.handler.sources import alb, function_url, http_api, rest_api
from samovar.local.testing.scripted_api import Answer, ScriptedRuntimeApi, invocation
from samovar.runtime_api import ApiError, RuntimeClient

RESPONSE = "POST /2018-06-01/runtime/invocation/ID/response"
SOURCES = {"function_url": function_url, "http_api": http_api, "rest_api": rest_api, "alb": alb}
SOURCE = os.environ["SUITE_SOURCE"]
STREAMED = posix.environ.get(b"SAMOVAR_RESPONSE_MODE") == b"stream"


def event_of(request: httpx.Request, client: str, root_path: str) -> dict[str, Any]:
    """Return the request as the event source sends it. root_path: the stage."""
    path, _, query = request.url.raw_path.decode().partition("?")
    lists: dict[str, list[str]] = {}
    for name, value in request.headers.multi_items():
        lists.setdefault(name, []).append(value)
    lists.setdefault("x-forwarded-proto", [request.url.scheme])
    event: dict[str, Any] = {"body": base64.b64encode(request.read()).decode(), "isBase64Encoded": True}
    if SOURCE in ("function_url", "http_api"):
        domain = "abc.lambda-url.eu-west-1.on.aws" if SOURCE == "function_url" else request.url.host
        http = {"method": request.method, "path": unquote(path), "sourceIp": client}
        return event | {
            "version": "2.0",
            "rawPath": path if SOURCE == "function_url" else unquote(path),
            "rawQueryString": query,
            "headers": {name: ",".join(values) for name, values in lists.items() if name != "cookie"},
            "cookies": [cookie for value in lists.get("cookie", ()) for cookie in value.split("; ")],
            "requestContext": {"domainName": domain, "stage": root_path.strip("/") or "$default", "http": http},
        }
    parameters: dict[str, list[str]] = {}
    if SOURCE == "rest_api":
        for name, value in parse_qsl(query, keep_blank_values=True):
            parameters.setdefault(name, []).append(value)
        context: dict[str, Any] = {"path": path, "identity": {"sourceIp": client}, "domainName": request.url.host}
        path = path.removeprefix(root_path.rstrip("/"))
    else:
        for pair in filter(None, query.split("&")):
            name, _, value = pair.partition("=")
            parameters.setdefault(name, []).append(value)
        lists.setdefault("x-forwarded-for", [client])
        context = {"elb": {"targetGroupArn": "arn"}}
    return event | {
        "httpMethod": request.method,
        "path": path,
        "resource": "/{proxy+}",
        "pathParameters": {"proxy": path.removeprefix("/")},
        "headers": {name: values[-1] for name, values in lists.items()},
        "multiValueHeaders": lists,
        "multiValueQueryStringParameters": parameters,
        "requestContext": context,
    }


def response_of(posted: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body of what has been posted: a JSON document, or a prelude and the body."""
    if STREAMED:
        head, nuls, body = posted.partition(bytes(8))
        assert nuls == bytes(8)
        answer = json.loads(head)
    else:
        answer = json.loads(posted)
        body = answer["body"].encode()
        if answer["isBase64Encoded"]:
            body = base64.b64decode(body)
    headers = list(answer.get("headers", {}).items())
    headers += [(name, value) for name, values in answer.get("multiValueHeaders", {}).items() for value in values]
    return answer["statusCode"], headers + [("set-cookie", cookie) for cookie in answer.get("cookies", ())], body


class EventTransport(httpx.BaseTransport):
    """Answers requests as Lambda does, and raises what the application has raised, as the original does."""

    def __init__(self, app: Any, client: tuple[str, int], root_path: str, raises: bool, original: Any) -> None:
        self.app = app
        self.client = client
        self.root_path = root_path
        self.raises = raises
        self.original = original
        self.raised: list[Exception] = []
        self.entered = False
        self.handle: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" and not self.entered:
            raise NotImplementedError  # a client that is not entered runs none
        try:
            await self.app(scope, receive, send)
        except Exception as exc:
            self.raised.append(exc)
            raise

    def load(self) -> None:
        code: Any = types.ModuleType("event_client_code")
        code.app = self
        sys.modules["event_client_code"] = code
        self.handle = handler.load("asgi:event_client_code:app")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme in ("ws", "wss"):
            return self.original.handle_request(request)
        if self.handle is None:
            self.load()
        event = event_of(request, self.client[0], self.root_path)
        assert SOURCES[SOURCE].means(event)
        self.raised.clear()
        with ScriptedRuntimeApi(invocation(event), Answer(status=500)) as api:
            runtime = RuntimeClient(api.address)
            with pytest.raises(ApiError, match="/next: status 500"):
                loop.serve(runtime, self.handle)
            runtime._transport.close()  # type: ignore[attr-defined]
            (post,) = [each for each in api.posted() if not each.path.startswith("/2020-01-01/extension")]
        environment.invocation = None
        if self.raised and self.raises:
            raise self.raised[0]
        assert post.call == RESPONSE, post.body
        status, headers, body = response_of(post.body)
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body), request=request)


class EventClient(starlette.testclient.TestClient):
    def __init__(
        self,
        app: Any,
        base_url: str = "http://testserver",
        raise_server_exceptions: bool = True,
        root_path: str = "",
        client: tuple[str, int] = ("testclient", 50000),
        **more: Any,
    ) -> None:
        super().__init__(app, base_url, raise_server_exceptions, root_path, client=client, **more)
        self._transport: Any = EventTransport(self.app, client, root_path, raise_server_exceptions, self._transport)

    def __enter__(self) -> Self:
        self._transport.entered = True
        self._transport.load()
        return self

    def __exit__(self, *exc_info: object) -> None:
        while environment.shutdown_hooks:
            environment.shutdown_hooks.pop()()


starlette.testclient.TestClient = EventClient  # type: ignore[misc]


@pytest.fixture(autouse=True)
def lambda_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An environment of its own for each test."""
    hooks.forget()
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "")
    monkeypatch.setattr(aio, "_event_loop", None)
    for name in ("after_response", "at_fork", "shutdown_hooks"):
        monkeypatch.setattr(environment, name, list(getattr(environment, name)))
    event_loop = asyncio.new_event_loop()
    asyncio.set_event_loop(event_loop)
    yield
    for task in asyncio.all_tasks(event_loop):
        task.cancel()
    event_loop.run_until_complete(asyncio.sleep(0))
    event_loop.run_until_complete(event_loop.shutdown_default_executor())
    event_loop.close()
    asyncio.set_event_loop(None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what sends no request through a client, and trio."""
    ours = [
        item
        for item in items
        if {"test_client_factory", "file_response_client"} & set(getattr(item, "fixturenames", ()))
        and "trio" not in item.nodeid.partition("[")[2]
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in ours])
    items[:] = ours
