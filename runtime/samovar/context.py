"""The context object that a handler receives, with the attributes that the official client's has.

Knows the invocation and the environment variables that describe the function; knows neither the loop nor the wire.
"""

import posix
import sys
from time import time

from samovar import codec
from samovar.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from samovar.invocation import Invocation

_TRACE_ID = b"_X_AMZN_TRACE_ID"
_W3C_FIELDS = ("traceparent", "tracestate", "baggage")
_FUNCTION = {
    b"AWS_LAMBDA_LOG_GROUP_NAME": "log_group_name",
    b"AWS_LAMBDA_LOG_STREAM_NAME": "log_stream_name",
    b"AWS_LAMBDA_FUNCTION_NAME": "function_name",
    b"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "memory_limit_in_mb",
    b"AWS_LAMBDA_FUNCTION_VERSION": "function_version",
}
_IDENTITY = {"cognito_identity_id": "cognitoIdentityId", "cognito_identity_pool_id": "cognitoIdentityPoolId"}


class LambdaContext:
    """The context of one invocation. See "Using the Lambda context object" in the developer guide."""

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

    def __init__(
        self,
        invoke_id: str,
        client_context: "dict[str, Any] | None",
        cognito_identity: "dict[str, Any] | None",
        epoch_deadline_time_in_ms: int,
        invoked_function_arn: "str | None" = None,
        tenant_id: "str | None" = None,
    ) -> None:
        """Make a context as the official class does. The runtime does not: `Contexts` is faster."""
        for variable, name in _FUNCTION.items():
            setattr(self, name, _decoded(posix.environ.get(variable)))
        self.aws_request_id = invoke_id
        self.invoked_function_arn = invoked_function_arn
        self.tenant_id = tenant_id
        self.client_context = None
        _set_client_context(self, client_context)
        identity = cognito_identity or {}
        self.identity = CognitoIdentity({name: identity.get(key) for name, key in _IDENTITY.items()})
        self._epoch_deadline_time_in_ms = epoch_deadline_time_in_ms

    def get_remaining_time_in_millis(self) -> int:
        """Return the time that this invocation has left.

        Returns:
            Milliseconds until its time-out; 0 once that has passed.
        """
        left = self._epoch_deadline_time_in_ms - int(time() * 1000)
        return left if left > 0 else 0

    def w3c(self) -> "dict[str, str]":
        """Return the W3C trace context of this invocation.

        Returns:
            `traceparent`, `tracestate` and `baggage`, as far as the caller sent them.
        """
        return dict(self._w3c_fields)

    def log(self, msg: object) -> None:
        """Write to the function's log.

        Args:
            msg: Written as it is, without level, time and line end.
        """
        get_logger = getattr(sys.modules.get("logging"), "getLogger", None)
        if get_logger is None:
            from samovar import logs

            logs.sink().log(str(msg))
            return
        for handler in get_logger().handlers:
            if hasattr(handler, "log_sink"):
                handler.log_sink.log(str(msg))
                return
        sys.stdout.write(str(msg))  # the user has replaced our handler

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
    """An object with named fields, None where the platform gave no value."""

    __slots__: "tuple[str, ...]" = ()

    def __init__(self, values: "Mapping[str, Any]" = {}) -> None:  # noqa: B006 (only read)
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
    """The mobile application that called, as its SDK describes it."""

    __slots__ = (  # noqa: RUF023 (repr shows them in the official client's order)
        "installation_id",
        "app_title",
        "app_version_name",
        "app_version_code",
        "app_package_name",
    )


class ClientContext(_Fields):
    """The client context that the caller sent: `custom`, `env` and `client`."""

    __slots__ = ("custom", "env", "client")  # noqa: RUF023 (the official client's order, as above)
    custom: "dict[str, Any] | None"
    env: "dict[str, Any] | None"
    client: "Any"


class Contexts:
    """The contexts of an environment's invocations: keeps what is the same in all of them. Not for two threads at once.

    set_trace_id: called with the trace id of each invocation.
    """

    __slots__ = ("_function", "_seen", "_set_trace_id")

    def __init__(self, set_trace_id: "Callable[[str | None], object] | None" = None) -> None:
        self._set_trace_id = set_trace_id or _set_trace_id
        self._seen: tuple[bytes | None, ...] = ()
        self._function: dict[str, str | None] = {}

    def begin(self, invocation: "Invocation") -> None:
        """Set the trace id and make the invocation's context.

        Raises Fault `Runtime.LambdaContextUnmarshalError` when deadline, client context or identity cannot be read.
        The invocation has a context even then, without what comes after the fault.
        """
        self._set_trace_id(invocation.trace_id)
        if self._seen != (values := tuple(map(posix.environ.get, _FUNCTION))):  # a handler may change them
            self._seen = values
            self._function = dict(zip(_FUNCTION.values(), map(_decoded, values), strict=True))
        identity = CognitoIdentity.__new__(CognitoIdentity)
        identity.cognito_identity_id = identity.cognito_identity_pool_id = None
        invocation.context = context = LambdaContext.__new__(LambdaContext)
        context.__dict__ = {
            "aws_request_id": invocation.id,
            **self._function,
            "invoked_function_arn": invocation.arn or "",
            "tenant_id": invocation.tenant_id,
            "_w3c_fields": {},
            "client_context": None,
            "identity": identity,
            "_epoch_deadline_time_in_ms": 0,
        }
        if raw := invocation.deadline_ms:
            context._epoch_deadline_time_in_ms = int(raw) if raw.isdecimal() else _milliseconds(raw)
        if raw := invocation.client_context:
            _set_client_context(context, _parse(raw, "Client Context"))
        if (raw := invocation.identity) and (parsed := _parse(raw, "Cognito Identity")) is not None:
            identity.cognito_identity_id = parsed.get("cognitoIdentityId")
            identity.cognito_identity_pool_id = parsed.get("cognitoIdentityPoolId")


def _set_client_context(context: LambdaContext, parsed: "Any") -> None:
    context._w3c_fields = _pop_w3c(parsed)
    if parsed is not None:
        context.client_context = ClientContext(parsed)
        if context.client_context.client is not None:
            context.client_context.client = Client(context.client_context.client)


def _set_trace_id(trace_id: "str | None") -> None:
    environ = posix.environ  # os.environ becomes a view of this dict when it is imported
    if not trace_id:
        if environ.pop(_TRACE_ID, None) is not None:
            posix.unsetenv(_TRACE_ID)
    elif environ.get(_TRACE_ID) != (encoded := trace_id.encode("utf-8", "surrogateescape")):
        environ[_TRACE_ID] = encoded
        posix.putenv(_TRACE_ID, encoded)


def _decoded(value: "bytes | None") -> "str | None":
    return None if value is None else value.decode(errors="surrogateescape")


def _milliseconds(raw: str) -> int:
    try:
        return int(float(raw))
    except (ValueError, OverflowError):
        raise Fault(
            "Runtime.LambdaContextUnmarshalError", f"Unable to parse Deadline: {raw!r} is not a number"
        ) from None


def _parse(raw: str, name: str) -> "Any":
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
