"""What functions and agents do with the official client's modules: import them, and replace what is in them."""

from __future__ import annotations

import textwrap

from tests.contract.harness import Event, Outcome, Run
from tests.contract.table import Batch, Solo, app

BATCHES: list[Batch] = []

_EVENTS = (Event(b"1"), Event(b'"fail"'), Event(b'"bytes"'), Event(b"2"))
_HANDLER = """
import json, sys

from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_client import LambdaRuntimeClient

def handler(event, context):
    print("handler", event)
    if event == "fail":
        raise ValueError("failed")
    return b"bytes" if event == "bytes" else {"event": event}

"""
_ARGUMENTS = """
def shown(arguments):
    return [one(value) for value in arguments]

def one(value):
    if isinstance(value, dict):
        value.pop("stackTrace")
    if isinstance(value, str) and value.startswith("{"):
        return "JSON", json.loads(value)
    return value if isinstance(value, (str, bytes, dict, type(None))) else type(value)

"""
_REPLACED = """
original = bootstrap.handle_event_request

def replaced(client, request_handler, *args, **kwargs):
{}

bootstrap.handle_event_request = replaced
"""
_POST = """
original = LambdaRuntimeClient.{0}

def replaced(self, *args, **kwargs):
{1}

LambdaRuntimeClient.{0} = replaced
"""


def _run(source: str, events: tuple[Event, ...] = _EVENTS) -> Run:
    return Run(app(_HANDLER + _ARGUMENTS + textwrap.dedent(source)), events)


def _replaced(body: str, events: tuple[Event, ...] = _EVENTS) -> Run:
    """A function that replaces handle_event_request by one with this body."""
    return _run(_REPLACED.format(textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")), events)


def _post(body: str, *methods: str) -> Run:
    """A function that replaces posts by one with this body."""
    body = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    return _run("".join(_POST.format(method, body) for method in methods))


_RESULT, _ERROR, _INIT = "post_invocation_result", "post_invocation_error", "post_init_error"
_CALL = "original(client, request_handler, *args, **kwargs)"

_EVENT_REQUEST = {
    "calls": f"print('before'); {_CALL}; print('after')",
    "handler-wrapped": """
        def wrapped(event, context):
            try:
                return {"wrapped": request_handler(event, context)}
            except ValueError as exc:
                print("seen", exc)
                raise
        original(client, wrapped, *args, **kwargs)
    """,
    "handler-changed": "original(client, lambda event, context: ['changed', event], *args, **kwargs)",
    "catches-nothing": f"""
        try:
            {_CALL}
        except BaseException as exc:
            print("never", exc)
    """,
    "by-keyword": """
        names = ("invoke_id", "event_body", "content_type", "client_context_json", "cognito_identity_json",
            "invoked_function_arn", "epoch_deadline_time_in_ms", "tenant_id", "log_sink", "invocation_id")
        original(lambda_runtime_client=client, request_handler=request_handler, **dict(zip(names, args)))
    """,
    "event-changed": "original(client, request_handler, args[0], b'[\"changed\"]', *args[2:])",
    "event-changed-to-text": "original(client, request_handler, args[0], '[\"changed\"]', *args[2:])",
    "content-type-changed": """
        def wrapped(event, context):
            return repr(event)
        original(client, wrapped, args[0], args[1], "text/plain", *args[3:])
    """,
    "log-sink": f"args[8].log('to the sink\\n'); {_CALL}",
    "posts-result": "client.post_invocation_result(args[0], '\"posted\"', 'application/json', args[9])",
    "posts-result-of-another-type": "client.post_invocation_result(args[0], b'posted', 'text/plain')",
    "posts-bytes": "client.post_invocation_result(args[0], b'posted', 'application/unknown')",
    "posts-nothing": "print('nothing')",
    "exits": "sys.exit(3)",
}

_POSTED = {
    "calls": "print(shown(args), shown(kwargs.values())); original(self, *args, **kwargs); print('posted')",
    "changes": "original(self, args[0], '\"changed\"', *args[2:])",
    "changes-to-bytes": "original(self, args[0], b'\"changed\"', *args[2:])",
    "posts-nothing": "print('nothing')",
}

_NAMES = """
import copy, pickle
from importlib.util import find_spec

import awslambdaric
from awslambdaric import lambda_context, lambda_runtime_client, lambda_runtime_exception
from awslambdaric.lambda_runtime_log_utils import JsonFormatter
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller, to_json

print(awslambdaric.__version__, awslambdaric.bootstrap is bootstrap, JsonFormatter.__name__)
print(find_spec("awslambdaric") is None, find_spec("awslambdaric.nothing") is None)
print(hasattr(bootstrap, "handle_http_request"), hasattr(bootstrap, "nothing"))
print(bootstrap.make_error("message", "Type", None), bootstrap.LambdaContext is lambda_context.LambdaContext)
print(json.loads(to_json({"a": [1, 1.5, None]})), bootstrap._GLOBAL_AWS_REQUEST_ID)
print(LambdaMarshaller().unmarshal_request(b'{"a": 1}'), LambdaMarshaller().unmarshal_request(b"a", "b"))
print(LambdaMarshaller().marshal_response("a"), LambdaMarshaller().marshal_response(b"a"))
for name in "app.handler", "app.nothing", "nothing.handler", "sys.exit", "nodot":
    try:
        print(bootstrap._get_handler(name).__name__)
    except lambda_runtime_exception.FaultException as exc:
        print(exc.exception_type, exc.msg, exc.trace)
for call in (
    lambda: LambdaMarshaller().unmarshal_request(b"{"),
    lambda: LambdaMarshaller().marshal_response(object()),
):
    try:
        call()
    except lambda_runtime_exception.FaultException as exc:
        print(exc.exception_type)

def handler(event, context):
    made = lambda_context.LambdaContext(
        "id", {"client": {"app_title": "t"}, "custom": {"a": 1}, "w3c": {"baggage": "b", "c": "d"}},
        {"cognitoIdentityId": "i"}, 0, "arn", "tenant",
    )
    print(made, made.w3c(), made.get_remaining_time_in_millis())
    print(lambda_context.LambdaContext("id", None, None, 0))
    print(isinstance(context, lambda_context.LambdaContext))
    print(isinstance(context.identity, lambda_context.CognitoIdentity))
    print(isinstance(context.client_context, lambda_context.ClientContext))
    print(isinstance(context.client_context.client, lambda_context.Client))
    for twin in copy.copy(context), copy.deepcopy(context), pickle.loads(pickle.dumps(context)):
        print(twin, type(twin) is type(context), twin.w3c(), twin.get_remaining_time_in_millis() > 0)
    print(bootstrap._GLOBAL_AWS_REQUEST_ID, bootstrap._GLOBAL_TENANT_ID)
    raise lambda_runtime_exception.FaultException("My.Type", "message", ["trace"])
"""

_MARSHALLER = """
from awslambdaric.lambda_runtime_exception import FaultException
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller
"""
_MARSHALLERS = {
    "subclass": """
class Own(LambdaMarshaller):
    def marshal_response(self, response):
        text, kind = super().marshal_response(response)
        return (text, kind) if isinstance(text, bytes) else ('{"own": ' + text + "}", kind)
""",
    "content-type": """
class Own(LambdaMarshaller):
    def marshal_response(self, response):
        return repr(response), "text/plain"
""",
    "refuses-event": """
class Own(LambdaMarshaller):
    def unmarshal_request(self, request, content_type):
        raise FaultException(FaultException.UNMARSHAL_ERROR, "refused")
""",
    "fails": """
class Own(LambdaMarshaller):
    def marshal_response(self, response):
        raise TypeError("refused")
""",
}


def _posted_all(ours: list[Outcome]) -> bool:
    """Whether each event had its response, and the log says what failed."""
    calls = [outcome.post.call.rpartition("/")[2] for outcome in ours[1:]]
    logged = all(
        b"in the replacement" in outcome.stdout for outcome in ours[1:] if b"handler fail" not in outcome.stdout
    )
    return calls == ["response", "error", "response", "response"] and logged


def _untouched(ours: list[Outcome]) -> bool:
    return b"replaced" not in b"".join(outcome.stdout for outcome in ours) and _values(ours)


def _values(ours: list[Outcome]) -> bool:
    return ours[1].value == {"event": 1} and ours[2].value["errorMessage"] == "failed"


SOLOS = [
    *(Solo(f"attach-event-request-{name}", _replaced(body), urllib3=False) for name, body in _EVENT_REQUEST.items()),
    *(Solo(f"attach-posts-{name}", _post(body, _RESULT), urllib3=name == "calls") for name, body in _POSTED.items()),
    *(
        Solo(f"attach-posts-error-{name}", _post(body, _ERROR), urllib3=False)
        for name, body in _POSTED.items()
        if "changes" not in name
    ),
    Solo(
        "attach-event-request-arguments",
        _replaced(
            f"""
            print(len(args), kwargs, shown(args[:6]), shown(args[7:8]), shown(args[9:]))
            {_CALL}
            """,
            (
                Event(b'{"a": 1}'),
                Event(b"text", content_type="text/plain"),
                Event(b"[" + b" " * 300_000 + b"1]"),
                Event(
                    headers=(
                        ("Lambda-Runtime-Aws-Tenant-Id", "tenant"),
                        ("Lambda-Runtime-Client-Context", '{"custom": {"a": 1}}'),
                        ("Lambda-Runtime-Cognito-Identity", '{"cognitoIdentityId": "i"}'),
                        ("Lambda-Runtime-Invocation-Id", "invocation"),
                    )
                ),
            ),
        ),
        urllib3=False,
    ),
    Solo(
        "attach-event-request-twice",
        _run(
            "".join(
                f"""
def around(original):
    def replaced(client, request_handler, *args):
        print("{number} before")
        original(client, lambda event, context: [{number}, request_handler(event, context)], *args)
        print("{number} after")
    return replaced

bootstrap.handle_event_request = around(bootstrap.handle_event_request)
"""
                for number in (1, 2)
            )
        ),
        urllib3=False,
    ),
    Solo(
        "attach-in-an-event",
        Run(
            app(
                _HANDLER.replace("    print", "    import agent\n    print", 1),
            )
            | {
                "agent.py": textwrap.dedent("""
                    from awslambdaric import bootstrap
                    client, original = bootstrap.LambdaRuntimeClient, bootstrap.handle_event_request
                    result, error = client.post_invocation_result, client.post_invocation_error

                    def replaced(client, request_handler, *args):
                        print("before")
                        original(client, request_handler, *args)

                    bootstrap.handle_event_request = replaced
                    client.post_invocation_result = lambda *args: print("result") or result(*args)
                    client.post_invocation_error = lambda *args: print("error") or error(*args)
                """)
            },
            _EVENTS,
        ),
        urllib3=False,
    ),
    Solo(
        "attach-and-detach",
        _run("""
            from unittest import mock

            plain, count = handler, 0

            def handler(event, context):
                global count
                count += 1
                if count == 2:
                    patch.stop()
                return plain(event, context)

            original = bootstrap.handle_event_request
            around = lambda *args: print("around") or original(*args)
            patch = mock.patch.object(bootstrap, "handle_event_request", around)
            patch.start()
        """),
        urllib3=False,
    ),
    Solo(
        "attach-all-bases",
        _run("""
            from awslambdaric.lambda_runtime_client import BaseLambdaRuntimeClient
            original = BaseLambdaRuntimeClient.post_invocation_result
            BaseLambdaRuntimeClient.post_invocation_result = lambda *args: print("post") or original(*args)
        """),
        urllib3=False,
    ),
    Solo(
        "attach-init-error",
        _run(
            _POST.format(
                _INIT, "    print(shown([dict(args[0])]), kwargs, sys.exc_info()[0]); original(self, *args, **kwargs)"
            )
            + "raise LookupError('no table')",
        ),
        urllib3=False,
    ),
    Solo(
        "attach-init-error-no-handler",
        _run(
            _POST.format(
                _INIT, "    print(shown([dict(args[0])]), kwargs, sys.exc_info()[0]); original(self, *args, **kwargs)"
            )
            + "del handler",
        ),
        urllib3=False,
    ),
    Solo(
        "attach-init-error-type",
        _run(_POST.format(_INIT, "    original(self, args[0], 'Another.Type')") + "raise LookupError('no table')"),
        urllib3=False,
    ),
    Solo(
        "attach-names",
        _run(
            _NAMES,
            (
                Event(
                    headers=(
                        ("Lambda-Runtime-Aws-Tenant-Id", "tenant"),
                        ("Lambda-Runtime-Client-Context", '{"client": {"app_title": "t"}, "w3c": {"tracestate": "s"}}'),
                    )
                ),
            ),
        ),
    ),
    *(
        Solo(
            f"attach-marshaller-{name}",
            _run(f"{_MARSHALLER}\n{body}\nLambdaRuntimeClient.marshaller = Own()\n"),
            urllib3=False,
        )
        for name, body in _MARSHALLERS.items()
    ),
    Solo(
        "attach-fails-before",
        _replaced("raise LookupError('in the replacement')", _EVENTS[:1]),
        "attached-fails",
        lambda ours: ours[1].value["errorMessage"] == "in the replacement" and ours[-1].exit is None,
        urllib3=False,
    ),
    Solo(
        "attach-fails-after",
        _replaced(f"{_CALL}; raise LookupError('in the replacement')", _EVENTS[:1]),
        "attached-fails",
        lambda ours: ours[1].value == {"event": 1} and b"in the replacement" in ours[1].stdout,
        urllib3=False,
    ),
    Solo(
        "attach-post-fails",
        _post("raise LookupError('in the replacement')", _RESULT, _ERROR),
        "attached-fails",
        _posted_all,
        urllib3=False,
    ),
    Solo(
        "attach-post-fails-after",
        _post("original(self, *args, **kwargs); raise LookupError('in the replacement')", _RESULT),
        "attached-fails",
        _posted_all,
        urllib3=False,
    ),
    Solo(
        "attach-init-error-fails",
        _run(_POST.format(_INIT, "    raise KeyError('in the replacement')") + "raise LookupError('no table')"),
        "attached-fails",
        lambda ours: ours[0].value["errorMessage"] == "no table" and b"in the replacement" in ours[0].stdout,
        urllib3=False,
    ),
    *(
        Solo(f"attach-elsewhere-{name}", _run(source), "replaced-elsewhere", _untouched, urllib3=False)
        for name, source in {
            "to-json": "bootstrap.to_json = lambda value: '{}'",
            "log-error": "bootstrap.log_error = lambda *args: print('replaced')",
            "runtime-client": """
                import runtime_client
                runtime_client.post_invocation_result = lambda *args: print("replaced")
            """,
        }.items()
    ),
]
