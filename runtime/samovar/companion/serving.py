"""The other end of a companion, for programs in Python. Knows the protocol, and nothing of the process that asks."""

import posix
import sys

from samovar import codec
from samovar.companion import protocol
from samovar.context import LambdaContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any


def serve(handler: "Callable[[Any, Any], Any]") -> None:
    """Answer events from standard input with what handler(event, context) returns, until the input ends.

    What handler raises becomes the answer's error, `Type: message`, with the traceback on standard error. `print`, and
    the output of processes that handler starts, go to standard error: standard output carries the answers.

    Args:
        handler: A function or coroutine function. Its context is a `LambdaContext`.
    """
    requests = open(posix.dup(0), "rb", 1 << 16)
    answers = posix.dup(1)
    nothing = posix.open("/dev/null", posix.O_RDONLY)
    posix.dup2(nothing, 0)
    posix.close(nothing)
    posix.dup2(2, 1)
    sys.stdout = sys.stderr
    number = 0
    forked: list[bool] = []
    posix.register_at_fork(after_in_child=lambda: forked.append(True))
    while line := requests.readline():
        if line.isspace():
            continue
        data, error = _run(handler, line)
        if forked:
            sys.stderr.write("samovar: a process that the handler forked came back from it and is ended\n")
            sys.exit(1)
        sys.stderr.flush()
        answer = protocol.encode_answer(number, data, error)
        sent = posix.write(answers, answer)
        while sent < len(answer):
            sent += posix.write(answers, memoryview(answer)[sent:])
        number += 1
        codec.upgrade()


def _run(handler: "Callable[[Any, Any], Any]", line: bytes) -> "tuple[bytes, bytes]":
    """Return data and error of the answer, as JSON."""
    try:
        event, attributes = protocol.decode_request(line)
    except Exception as exc:
        return b"null", codec.dumps(f"Runtime.UnmarshalError: Unable to unmarshal input: {exc}")
    context = LambdaContext.__new__(LambdaContext)
    context.__dict__ = attributes
    try:
        data = handler(event, context)
        if type(data) is not dict and hasattr(type(data), "__await__"):  # most results, without hasattr
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
        return protocol.dumps(data), b"null"
    except Exception as exc:
        return b"null", codec.dumps(f"Runtime.MarshalError: Unable to marshal response: {exc}")


def _without_ours(trace: "TracebackType | None") -> "TracebackType | None":
    """Return a traceback from the first frame that is not the package's own."""
    package = __file__.rpartition("/companion/")[0] + "/"
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(package):
        trace = trace.tb_next
    return trace
