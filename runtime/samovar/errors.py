"""`Fault`, the exception that the runtime itself raises, and what counts as the failure of an invocation.

The ground floor; report.py makes a report of either.
"""

import sys

LARGEST = 6_291_556  # bytes of a response or an error; the Runtime API answers 413 to more


class Fault(Exception):
    """A failure that is reported under a type of its own instead of that of a Python exception.

    error_type: what the caller and the platform read as `errorType`, e.g. `Runtime.HandlerNotFound`.
    trace: the lines of `stackTrace`.
    fatal: the error is reported, then the environment ends with exit code 1.
    """

    def __init__(self, error_type: str, message: str, trace: "list[str] | None" = None, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.trace = trace
        self.fatal = fatal


def is_failure(exc: BaseException) -> bool:
    """Return whether exc is a failure of one invocation: an Exception, or asyncio's CancelledError, which is no
    Exception to Python. All else ends the process.
    """
    if isinstance(exc, Exception):
        return True
    asyncio = sys.modules.get("asyncio.exceptions")
    return asyncio is not None and isinstance(exc, asyncio.CancelledError)
