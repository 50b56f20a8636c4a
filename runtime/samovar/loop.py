"""The runtime: INIT, then next → handle → respond → after-response work, for ever. Read this first.

Knows the Runtime API client, the handler and the codec; knows nothing of the wire below, nor of the cache or
companion that a function may use.
"""

import posix
import sys

from samovar import api, codec, context, handler, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from samovar.fault import Report

running = False
_spare: "list[int]" = []  # a descriptor to give up when a function has used up all the others
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
    # Imports make hardly any garbage: collecting during them only costs. What INIT leaves behind lives as long as the
    # environment, and freezing it keeps every later collection from walking through it.
    threshold = gc.get_threshold()
    gc.set_threshold(0)
    try:
        if posix.environ.get(b"SAMOVAR_LAZY_IMPORTS"):
            _lazy_imports()
        found = handler.load(name)
        if (hooks := sys.modules.get("samovar.hooks")) is not None:
            hooks.run_warm()
            if hooks.wants_shutdown():
                client.register_extension()
    except Exception as exc:
        from samovar import fault

        report = fault.Report(exc, "")
        logs.write_error(report.error)
        client.fail_init(report.body(), report.error["errorType"])
        sys.exit(1)
    if gc.get_threshold()[0] == 0:
        gc.set_threshold(*threshold)
    gc.freeze()
    return found


def serve(client: api.RuntimeApi, found: handler.Handler) -> "NoReturn":
    """Every invocation from now on."""
    _spare.append(posix.open("/", posix.O_RDONLY))
    call, raw = found.call, found.raw
    next_event, respond = client.next, client.respond
    loads, dumps, settle = codec.loads, codec.dumps, codec.settle
    begin = context.factory()
    modules = sys.modules
    environ, putenv = posix.environ, posix.putenv  # os.environ is a view of this dict, whenever it is imported
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
                if isinstance(result, bytes):
                    content_type = "application/unknown"
                else:
                    try:
                        result = dumps(result)
                    except Exception as exc:
                        raise handler.fault("Runtime.MarshalError", f"Unable to marshal response: {exc}") from None
        except Exception as exc:
            _fail(client, request_id, invocation_id, exc)
        else:
            try:
                respond(request_id, result, content_type, invocation_id)
            except api.NotTaken as exc:
                _undelivered(client, request_id, invocation_id, exc, len(result))
            del result
        if (hooks := modules.get("samovar.hooks")) is not None:
            hooks.after_response()
        settle()


def _fail(client: api.RuntimeApi, request_id: str, invocation_id: "str | None", exc: Exception) -> None:
    """Reports the failure of one invocation. The environment lives on, unless the failure says otherwise."""
    try:
        _report(client, request_id, invocation_id, exc)
    except api.NotTaken as refused:
        logs.write("ERROR", f"The error of this invocation was not acknowledged: {refused}")
    if isinstance(exc, sys.modules["samovar.fault"].Fault) and exc.fatal:
        sys.exit(1)


def _undelivered(
    client: api.RuntimeApi, request_id: str, invocation_id: "str | None", exc: api.NotTaken, size: int
) -> None:
    """A result that the Runtime API did not take. One that is too large is reported as that, where the API still
    takes a report.
    """
    if exc.status != 413:
        logs.write("ERROR", f"The result of this invocation was not acknowledged: {exc}")
        return
    from samovar.fault import LARGEST, Fault

    message = f"Response payload size ({size} bytes) exceeded maximum allowed payload size ({LARGEST} bytes)."
    try:
        _report(client, request_id, invocation_id, Fault("Function.ResponseSizeTooLarge", message))
    except api.NotTaken:
        pass  # the RIE has told the caller by itself, and answers 403


def _report(client: api.RuntimeApi, request_id: str, invocation_id: "str | None", exc: Exception) -> None:
    """Logs and posts the failure of one invocation. Raises NotTaken where the Runtime API does not take it."""
    try:
        report = _described(exc, request_id)
    except OSError:  # the function has used up the descriptors, and what tells of it is not imported yet
        posix.close(_spare.pop())
        report = _described(exc, request_id)
    logs.write_error(report.error)
    client.fail(request_id, report.body(), report.error["errorType"], report.xray_header(), invocation_id)


def _described(exc: Exception, request_id: str) -> "Report":
    from samovar import fault

    return fault.Report(exc, request_id)


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
