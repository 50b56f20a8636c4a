"""The other end of a companion, for programs in Python. Knows the protocol, and nothing of the process that asks."""

import posix
import sys

from samovar import codec, companion
from samovar.context import LambdaContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any


def serve(handler: "Callable[[Any, Any], Any]") -> None:
    """The other end, for a program in Python: calls handler(event, context) for every event until the input ends.

    handler: a function or coroutine function. context is a `LambdaContext`. What handler raises becomes the answer's
    error, `Type: message`, with the traceback on standard error. `print`, and the output of processes that handler
    starts, go to standard error: standard output carries the answers.
    """
    requests = open(posix.dup(0), "rb", 1 << 16)
    answers = posix.dup(1)
    nothing = posix.open("/dev/null", posix.O_RDONLY)
    posix.dup2(nothing, 0)
    posix.close(nothing)
    posix.dup2(2, 1)
    sys.stdout = sys.stderr
    number = 0
    process = posix.getpid()
    while line := requests.readline():
        if line.isspace():
            continue
        data, error = _run(handler, line)
        if posix.getpid() != process:
            sys.stderr.write("samovar: a process that the handler forked has left the handler: it ends\n")
            sys.exit(1)
        answer = b'{"proc_req_id":%d,"error":%b,"data":%b}\n' % (number, error, data)
        sys.stderr.flush()
        unsent = memoryview(answer)
        while unsent:
            unsent = unsent[posix.write(answers, unsent) :]
        number += 1
        codec.upgrade()


def _run(handler: "Callable[[Any, Any], Any]", line: bytes) -> "tuple[bytes, bytes]":
    """Data and error of an answer, as JSON."""
    try:
        request = codec.loads(line)
        context = LambdaContext()
        context.__dict__ = _attributes(request["context"])
    except Exception as exc:
        return b"null", codec.dumps(f"Runtime.UnmarshalError: Unable to unmarshal input: {exc}")
    try:
        data = handler(request["event"], context)
        if hasattr(type(data), "__await__"):
            from samovar import aio

            data = aio.run(data)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as exc:  # a CancelledError, too
        trace = _without_ours(exc.__traceback__)
        sys.excepthook(type(exc), exc.with_traceback(trace), trace)
        from samovar.report import text

        return b"null", codec.dumps(f"{type(exc).__name__}: {text(exc)}")
    try:
        return companion.dumps(data), b"null"
    except Exception as exc:
        return b"null", codec.dumps(f"Runtime.MarshalError: Unable to marshal response: {exc}")


def _without_ours(trace: "TracebackType | None") -> "TracebackType | None":
    """Return a traceback from the handler's first frame on, without ours and that of the event loop below it."""
    package = __file__.rpartition("/companion/")[0] + "/"
    ours = False
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename.startswith(package):
            ours = True
        elif not ours or code.co_name != "run_until_complete":
            return trace
        trace = trace.tb_next
    return None


def _attributes(context: "dict[str, Any]") -> "dict[str, Any]":
    return {
        "aws_request_id": context["awsRequestId"],
        "function_name": context["functionName"],
        "function_version": context["functionVersion"],
        "log_group_name": context["logGroupName"],
        "log_stream_name": context["logStreamName"],
        "memory_limit_in_mb": context["memoryLimitInMB"],
        "invoked_function_arn": context.get("invokedFunctionArn"),
        "tenant_id": context.get("tenantId") or None,
        "client_context": None,
        "identity": None,
        "_w3c_fields": {},
        "_epoch_deadline_time_in_ms": context.get("deadlineMs", 0),
    }
