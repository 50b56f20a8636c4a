"""apig-wsgi's interface over Samovar, for apig-wsgi's own tests.

Each call is an environment of its own. What has another form is put into apig-wsgi's here, and events get what those of
AWS have: tests/suites/differences.py says under SHIMS what that is. Options that Samovar has no counterpart of are
taken, and do nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from environments import answer

_ExcInfoType = Any


def make_lambda_handler(
    wsgi_app: Any, binary_support: bool | None = None, non_binary_content_type_prefixes: Any = None
) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        def app(environ: Any, start_response: Any) -> Any:
            environ["apig_wsgi.context"] = context
            environ["apig_wsgi.full_event"] = event
            environ["apig_wsgi.request_context"] = environ["aws.event"]["requestContext"]
            return wsgi_app(environ, start_response)

        whole = {"resource": event["path"], "requestContext": {}, **event} if "httpMethod" in event else event
        return in_their_form(event, answer("wsgi", app, whole))

    return handler


def in_their_form(event: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    made.pop("statusDescription", None)
    headers, several = made.pop("headers", {}), made.pop("multiValueHeaders", {})
    if event.get("version") == "2.0":
        return {"cookies": [], **made, "headers": {name.lower(): value for name, value in headers.items()}}
    if "multiValueHeaders" in event:
        return {**made, "multiValueHeaders": {**{name: [value] for name, value in headers.items()}, **several}}
    return {**made, "headers": headers}
