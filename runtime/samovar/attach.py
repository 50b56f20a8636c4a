"""What agents and functions expect of AWS's client: `awslambdaric`, and `bootstrap` as an attribute of `__main__`.

Imported when one of them is looked for. Sentry and its kind replace functions of the official `bootstrap` module, and
methods of its LambdaRuntimeClient: here is something to replace, and what they put there is called as the official
client calls it. Nothing here is on an event's way until then.
"""

import posix
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
    from collections.abc import Callable, Iterable
    from types import ModuleType
    from typing import Any

    from samovar.environment import Post
    from samovar.handler import Handle
    from samovar.runtime_api import StreamFailure
else:
    ModuleType = type(sys)

VERSION = "4.2.2"  # of the official client, whose names and signatures these are
_JSON = "application/json"
_COROUTINE = 0x80  # inspect.CO_COROUTINE


# --- the official names


class FaultException(Fault):
    """A failure with a type of its own, as the official client raises it."""

    MARSHAL_ERROR = "Runtime.MarshalError"
    UNMARSHAL_ERROR = "Runtime.UnmarshalError"
    USER_CODE_SYNTAX_ERROR = "Runtime.UserCodeSyntaxError"
    HANDLER_NOT_FOUND = "Runtime.HandlerNotFound"
    IMPORT_MODULE_ERROR = "Runtime.ImportModuleError"
    BUILT_IN_MODULE_CONFLICT = "Runtime.BuiltInModuleConflict"
    MALFORMED_HANDLER_NAME = "Runtime.MalformedHandlerName"
    BEFORE_SNAPSHOT_ERROR = "Runtime.BeforeSnapshotError"
    AFTER_RESTORE_ERROR = "Runtime.AfterRestoreError"
    LAMBDA_CONTEXT_UNMARSHAL_ERROR = "Runtime.LambdaContextUnmarshalError"
    LAMBDA_RUNTIME_CLIENT_ERROR = "Runtime.LambdaRuntimeClientError"

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
            raise FaultException(FaultException.UNMARSHAL_ERROR, f"Unable to unmarshal input: {exc}") from None

    def marshal_response(self, response: "Any") -> "tuple[str | bytes, str]":
        if isinstance(response, bytes):
            return response, "application/unknown"
        try:
            return to_json(response), _JSON
        except Exception as exc:
            raise FaultException(FaultException.MARSHAL_ERROR, f"Unable to marshal response: {exc}") from None


def to_json(obj: "Any") -> str:
    return codec.dumps(obj).decode()


class _Replaceable(type):
    """A class that tells when one of its attributes is replaced."""

    def __setattr__(cls, name: str, value: "Any") -> None:
        super().__setattr__(name, value)
        _take_part()


class LambdaRuntimeClient(metaclass=_Replaceable):
    """The class whose methods agents replace. An object serves one event, or one post.

    client: the true one. posted: whether something has been posted, or tried. stream: posts the response, where it is
    streamed; result_data is empty then.
    """

    marshaller: "Any" = LambdaMarshaller()
    stream: "Callable[[], None] | None" = None

    def __init__(self, client: RuntimeClient, invocation: "Any" = None, error_type: str = "") -> None:
        self.client = client
        self.invocation = invocation
        self.error_type = error_type
        self.posted = False

    def post_invocation_result(
        self, invoke_id: str, result_data: "bytes | str", content_type: str = _JSON, invocation_id: "str | None" = None
    ) -> None:
        self.posted = True
        if self.stream is not None:
            return self.stream()
        _respond(self.client, self.invocation, _encoded(result_data), None if content_type == _JSON else content_type)

    def post_invocation_error(
        self, invoke_id: str, error_response_data: "bytes | str", xray_fault: str, invocation_id: "str | None" = None
    ) -> None:
        self.posted = True
        body = _encoded(error_response_data)
        error_type = self.error_type or codec.loads(body)["errorType"]
        _fail(self.client, self.invocation, body, error_type, _encoded(xray_fault))

    def post_init_error(self, error_response_data: "dict[str, Any]", error_type_override: "str | None" = None) -> None:
        self.posted = True
        error_type = error_type_override or error_response_data["errorType"]
        _fail_init(self.client, codec.dumps(error_response_data), error_type)


_respond, _fail, _fail_init = RuntimeClient.respond, RuntimeClient.fail, RuntimeClient.fail_init
_stream = RuntimeClient.stream


def _encoded(data: "bytes | str") -> bytes:
    return data.encode() if isinstance(data, str) else data


def handle_event_request(
    lambda_runtime_client: "_Event",
    request_handler: "Callable[[Any, Any], Any]",
    invoke_id: str,
    event_body: "bytes | str",
    content_type: "str | None",
    client_context_json: "str | None",
    cognito_identity_json: "str | None",
    invoked_function_arn: "str | None",
    epoch_deadline_time_in_ms: "str | None",
    tenant_id: "str | None",
    log_sink: "Any",
    invocation_id: "str | None" = None,
) -> None:
    """Call the handler for one event, and post its response or its failure, which does not get out."""
    event = lambda_runtime_client
    invocation = event.invocation
    invocation.event, invocation.content_type = _encoded(event_body), content_type
    del event_body
    outcome: bytes | Response | BaseException | None
    try:
        outcome = _adapt(request_handler)(invocation)
    except BaseException as exc:
        if not is_failure(exc):
            raise
        outcome = exc
    event.posted = True
    event.post(invocation, outcome)


def _adapt(request_handler: "Callable[[Any, Any], Any]") -> "Handle":
    """Return a function of event and context as a handler, with the marshaller that is there now."""
    marshaller = LambdaRuntimeClient.marshaller
    if type(marshaller) is LambdaMarshaller:
        return function.adapt(request_handler)

    def handle(invocation: Invocation) -> "bytes | Response":
        content_type = _JSON if invocation.content_type is None else invocation.content_type
        event = marshaller.unmarshal_request(bytes(invocation.take_event()), content_type)
        data, content_type = marshaller.marshal_response(request_handler(event, invocation.context))
        return _encoded(data) if content_type == _JSON else Response(_encoded(data), content_type)

    return handle


def _get_handler(handler: str) -> "Any":
    """Return the function that a handler string names."""
    try:
        return function.find(handler)
    except Fault as exc:
        raise FaultException(exc.error_type, exc.message, exc.trace) from exc.__cause__


def register_pre_fork(func: "Callable[[], Any]") -> "Callable[[], Any]":
    """Have a function called once before invocations at the same time; some 4.x of the official client had this."""
    if posix.environ.get(b"AWS_LAMBDA_MAX_CONCURRENCY"):
        environment.at_init_end.append(func)
    return func


# --- the runtime's side


class _Event(LambdaRuntimeClient):
    """What handle_event_request gets. post: posts a response or a failure as the loop does."""

    def __init__(self, client: RuntimeClient, invocation: Invocation, post: "Post") -> None:
        super().__init__(client, invocation)
        self.post = post


def attach(handle: "Handle", client: RuntimeClient, post: "Post") -> "Handle":
    """Return a handler that goes the way of AWS's client, where something has been put there; else the same one."""
    request_handler = getattr(handle, "function", None)
    replaced = (
        bootstrap.handle_event_request is not handle_event_request
        or type(LambdaRuntimeClient.marshaller) is not LambdaMarshaller
    )
    if request_handler is None or not replaced:
        return handle
    if getattr(getattr(request_handler, "__code__", None), "co_flags", 0) & _COROUTINE:
        request_handler = _awaited(request_handler)

    def attached(invocation: Invocation) -> None:
        event = _Event(client, invocation, post)
        try:
            bootstrap.handle_event_request(
                event,
                request_handler,
                invocation.id,
                bytes(invocation.take_event()),
                invocation.content_type,
                invocation.client_context,
                invocation.identity,
                invocation.arn,
                invocation.deadline_ms,
                invocation.tenant_id,
                logs.sink(),
                invocation.invocation_id,
            )
        except Exception as exc:
            if not event.posted:
                raise
            logs.exception("What replaces handle_event_request failed", exc)

    attached.__wrapped__ = handle  # type: ignore[attr-defined]  # says whether it is async
    return attached


def _awaited(coroutine_function: "Callable[[Any, Any], Any]") -> "Callable[[Any, Any], Any]":
    """Return a plain function, so that an agent around it sees the result and the failure."""
    from samovar import aio

    return lambda event, context: aio.run(coroutine_function(event, context))


def _attached_respond(
    self: RuntimeClient, invocation: Invocation, body: bytes, content_type: "str | None" = None
) -> None:
    call = LambdaRuntimeClient(self, invocation)
    data = body.decode() if content_type is None else body
    arguments = invocation.id, data, content_type or _JSON, invocation.invocation_id
    _post(call, "post_invocation_result", arguments, lambda: _respond(self, invocation, body, content_type))


def _attached_stream(
    self: RuntimeClient,
    invocation: Invocation,
    chunks: "Iterable[bytes]",
    content_type: str,
    failed: "Callable[[], StreamFailure]",
    wait: "Callable[[int], None] | None",
) -> None:
    call = LambdaRuntimeClient(self, invocation)
    call.stream = lambda: _stream(self, invocation, chunks, content_type, failed, wait)
    arguments = invocation.id, b"", content_type, invocation.invocation_id
    _post(call, "post_invocation_result", arguments, call.stream)


def _attached_fail(
    self: RuntimeClient, invocation: Invocation, body: bytes, error_type: str, xray_cause: bytes
) -> None:
    call = LambdaRuntimeClient(self, invocation, error_type)
    arguments = invocation.id, body.decode(), xray_cause.decode(), invocation.invocation_id
    _post(call, "post_invocation_error", arguments, lambda: _fail(self, invocation, body, error_type, xray_cause))


def _attached_fail_init(self: RuntimeClient, body: bytes, error_type: str) -> None:
    call = LambdaRuntimeClient(self)
    error = codec.loads(body)
    arguments = (error,) if error["errorType"] == error_type else (error, error_type)
    _post(call, "post_init_error", arguments, lambda: _fail_init(self, body, error_type))


def _post(call: LambdaRuntimeClient, method: str, arguments: "tuple[Any, ...]", plain: "Callable[[], None]") -> None:
    """Post by a method that may have been replaced; if that fails before it has posted, by `plain`."""
    try:
        getattr(call, method)(*arguments)
    except ApiError:
        raise
    except Exception as exc:
        if not call.posted:
            plain()
        logs.exception(f"What replaces LambdaRuntimeClient.{method} failed", exc)


def _take_part() -> None:
    """Let what has been replaced take part from now on: in the posts, and in each event that the loop hands out."""
    if environment.attach is None:
        environment.attach = attach
        environment.after_response.append(_stay)
        RuntimeClient.respond = _attached_respond  # type: ignore[method-assign]
        RuntimeClient.stream = _attached_stream  # type: ignore[method-assign]
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


def _module(kind: type[ModuleType], name: str, *members: "Any") -> ModuleType:
    module = kind(f"awslambdaric.{name}")
    module.__dict__.update({member.__name__: member for member in members})
    return module


bootstrap: "Any" = _module(
    _Bootstrap,
    "bootstrap",
    FaultException,
    LambdaContext,
    LambdaRuntimeClient,
    _get_handler,
    handle_event_request,
    to_json,
)
_runtime_client = _module(_StandIn, "lambda_runtime_client", LambdaRuntimeClient, FaultException, to_json)
_runtime_client.__dict__["BaseLambdaRuntimeClient"] = LambdaRuntimeClient
_runtime_client.__dict__["LambdaMultiConcurrentRuntimeClient"] = LambdaRuntimeClient
_STAND_INS = {
    module.__name__: module
    for module in (
        bootstrap,
        _runtime_client,
        _module(_StandIn, "lambda_concurrency_hooks", register_pre_fork),
        _module(_StandIn, "lambda_context", LambdaContext, CognitoIdentity, Client, ClientContext),
        _module(_StandIn, "lambda_runtime_exception", FaultException),
        _module(_StandIn, "lambda_runtime_marshaller", LambdaMarshaller, FaultException, to_json),
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


class _PackageLoader:
    """The loader of the package, which then has the stand-ins as attributes: AWS's client has imported its modules."""

    def __init__(self, loader: "Any") -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module.__dict__.update({name.rpartition(".")[2]: stand_in for name, stand_in in _STAND_INS.items()})


def find_spec(name: str, path: "Any", target: "ModuleType | None") -> "ModuleSpec | None":
    """Return where `awslambdaric`, or a module of it, comes from; None where the import system has to look."""
    if name in _STAND_INS:
        return ModuleSpec(name, _Loader(_STAND_INS[name]))  # type: ignore[arg-type]
    if name != "awslambdaric":
        return None
    spec = _others(name, path, target) or ModuleSpec(name, _Loader(_package), is_package=True)  # type: ignore[arg-type]
    spec.loader = _PackageLoader(spec.loader)  # type: ignore[assignment]
    return spec


def _others(name: str, path: "Any", target: "ModuleType | None" = None) -> "ModuleSpec | None":
    """Return what the finders find, without the one that asks here."""
    for finder in sys.meta_path:
        find = None if getattr(finder, "__name__", "") == "samovar.alias" else getattr(finder, "find_spec", None)
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
