"""What agents and functions expect of AWS's client: `awslambdaric`, and `bootstrap` as an attribute of `__main__`.

Imported when one of them is looked for. Sentry and its kind replace functions of the official `bootstrap` module, and
methods of its LambdaRuntimeClient: here is something to replace, and what they put there is called as the official
client calls it. Nothing here is on an event's way until then.
"""

import sys
from _frozen_importlib import ModuleSpec, module_from_spec

from samovar import codec, logs
from samovar.context import Client, ClientContext, CognitoIdentity, LambdaContext
from samovar.environment import environment
from samovar.errors import Fault, is_failure
from samovar.handler import function
from samovar.invocation import Invocation
from samovar.response import Response
from samovar.runtime_api import ApiError, RuntimeClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from samovar.handler import Handle
else:
    ModuleType = type(sys)

VERSION = "4.2.2"  # of the official client, whose names and signatures these are
_JSON = "application/json"


# --- the official names


class FaultException(Fault):
    """A failure with a type of its own, as the official client raises it."""

    def __init__(self, exception_type: str, msg: str, trace: "list[str] | None" = None) -> None:
        super().__init__(exception_type, msg, trace)
        self.exception_type = exception_type
        self.msg = msg


class LambdaMarshaller:
    """Events and results to and from JSON. One of the function's own in LambdaRuntimeClient.marshaller is used."""

    def unmarshal_request(self, request: "bytes | memoryview", content_type: "str | None" = _JSON) -> "Any":
        if content_type not in (None, _JSON):
            return bytes(request)
        try:
            return codec.loads(bytes(request))
        except Exception as exc:
            raise FaultException("Runtime.UnmarshalError", f"Unable to unmarshal input: {exc}") from None

    def marshal_response(self, response: "Any") -> "tuple[str | bytes, str]":
        if isinstance(response, bytes):
            return response, "application/unknown"
        try:
            return to_json(response), _JSON
        except Exception as exc:
            raise FaultException("Runtime.MarshalError", f"Unable to marshal response: {exc}") from None


def to_json(obj: "Any") -> str:
    return codec.dumps(obj).decode()


class _Replaceable(type):
    """A class that tells when one of its attributes is replaced."""

    def __setattr__(cls, name: str, value: "Any") -> None:
        super().__setattr__(name, value)
        _take_part()


class LambdaRuntimeClient(metaclass=_Replaceable):
    """The class whose methods agents replace. An object serves one call: an event, or a post to the Runtime API."""

    marshaller: "Any" = LambdaMarshaller()

    def __init__(self, invocation: "Invocation | None" = None, post: "Callable[..., None] | None" = None) -> None:
        self.invocation = invocation
        self._post = post
        self.response: bytes | Response = b""
        self.failure: BaseException | None = None

    def post_invocation_result(
        self, invoke_id: str, result_data: "bytes | str", content_type: str = _JSON, invocation_id: "str | None" = None
    ) -> None:
        self._send(_encoded(result_data), None if content_type == _JSON else content_type)

    def post_invocation_error(
        self, invoke_id: str, error_response_data: str, xray_fault: str, invocation_id: "str | None" = None
    ) -> None:
        self._send(_encoded(error_response_data), _encoded(xray_fault))

    def post_init_error(self, error_response_data: "dict[str, Any]", error_type_override: "str | None" = None) -> None:
        self._send(codec.dumps(error_response_data), error_type_override or error_response_data["errorType"])

    def _send(self, *arguments: "Any") -> None:
        if self._post is not None:
            post, self._post = self._post, None
            post(*arguments)


def _encoded(data: "bytes | str") -> bytes:
    return data.encode() if isinstance(data, str) else data


def handle_event_request(
    lambda_runtime_client: LambdaRuntimeClient,
    request_handler: "Callable[[Any, Any], Any]",
    invoke_id: str,
    event_body: "Any",
    content_type: "str | None" = None,
    *_: "Any",
    **__: "Any",
) -> None:
    """Call the handler for one event. As in the official client, no failure of the handler gets out; the loop reports
    it, and posts the response.
    """
    call = lambda_runtime_client
    invocation = call.invocation
    assert invocation is not None
    try:
        marshaller = LambdaRuntimeClient.marshaller
        if type(marshaller) is LambdaMarshaller:
            call.response = function.adapt(request_handler)(invocation)
        else:
            event = marshaller.unmarshal_request(bytes(invocation.take_event()), content_type or _JSON)
            data, kind = marshaller.marshal_response(request_handler(event, invocation.context))
            call.response = _encoded(data) if kind == _JSON else Response(_encoded(data), kind)
    except BaseException as exc:
        if not is_failure(exc):
            raise
        call.failure = exc


# --- the runtime's side


def attach(handle: "Handle") -> "Handle":
    """Return a handler that goes the way of AWS's client, where something has been put there; else the same one."""
    user_function = getattr(handle, "function", None)
    replaced = (
        bootstrap.handle_event_request is not handle_event_request
        or type(LambdaRuntimeClient.marshaller) is not LambdaMarshaller
    )
    if user_function is None or not replaced:
        return handle

    def attached(invocation: Invocation) -> "bytes | Response":
        call = LambdaRuntimeClient(invocation)
        bootstrap.handle_event_request(
            call,
            user_function,
            invocation.id,
            invocation.event,
            invocation.content_type,
            invocation.client_context,
            invocation.identity,
            invocation.arn,
            invocation.deadline_ms,
            invocation.tenant_id,
            logs.sink(),
            invocation.invocation_id,
        )
        if call.failure is not None:
            raise call.failure
        return call.response

    return attached


_respond, _fail, _fail_init = RuntimeClient.respond, RuntimeClient.fail, RuntimeClient.fail_init


def _attached_respond(
    self: RuntimeClient, invocation: Invocation, body: bytes, content_type: "str | None" = None
) -> None:
    call = LambdaRuntimeClient(invocation, lambda body, kind: _respond(self, invocation, body, kind))
    arguments = invocation.id, body, content_type or _JSON, invocation.invocation_id
    _post(call, "post_invocation_result", arguments, (body, content_type))


def _attached_fail(
    self: RuntimeClient, invocation: Invocation, body: bytes, error_type: str, xray_cause: bytes
) -> None:
    call = LambdaRuntimeClient(invocation, lambda body, cause: _fail(self, invocation, body, error_type, cause))
    arguments = invocation.id, body.decode(), xray_cause.decode(), invocation.invocation_id
    _post(call, "post_invocation_error", arguments, (body, xray_cause))


def _attached_fail_init(self: RuntimeClient, body: bytes, error_type: str) -> None:
    call = LambdaRuntimeClient(None, lambda body, kind: _fail_init(self, body, kind))
    _post(call, "post_init_error", (codec.loads(body),), (body, error_type))


def _post(call: LambdaRuntimeClient, method: str, arguments: "tuple[Any, ...]", plain: "tuple[Any, ...]") -> None:
    """Post through the method that something has replaced. If that fails, or does not post, post what is plain."""
    try:
        getattr(call, method)(*arguments)
    except ApiError:
        raise
    except Exception as exc:
        logs.exception(f"What replaces LambdaRuntimeClient.{method} failed", exc)
    call._send(*plain)


def _take_part() -> None:
    """Let what has been replaced take part from now on: in the posts, and in each event that the loop hands out."""
    if environment.attach is None:
        environment.attach = attach
        environment.after_response.append(_stay)
        RuntimeClient.respond = _attached_respond  # type: ignore[method-assign]
        RuntimeClient.fail = _attached_fail  # type: ignore[method-assign]
        RuntimeClient.fail_init = _attached_fail_init  # type: ignore[method-assign]


def _stay() -> None:
    """Do nothing: the loop asks for `environment.attach` where there is work after a response."""


# --- the modules


class _StandIn(ModuleType):
    """A module that comes before the official one. A name that is missing here is the official one's, where it is."""

    def __getattr__(self, name: str) -> "Any":
        # Sentry asks for handle_http_request to tell Python 3.6.
        if name[:2] != "__" and name != "handle_http_request" and (official := _official(self.__name__)):
            return getattr(official, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _Bootstrap(_StandIn):
    """The module that agents replace things in."""

    def __getattr__(self, name: str) -> "Any":
        match name:
            case "_GLOBAL_AWS_REQUEST_ID":
                return environment.log_ids[0] or None
            case "_GLOBAL_TENANT_ID":
                return environment.log_ids[1]
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: "Any") -> None:
        super().__setattr__(name, value)
        if name == "handle_event_request":
            _take_part()


def _module(kind: type[ModuleType], name: str, *members: "Any", **named: "Any") -> ModuleType:
    module = kind(f"awslambdaric.{name}")
    module.__dict__.update({member.__name__: member for member in members}, **named)
    return module


bootstrap: "Any" = _module(
    _Bootstrap,
    "bootstrap",
    FaultException,
    LambdaContext,
    LambdaRuntimeClient,
    handle_event_request,
    to_json,
    _get_handler=function.find,
)
_STAND_INS = {
    module.__name__: module
    for module in (
        bootstrap,
        _module(_StandIn, "lambda_context", LambdaContext, CognitoIdentity, Client, ClientContext),
        _module(_StandIn, "lambda_runtime_client", LambdaRuntimeClient, to_json),
        _module(_StandIn, "lambda_runtime_exception", FaultException),
        _module(_StandIn, "lambda_runtime_marshaller", LambdaMarshaller, to_json),
    )
}
_package = ModuleType("awslambdaric")  # where there is no official one
_package.__dict__.update(__version__=VERSION, __path__=[])
_officials: dict[str, ModuleType | None] = {}


class _Loader:
    """Gives the import system a module that is there already."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def create_module(self, spec: "ModuleSpec") -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        pass


def find_spec(name: str, path: "Any", target: "ModuleType | None") -> "ModuleSpec | None":
    """Return where `awslambdaric`, or a module of it, comes from; None where the import system has to look."""
    if name in _STAND_INS:
        return ModuleSpec(name, _Loader(_STAND_INS[name]))  # type: ignore[arg-type]
    if name == "awslambdaric":
        return _others(name, path, target) or ModuleSpec(name, _Loader(_package), is_package=True)  # type: ignore[arg-type]
    return None


def _others(name: str, path: "Any", target: "ModuleType | None" = None) -> "ModuleSpec | None":
    """Return what the finders find, without the one that asks here."""
    for finder in sys.meta_path:
        find = None if type(finder).__module__ == "samovar.alias" else getattr(finder, "find_spec", None)
        if find is not None and (spec := find(name, path, target)) is not None:
            found: ModuleSpec = spec
            return found
    return None


def _official(name: str) -> "ModuleType | None":
    """Return the official module, beside the stand-in in its place; None where there is none."""
    if name not in _officials:
        import awslambdaric

        spec = _others(name, awslambdaric.__path__)
        module = _officials[name] = None if spec is None else module_from_spec(spec)
        if module is not None:
            module.__loader__.exec_module(module)  # type: ignore[union-attr]
    return _officials[name]
