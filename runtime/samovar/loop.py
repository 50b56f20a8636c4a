"""The runtime: INIT, then next → handle → respond → after-response work, until the environment ends. Read this first.

Knows the Runtime API client, the handler and the environment; knows nothing of the wire below, nor of the cache or
companion that a function may use.
"""

import posix
import sys
from _signal import ITIMER_REAL, getitimer, setitimer  # type: ignore[import-not-found]

from samovar import __version__, codec, failure, handler, logging_hook, logs
from samovar.context import Contexts
from samovar.environment import environment
from samovar.errors import LARGEST, Fault, is_failure
from samovar.runtime_api import ApiError, Ended, NotTaken, RuntimeClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from samovar.handler import Handle
    from samovar.invocation import Invocation
    from samovar.response import Response


def settings(handler_name: "str | None" = None) -> "tuple[str, str]":
    """Return the handler's name and the address of the Runtime API; end the process where a variable is missing.
    handler_name: instead of `_HANDLER`.
    """
    name = handler_name or _variable(
        b"_HANDLER", "the handler, as MODULE.FUNCTION; to run it here: samovar run HANDLER"
    )
    address = _variable(
        b"AWS_LAMBDA_RUNTIME_API",
        f"only Lambda or its emulator starts this; to run the handler here: samovar run {name}",
    )
    return name, address


def connect(address: str) -> RuntimeClient:
    """Return a client of the Runtime API; end the process where address or transport are no such thing."""
    try:
        return RuntimeClient(address)
    except ValueError as exc:
        die(str(exc))


def run(client: RuntimeClient, name: str, serve: "Callable[[RuntimeClient, Handle], NoReturn]") -> "NoReturn":
    """Run the environment until the platform ends it: INIT, then serve(); then what waits for the end.

    Exits 1 after a failure in INIT, or when the Runtime API does not answer as it must; SystemExit and signals keep
    their own code.
    """
    environment.running = True
    posix.register_at_fork(after_in_child=lambda: _forked(client))
    try:
        serve(client, initialise(client, name))
    except Ended as exc:  # how `sam local invoke` ends an environment
        if logs.level_name() == "DEBUG":
            logs.record("DEBUG", f"The environment ends, as the Runtime API has gone: {exc}")
        sys.exit(1)
    except ApiError as exc:
        die(str(exc))
    finally:
        for end in environment.at_shutdown:
            end()


def _forked(client: RuntimeClient) -> None:
    """Detach a child that the function forked: events, responses, deferred work and hooks are its parent's."""
    environment.running = False
    client.disown()
    for forget in environment.at_fork:
        forget()


def initialise(client: RuntimeClient, name: str) -> "Handle":
    """Run INIT: set up logging, import the handler, call what waits for the end of INIT; with SnapStart, go on in a
    restored environment. A failure is logged and posted to /init/error, and ends the process.
    """
    import gc

    logs.read_settings()
    logging_hook.install()
    if logs.level_name() == "DEBUG":
        logs.record("DEBUG", f"Samovar {__version__} on Python {sys.version.partition(' ')[0]}, {sys.executable}")
    failure.hold_reserve()
    gc.freeze()  # the interpreter's and the runtime's own objects live on: no collection needs to walk them
    try:
        if posix.environ.get(b"SAMOVAR_LAZY_IMPORTS"):
            _lazy_imports()
        if posix.environ.get(b"SAMOVAR_LOOP"):
            from samovar import aio

            aio.set_up()
        handle = handler.load(name)
        for work in environment.at_init_end:
            work()
        if environment.shutdown_hooks:
            client.register_extension()
    except BaseException as exc:
        if not is_failure(exc):
            raise
        failed = exc
    else:
        _stop_alarm()
        if posix.environ.get(b"AWS_LAMBDA_INITIALIZATION_TYPE") == b"snap-start":
            from samovar import snapshot

            snapshot.until_restored(client)
            _stop_alarm()
        return handle
    # No exception is being handled here: Sentry asks, and reports it in another form than under AWS's client.
    if isinstance(failed, MemoryError):
        failure.give_up_reserve()
    failure.report(client, None, failed)
    sys.exit(1)


def serve(client: RuntimeClient, handle: "Handle") -> "NoReturn":
    """Serve every invocation from now on."""
    begin = Contexts().begin
    handle = attached(client, handle)
    modules, nothing = sys.modules, None
    while True:
        invocation = client.next()
        environment.begin(invocation)
        try:
            begin(invocation)
            response = handle(invocation)
            if "signal" in modules:
                _stop_alarm()
        except BaseException as exc:
            if not is_failure(exc):
                raise
            fail(client, invocation, exc)
        else:
            respond(client, invocation, response)
        # Nothing of an invocation, failed or not, stays in memory while the environment waits for the next.
        invocation = response = nothing  # type: ignore[assignment]
        if environment.after_response:
            for work in environment.after_response:
                work()
            if "signal" in modules:
                _stop_alarm()
            handle = attached(client, handle)
        environment.end()
        codec.upgrade()


def attached(client: RuntimeClient, handle: "Handle") -> "Handle":
    """Return the handler, or, where an agent has attached, one that posts by itself as AWS's client does."""
    if environment.attach is None:
        return handle

    def post(invocation: "Invocation", outcome: "bytes | Response | BaseException | None") -> None:
        try:
            if isinstance(outcome, BaseException):
                fail(client, invocation, outcome)
            else:
                _stop_alarm()
                respond(client, invocation, outcome)
        except ApiError as exc:
            if not environment.shared:
                die(str(exc))
            logs.record("WARNING", f"What was posted for this invocation was refused: {exc}")

    return environment.attach(handle, client, post)


def respond(client: RuntimeClient, invocation: "Invocation", response: "bytes | Response | None") -> None:
    """Post a response. One that is too large is reported as that, where the Runtime API still takes a report."""
    if isinstance(response, bytes):
        body, content_type = response, None
    elif response is None:  # the handler has posted it
        return
    elif isinstance(response.body, bytes):
        body, content_type = response.body, response.content_type
    else:
        from samovar import sending

        sending.send(client, invocation, response.body, response.content_type)
        return
    try:
        client.respond(invocation, body, content_type)
    except NotTaken as exc:
        if exc.status != 413:
            logs.record("ERROR", f"The response of this invocation was not acknowledged: {exc}")
            return
        message = f"Response payload size ({len(body)} bytes) exceeded maximum allowed payload size ({LARGEST} bytes)."
        try:
            failure.report(client, invocation, Fault("Function.ResponseSizeTooLarge", message))
        except NotTaken:
            pass  # the RIE has told the caller by itself, and answers 403


def fail(client: RuntimeClient, invocation: "Invocation", exc: BaseException) -> None:
    """Report the failure of one invocation. The environment lives on, unless the failure says otherwise."""
    if isinstance(exc, MemoryError):
        failure.give_up_reserve()
    _stop_alarm()
    try:
        failure.report(client, invocation, exc)
    except NotTaken as refused:
        logs.record("ERROR", f"The error of this invocation was not acknowledged: {refused}")
    if isinstance(exc, Fault) and exc.fatal:
        sys.exit(1)


def _stop_alarm() -> None:
    """Cancel an alarm that the function has left behind: it would go off in the next invocation, or while the runtime
    waits for it. A timer with an interval stays, and any where other invocations are in flight.
    """
    if environment.shared:
        return
    delay, interval = getitimer(ITIMER_REAL)
    if delay and not interval:
        setitimer(ITIMER_REAL, 0)


def _variable(name: bytes, meaning: str) -> str:
    value = posix.environ.get(name)
    if value is None:
        die(f"{name.decode()} is not set: {meaning}")
    return value.decode()


def die(message: str) -> "NoReturn":
    sys.stderr.write(f"samovar: {message}\n")
    sys.exit(1)


def _lazy_imports() -> None:
    value = posix.environ[b"SAMOVAR_LAZY_IMPORTS"].decode()
    switch: Any = getattr(sys, "set_lazy_imports", None)
    if value != "all":
        raise ValueError(f"SAMOVAR_LAZY_IMPORTS={value!r}: want all, or nothing")
    if switch is None:
        logs.record(
            "WARNING",
            f"SAMOVAR_LAZY_IMPORTS needs Python 3.15; this is {sys.version.partition(' ')[0]}, imports stay eager",
        )
        return
    switch("all")
