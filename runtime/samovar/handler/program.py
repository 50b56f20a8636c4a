"""`exec:./program arguments`: a companion process is the function; event and response are JSON documents.

Knows the companion. Knows neither the Runtime API nor the loop.
"""

import posix

from samovar.companion.error import CompanionError
from samovar.companion.supervisor import Companion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from samovar.handler import Handle


def load(command: str) -> "Handle":
    """Start the program, and return the handler that asks it.

    The program runs in `LAMBDA_TASK_ROOT`, where Lambda starts a function. With `AWS_LAMBDA_MAX_CONCURRENCY` there is
    one process for each of the invocations that may be in flight. Raises CompanionError when the program cannot start.
    """
    folder = posix.environ.get(b"LAMBDA_TASK_ROOT")
    if folder:
        try:
            posix.chdir(folder)
        except OSError as exc:
            where = folder.decode(errors="backslashreplace")
            raise CompanionError("NotStarted", f"LAMBDA_TASK_ROOT={where}: {exc.strerror}") from None
    workers = int(posix.environ.get(b"AWS_LAMBDA_MAX_CONCURRENCY") or 1)
    ask = Companion(_split(command), workers=workers).call_raw
    return lambda invocation: ask(bytes(invocation.take_event()), invocation.context)


def _split(command: str) -> "list[str]":
    if any(c in command for c in "'\"\\"):
        import shlex

        try:
            args = shlex.split(command)
        except ValueError as exc:
            raise CompanionError("NotStarted", f"exec:{command} cannot be read as a command: {exc}") from None
    else:
        args = command.split()
    if not args:
        raise CompanionError("NotStarted", "exec: names no program; write exec:./program, and its arguments if any")
    return args
