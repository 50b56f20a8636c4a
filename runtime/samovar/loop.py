"""The runtime: INIT, then next → handle → respond → after-response work, for ever. Read this first.

Knows the Runtime API client, the handler and the codec; knows nothing of the wire below, nor of the cache or
companion that a function may use.
"""

import posix
import sys
from _signal import ITIMER_REAL, getitimer, setitimer  # type: ignore[import-not-found]

from samovar import api, codec, context, handler, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

running = False
_reserve: "list[Any]" = []  # memory and a descriptor
_RESERVED = 1 << 22  # bytes of address space, never touched: what a report imports needs less
_UNTOLD = (
    b'{"errorMessage":"The failure cannot be described","errorType":"Runtime.Unknown","requestId":"","stackTrace":[]}'
)
_TRACE_ID = b"_X_AMZN_TRACE_ID"


def run(handler_name: "str | None" = None) -> "NoReturn":
    """Runs the environment until the platform ends it. handler_name: in place of `_HANDLER`.

    Exits 1 after a failure in INIT, or when the Runtime API does not answer as it must; SystemExit and signals keep
    their own code.
    """
    global running
    name = handler_name or _variable(b"_HANDLER", "the handler, as MODULE.FUNCTION (or give it as an argument)")
    address = _variable(b"AWS_LAMBDA_RUNTIME_API", "host:port of the Runtime API; Lambda and the RIE set it")
    try:
        client = api.RuntimeApi(address)
    except ValueError as exc:
        _die(f"AWS_LAMBDA_RUNTIME_API: {exc}" if "address" in str(exc) else str(exc))
    running = True
    posix.register_at_fork(after_in_child=lambda: _forked(client))
    try:
        serve(client, initialise(client, name))
    except api.ApiError as exc:
        _die(str(exc))
    finally:
        if (hooks := sys.modules.get("samovar.hooks")) is not None:
            hooks.shut_down()


def _forked(client: api.RuntimeApi) -> None:
    """Makes of a child that the function forked a process of its own: events and answers, deferred work and shutdown
    hooks are the parent's.
    """
    global running
    running = False
    client.disown()
    if (hooks := sys.modules.get("samovar.hooks")) is not None:
        hooks.forget()


def initialise(client: api.RuntimeApi, name: str) -> handler.Handler:
    """INIT: logging, the handler's import, what it asked to be warmed. A failure is logged, posted to /init/error
    and ends the process.
    """
    import gc

    logs.install()
    _hold_reserve()
    gc.freeze()  # what is there already, none of it the function's: no collection needs to walk it
    try:
        if posix.environ.get(b"SAMOVAR_LAZY_IMPORTS"):
            _lazy_imports()
        found = handler.load(name)
        if (hooks := sys.modules.get("samovar.hooks")) is not None:
            hooks.run_warm()
            if hooks.wants_shutdown():
                client.register_extension()
    except BaseException as exc:
        if not handler.is_failure(exc):
            raise
        if isinstance(exc, MemoryError):
            _give_up_reserve()
        _report(exc, "", lambda body, error_type, xray_cause: client.fail_init(body, error_type))
        sys.exit(1)
    _stop_alarm()
    return found


def serve(client: api.RuntimeApi, found: handler.Handler) -> "NoReturn":
    """Every invocation from now on."""
    call, raw = found.call, found.raw
    next_event, respond = client.next, client.respond
    loads, dumps, settle = codec.loads, codec.dumps, codec.settle
    begin, end, values, run = context.factory(), context.end, handler.VALUES, handler.run_coroutine
    modules = sys.modules
    environ, putenv = posix.environ, posix.putenv  # os.environ is a view of this dict, whenever it is imported
    nothing: Any = None
    while True:
        request_id, headers, body = next_event()
        get = headers.get
        trace_id = get("lambda-runtime-trace-id")
        if not trace_id:
            if environ.pop(_TRACE_ID, None) is not None:
                posix.unsetenv(_TRACE_ID)
        elif environ.get(_TRACE_ID) != (encoded := trace_id.encode("utf-8", "surrogateescape")):
            environ[_TRACE_ID] = encoded
            putenv(_TRACE_ID, encoded)
        invocation_id = get("lambda-runtime-invocation-id") or None
        try:
            invocation = begin(headers, request_id)
            content_type = "application/json"
            if raw:
                result = call(bytes(body), invocation)
            else:
                if get("content-type", content_type) == content_type:
                    try:
                        event = loads(body)
                    except Exception as exc:
                        raise handler.fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {exc}") from None
                else:
                    event = bytes(body)
                del body
                result = call(event, invocation)
                del event
                if type(result) not in values:
                    if hasattr(type(result), "__await__"):
                        result = run(result)
                    if isinstance(result, bytes):
                        content_type = "application/unknown"
                if content_type == "application/json":
                    try:
                        result = dumps(result)
                    except Exception as exc:
                        raise handler.fault("Runtime.MarshalError", f"Unable to marshal response: {exc}") from None
            if "signal" in modules:
                _stop_alarm()
        except BaseException as exc:
            if not handler.is_failure(exc):
                raise
            _fail(client, request_id, invocation_id, exc)
        else:
            try:
                respond(request_id, result, content_type, invocation_id)
            except api.NotTaken as exc:
                _undelivered(client, request_id, invocation_id, exc, len(result))
        # Nothing of an invocation, failed or not, stays in memory while the environment waits for the next.
        headers = get = body = invocation = event = result = nothing
        if (hooks := modules.get("samovar.hooks")) is not None:
            hooks.after_response()
            if "signal" in modules:
                _stop_alarm()
        end()
        settle()


def _stop_alarm() -> None:
    """Cancel an alarm that the function has left behind: it would go off in the next invocation, or while the runtime
    waits for it. A timer with an interval stays.
    """
    delay, interval = getitimer(ITIMER_REAL)
    if delay and not interval:
        setitimer(ITIMER_REAL, 0)


def _fail(client: api.RuntimeApi, request_id: str, invocation_id: "str | None", exc: BaseException) -> None:
    """Report the failure of one invocation. The environment lives on, unless the failure says otherwise."""
    if isinstance(exc, MemoryError):
        _give_up_reserve()
    _stop_alarm()
    try:
        _report(exc, request_id, _poster(client, request_id, invocation_id))
    except api.NotTaken as refused:
        logs.write("ERROR", f"The error of this invocation was not acknowledged: {refused}")
    _hold_reserve()
    fault = sys.modules.get("samovar.fault")
    if fault is not None and isinstance(exc, fault.Fault) and exc.fatal:
        sys.exit(1)


def _undelivered(
    client: api.RuntimeApi, request_id: str, invocation_id: "str | None", exc: api.NotTaken, size: int
) -> None:
    """Log that the Runtime API did not take a result. Report one that is too large as that, where the API still takes
    a report.
    """
    if exc.status == 413:
        try:
            from samovar.fault import LARGEST, Fault

            message = f"Response payload size ({size} bytes) exceeded maximum allowed payload size ({LARGEST} bytes)."
            failure = Fault("Function.ResponseSizeTooLarge", message)
            _report(failure, request_id, _poster(client, request_id, invocation_id))
            return
        except api.NotTaken:
            return  # the RIE has told the caller by itself, and answers 403
        except api.ApiError:
            raise
        except Exception:
            pass  # nothing can be imported
    logs.write("ERROR", f"The result of this invocation was not acknowledged: {exc}")


def _poster(
    client: api.RuntimeApi, request_id: str, invocation_id: "str | None"
) -> "Callable[[bytes, str, bytes], None]":
    return lambda body, error_type, xray_cause: client.fail(request_id, body, error_type, xray_cause, invocation_id)


def _report(exc: BaseException, request_id: str, post: "Callable[[bytes, str, bytes], None]") -> None:
    """Log a failure and post it, whatever the function has done to the interpreter. Raise NotTaken where the Runtime
    API does not take it.

    post: takes the error JSON, its type and the X-Ray cause.
    """
    for _ in range(2):
        try:
            from samovar import fault

            report = fault.Report(exc, request_id)
            body, cause = report.body(), report.xray_header()
            logs.write_error(report.error, report.beside)
            post(body, report.error["errorType"], cause)
            return
        except api.ApiError:
            raise
        except Exception:  # descriptors or memory are used up, or nothing can be imported
            _give_up_reserve()
    error = logs.bare(exc, request_id)
    try:
        body = codec.dumps(error)
    except Exception:
        body = _UNTOLD
    try:
        logs.write_error(error)
    except Exception:
        pass
    post(body, error["errorType"], b"")


def _hold_reserve() -> None:
    """Keep back some memory and a descriptor, so that a failure can be described when a function has used up all the
    others.
    """
    size = _RESERVED
    while not _reserve and size >= _RESERVED // 8:
        try:
            memory = bytes(size)
            _reserve[:] = memory, posix.open("/", posix.O_RDONLY)
        except MemoryError:
            size //= 2
        except OSError:
            return  # they are still used up


def _give_up_reserve() -> None:
    if _reserve:
        descriptor = _reserve.pop()
        _reserve.clear()
        try:
            posix.close(descriptor)
        except OSError:
            pass  # the function has closed it


def _variable(name: bytes, meaning: str) -> str:
    value = posix.environ.get(name)
    if value is None:
        _die(f"{name.decode()} is not set: {meaning}")
    return value.decode()


def _die(message: str) -> "NoReturn":
    sys.stderr.write(f"samovar: {message}\n")
    sys.exit(1)


def _lazy_imports() -> None:
    value = posix.environ[b"SAMOVAR_LAZY_IMPORTS"].decode()
    switch: Any = getattr(sys, "set_lazy_imports", None)
    if value != "all":
        raise ValueError(f"SAMOVAR_LAZY_IMPORTS={value!r}: want all, or nothing")
    if switch is None:
        logs.write(
            "WARNING",
            f"SAMOVAR_LAZY_IMPORTS needs Python 3.15; this is {sys.version.partition(' ')[0]}, imports stay eager",
        )
        return
    switch("all")
