"""Mangum's interface over Samovar, for Mangum's own tests.

Each call is an environment of its own, as Mangum runs the lifespan around each. What has another form is put into
Mangum's here, and events get what those of AWS have: tests/suites/differences.py says under SHIMS what that is. Options
that Samovar has no counterpart of are taken, and do nothing.
"""

from __future__ import annotations

from typing import Any

from environments import answer

from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from mangum.exceptions import ConfigurationError, LifespanFailure
from samovar.errors import Fault


class Mangum:
    def __init__(
        self,
        app: Any,
        lifespan: str = "auto",
        api_gateway_base_path: str = "/",
        custom_handlers: Any = None,
        text_mime_types: list[str] | None = None,
        exclude_headers: list[str] | None = None,
    ) -> None:
        if lifespan not in ("auto", "on", "off"):
            raise ConfigurationError("Invalid argument supplied for `lifespan`. Choices are: auto|on|off")
        self.app = app
        self.lifespan = lifespan
        self.config = {
            "api_gateway_base_path": api_gateway_base_path,
            "text_mime_types": text_mime_types or list(DEFAULT_TEXT_MIME_TYPES),
            "exclude_headers": exclude_headers or [],
        }

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        asserted: list[AssertionError] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            try:
                await self.app(in_mangums_form(scope, event, context), receive, send)
            except AssertionError as exc:
                if scope["type"] == "http":
                    asserted.append(exc)  # what the test's application asserts, Samovar answers with 500
                raise

        try:
            made = answer("asgi", app, as_on_aws(event))
        except Fault as exc:
            if exc.error_type == "Runtime.StartupFailed":
                raise LifespanFailure(exc.message) from None
            raise
        if asserted:
            raise asserted[0]
        made.pop("statusDescription", None)
        if "httpMethod" in event and "elb" not in event["requestContext"]:
            made.setdefault("multiValueHeaders", {})
        return made


def as_on_aws(event: dict[str, Any]) -> dict[str, Any]:
    if "httpMethod" not in event:
        return event
    whole = {"resource": event["path"], **event}
    if whole["resource"] == "/{proxy+}":
        whole["pathParameters"] = {"proxy": event["path"].removeprefix("/")}
    elif isinstance(whole.get("pathParameters"), str):
        whole["pathParameters"] = None
    return whole


def in_mangums_form(scope: dict[str, Any], event: dict[str, Any], context: Any) -> dict[str, Any]:
    if scope["type"] != "http":
        return scope
    assert type(scope["raw_path"]) is bytes
    return {
        **scope,
        "asgi": {**scope["asgi"], "spec_version": "2.0"},
        "raw_path": None,
        "headers": [list(pair) for pair in scope["headers"]],
        "aws.event": event,
        "aws.context": context,
    }


__all__ = ["Mangum"]
