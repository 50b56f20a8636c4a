"""The runtime: INIT, then next → handle → respond → after-response work, until the environment ends. Read this first.

Knows the Runtime API client, the handler and the environment; knows nothing of the wire below, nor of the cache or
companion that a function may use.
"""

import gc
import posix
import sys

from samovar import codec, handler, logging_hook, logs
from samovar.context import Contexts
from samovar.environment import environment
from samovar.errors import Fault
from samovar.runtime_api import ApiError, NotTaken, RuntimeClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from samovar.handler import Handle
    from samovar.invocation import Invocation
    from samovar.report import Report
    from samovar.response import Response

_spare: "list[int]" = []  # a descriptor to give up when a function has used up all the others


def run(handler_name: "str | None" = None) -> "NoReturn":
    """Run the environment until the platform ends it. handler_name: instead of `_HANDLER`.

    Exits 1 after a failure in INIT, or when the Runtime API does not answer as it must; SystemExit and signals keep
    their own code.
    """
    name = handler_name or _variable(b"_HANDLER", "the handler, as MODULE.FUNCTION (or give it as an argument)")
    address = _variable(b"AWS_LAMBDA_RUNTIME_API", "host:port of the Runtime API; Lambda and the RIE set it")
    try:
        client = RuntimeClient(address)
    except ValueError as exc:
        _die(f"AWS_LAMBDA_RUNTIME_API: {exc}" if "address" in str(exc) else str(exc))
    environment.running = True
    posix.register_at_fork(after_in_child=lambda: _forked(client))
    try:
        serve(client, initialise(client, name))
    except ApiError as exc:
        _die(str(exc))
    finally:
        for end in environment.at_shutdown:
            end()


def _forked(client: RuntimeClient) -> None:
    """Make a process of its own of a child that the function forked: events and responses, deferred work and shutdown
    hooks are its parent's.
    """
    environment.running = False
    client.disown()
    for forget in environment.at_fork:
        forget()


def initialise(client: RuntimeClient, name: str) -> "Handle":
    """INIT: logging, the handler's import, what it asked to be warmed. A failure is logged, posted to /init/error
    and ends the process.
    """
    logs.settle()
    logging_hook.install()
    # Imports make hardly any garbage: collecting during them only costs. What INIT leaves behind lives as long as the
    # environment, and freezing it keeps every later collection from walking through it.
    threshold = gc.get_threshold()
    gc.set_threshold(0)
    try:
        if posix.environ.get(b"SAMOVAR_LAZY_IMPORTS"):
            _lazy_imports()
        handle = handler.load(name)
        for work in environment.at_init_end:
            work()
        if environment.wants_sigterm:
            client.register_extension()
    except Exception as exc:
        from samovar.report import Report

        report = Report(exc, "")
        logs.write_error(report.error)
        client.fail_init(report.body(), report.error["errorType"])
        sys.exit(1)
    if gc.get_threshold()[0] == 0:
        gc.set_threshold(*threshold)
    gc.freeze()
    return handle


def serve(client: RuntimeClient, handle: "Handle") -> "NoReturn":
    """Serve every invocation from now on."""
    _spare.append(posix.open("/", posix.O_RDONLY))
    next_invocation, begin = client.next, Contexts().begin
    after_response, settle = environment.after_response, codec.settle
    while True:
        environment.invocation = invocation = next_invocation()
        try:
            begin(invocation)
            response = handle(invocation)
        except Exception as exc:
            _fail(client, invocation, exc)
        else:
            _respond(client, invocation, response)
            del response
        for work in after_response:
            work()
        settle()


def _respond(client: RuntimeClient, invocation: "Invocation", response: "bytes | Response") -> None:
    """Post a response. One that is too large is reported as that, where the Runtime API still takes a report."""
    body, content_type = (response, None) if isinstance(response, bytes) else (response.body, response.content_type)
    try:
        client.respond(invocation, body, content_type)
    except NotTaken as exc:
        if exc.status != 413:
            logs.write("ERROR", f"The response of this invocation was not acknowledged: {exc}")
            return
        from samovar.report import LARGEST

        message = f"Response payload size ({len(body)} bytes) exceeded maximum allowed payload size ({LARGEST} bytes)."
        try:
            _report(client, invocation, Fault("Function.ResponseSizeTooLarge", message))
        except NotTaken:
            pass  # the RIE has told the caller by itself, and answers 403


def _fail(client: RuntimeClient, invocation: "Invocation", exc: Exception) -> None:
    """Report the failure of one invocation. The environment lives on, unless the failure says otherwise."""
    try:
        _report(client, invocation, exc)
    except NotTaken as refused:
        logs.write("ERROR", f"The error of this invocation was not acknowledged: {refused}")
    if isinstance(exc, Fault) and exc.fatal:
        sys.exit(1)


def _report(client: RuntimeClient, invocation: "Invocation", exc: Exception) -> None:
    """Log and post the failure of one invocation. Raises NotTaken where the Runtime API does not take it."""
    try:
        report = _described(exc, invocation.id)
    except OSError:  # the function has used up the descriptors, and what tells of it is not imported yet
        posix.close(_spare.pop())
        report = _described(exc, invocation.id)
    logs.write_error(report.error)
    client.fail(invocation, report.body(), report.error["errorType"], report.xray_header())


def _described(exc: Exception, request_id: str) -> "Report":
    from samovar.report import Report

    return Report(exc, request_id)


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
