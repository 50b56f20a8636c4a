"""`Fault`, the exception that the runtime itself raises. The ground floor; what makes a report of one is report.py."""


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
