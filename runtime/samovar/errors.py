"""`Fault`, the exception that the runtime itself raises, and the rule for what fails an invocation.

The ground floor: imports nothing of the package. report.py describes a failure.
"""

import sys

LARGEST = 6_291_556  # bytes of a response or an error; the Runtime API answers 413 to more


class Fault(Exception):
    """A failure that is reported under a type of its own instead of that of a Python exception.

    error_type: the `errorType` that the caller and the platform get, e.g. `Runtime.HandlerNotFound`.
    trace: the lines of `stackTrace`.
    fatal: whether the environment ends, with exit code 1, once the error is reported.
    """

    def __init__(self, error_type: str, message: str, trace: "list[str] | None" = None, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.trace = trace
        self.fatal = fatal


def is_failure(exc: BaseException) -> bool:
    """Return whether exc fails one invocation: an Exception, or asyncio's CancelledError, which is not a subclass of
    Exception. Any other ends the process.
    """
    if isinstance(exc, Exception):
        return True
    asyncio = sys.modules.get("asyncio.exceptions")
    return asyncio is not None and isinstance(exc, asyncio.CancelledError)
