"""The context object that a handler receives, attribute for attribute that of the official client.

Knows the headers of /next and the environment variables that describe the function; knows neither the loop nor the
wire.
"""

import posix
import sys
from time import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_W3C_FIELDS = ("traceparent", "tracestate", "baggage")
_FUNCTION = {
    b"AWS_LAMBDA_LOG_GROUP_NAME": "log_group_name",
    b"AWS_LAMBDA_LOG_STREAM_NAME": "log_stream_name",
    b"AWS_LAMBDA_FUNCTION_NAME": "function_name",
    b"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "memory_limit_in_mb",
    b"AWS_LAMBDA_FUNCTION_VERSION": "function_version",
}


class LambdaContext:
    """What an invocation knows of itself. See "Using the Lambda context object" in the developer guide."""

    aws_request_id: str
    log_group_name: "str | None"
    log_stream_name: "str | None"
    function_name: "str | None"
    memory_limit_in_mb: "str | None"
    function_version: "str | None"
    invoked_function_arn: "str | None"
    tenant_id: "str | None"
    client_context: "ClientContext | None"
    identity: "CognitoIdentity"
    _epoch_deadline_time_in_ms: int
    _w3c_fields: "dict[str, str]"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the platform ends this invocation; 0 once it is past."""
        left = self._epoch_deadline_time_in_ms - int(time() * 1000)
        return left if left > 0 else 0

    def w3c(self) -> "dict[str, str]":
        """The W3C trace context of this invocation: traceparent, tracestate, baggage where given."""
        return dict(self._w3c_fields)

    def log(self, msg: object) -> None:
        """Writes msg to the function's log as it is, with no level and no line end of its own."""
        logging = sys.modules.get("logging")
        if logging is None:
            from samovar import logs

            logs.sink().log(str(msg))
            return
        for handler in logging.getLogger().handlers:
            if hasattr(handler, "log_sink"):
                handler.log_sink.log(str(msg))
                return
        sys.stdout.write(str(msg))  # the user has put other handlers in place of ours

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}(["
            f"aws_request_id={self.aws_request_id},"
            f"log_group_name={self.log_group_name},"
            f"log_stream_name={self.log_stream_name},"
            f"function_name={self.function_name},"
            f"memory_limit_in_mb={self.memory_limit_in_mb},"
            f"function_version={self.function_version},"
            f"invoked_function_arn={self.invoked_function_arn},"
            f"client_context={self.client_context},"
            f"identity={self.identity},"
            f"tenant_id={self.tenant_id}"
            "])"
        )


class _Fields:
    """An object of named fields, None where the platform gave none."""

    __slots__: "tuple[str, ...]" = ()

    def __init__(self, values: "Mapping[str, Any]") -> None:
        for name in self.__slots__:
            setattr(self, name, values.get(name))

    def __repr__(self) -> str:
        fields = ",".join(f"{name}={getattr(self, name)}" for name in self.__slots__)
        return f"{self.__class__.__name__}([{fields}])"


class CognitoIdentity(_Fields):
    """The Amazon Cognito identity that authorised the call."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")
    cognito_identity_id: "str | None"
    cognito_identity_pool_id: "str | None"


class Client(_Fields):
    """The mobile client, as its SDK described itself."""

    __slots__ = (  # noqa: RUF023 (repr shows them in the official client's order)
        "installation_id",
        "app_title",
        "app_version_name",
        "app_version_code",
        "app_package_name",
    )


class ClientContext(_Fields):
    """What the caller sent as client context: `custom`, `env` and `client`."""

    __slots__ = ("custom", "env", "client")  # noqa: RUF023 (the official client's order, as above)
    custom: "dict[str, Any] | None"
    env: "dict[str, Any] | None"
    client: "Any"


def factory() -> "Callable[[Mapping[str, str], str], LambdaContext]":
    """The function that begins an invocation: it makes the context and lets `current` give it."""
    variable = posix.environ.get
    seen: tuple[bytes | None, ...] = ()
    function: dict[str, str | None] = {}
    new = LambdaContext.__new__

    def begin(headers: "Mapping[str, str]", request_id: str) -> LambdaContext:
        """headers: those of the answer to /next, names in lower case.

        Raises Fault `Runtime.LambdaContextUnmarshalError` when client context or identity is not JSON; the
        invocation has begun then.
        """
        global _current, _newest
        nonlocal seen, function
        if seen != (values := tuple(map(variable, _FUNCTION))):  # a handler may change them
            seen = values
            function = dict(zip(_FUNCTION.values(), map(_decoded, values), strict=True))
        identity = CognitoIdentity.__new__(CognitoIdentity)
        identity.cognito_identity_id = identity.cognito_identity_pool_id = None
        tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        _newest = request_id, tenant_id
        _current = context = new(LambdaContext)
        context.__dict__ = {
            "aws_request_id": request_id,
            **function,
            "invoked_function_arn": headers.get("lambda-runtime-invoked-function-arn", ""),
            "tenant_id": tenant_id,
            "_w3c_fields": {},
            "client_context": None,
            "identity": identity,
            "_epoch_deadline_time_in_ms": 0,
        }
        if raw := headers.get("lambda-runtime-deadline-ms"):
            context._epoch_deadline_time_in_ms = int(raw) if raw.isdecimal() else _milliseconds(raw)
        if raw := headers.get("lambda-runtime-client-context"):
            parsed = _parse(raw, "Client Context")
            context._w3c_fields = _pop_w3c(parsed)
            if parsed is not None:
                context.client_context = ClientContext(parsed)
                if context.client_context.client is not None:
                    context.client_context.client = Client(context.client_context.client)
        if raw := headers.get("lambda-runtime-cognito-identity"):
            parsed = _parse(raw, "Cognito Identity")
            if parsed is not None:
                identity.cognito_identity_id = parsed.get("cognitoIdentityId")
                identity.cognito_identity_pool_id = parsed.get("cognitoIdentityPoolId")
        return context

    return begin


def _decoded(value: "bytes | None") -> "str | None":
    return None if value is None else value.decode(errors="surrogateescape")


def _milliseconds(raw: str) -> int:
    from samovar.fault import Fault

    try:
        return int(float(raw))
    except (ValueError, OverflowError):
        raise Fault(
            "Runtime.LambdaContextUnmarshalError", f"Unable to parse Deadline: {raw!r} is not a number"
        ) from None


def _parse(raw: str, name: str) -> "Any":
    from samovar import codec
    from samovar.fault import Fault

    try:
        return codec.loads(raw.encode("utf-8", "surrogateescape"))
    except Exception as exc:
        raise Fault("Runtime.LambdaContextUnmarshalError", f"Unable to parse {name} JSON: {exc}") from None


def _pop_w3c(values: "Any") -> "dict[str, str]":
    if not isinstance(values, dict):
        return {}
    fields = values.pop("w3c", None)
    if not isinstance(fields, dict):
        return {}
    return {name: value for name in _W3C_FIELDS if isinstance(value := fields.get(name), str)}


_current: "LambdaContext | None" = None
_newest: "tuple[str, str | None]" = "", None


def current() -> "LambdaContext | None":
    """Return the context of the invocation in flight, from any thread; None during INIT and between invocations."""
    return _current


def newest() -> "tuple[str, str | None]":
    """Return the request id and the tenant id that log records have: those of the invocation in flight, or of the one
    before, as a thread may go on between two.
    """
    return _newest


def end() -> None:
    """End the invocation in flight, after the work that waits for its response."""
    global _current
    _current = None
