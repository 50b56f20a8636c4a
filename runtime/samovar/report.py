"""A failure in the forms that the platform reads: error JSON, X-Ray cause, one log record.

Imported once there is one. Knows neither the Runtime API client nor the loop.
"""

import posix

from samovar import codec
from samovar.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_PACKAGE = __file__.rpartition("/")[0] + "/"
LARGEST = 6_291_556  # bytes of a body; the Runtime API answers 413 to more
_SHOWN = 100_000  # characters of a message that is too large
_XRAY_LIMIT = 1024 * 1024  # bytes; a longer cause is left out, as by the official client


class Report:
    """One failure: `.error` is the error JSON's object, `.xray` the X-Ray cause's."""

    def __init__(self, exc: BaseException, request_id: str) -> None:
        frames: list[tuple[str, int, str, str | None]] = []
        if isinstance(exc, Fault):
            name, message = exc.error_type, exc.message
            trace, xray_name = exc.trace or [], "LambdaValidationError"
        else:
            import traceback

            name = xray_name = type(exc).__name__
            message = text(exc)
            frames = _user_frames(exc.__traceback__)
            trace = traceback.format_list(frames)
        self.error: dict[str, Any] = {
            "errorMessage": message,
            "errorType": name,
            "requestId": request_id,
            "stackTrace": trace,
        }
        stack = [{"label": label, "path": path, "line": line} for path, line, label, _ in frames]
        self.xray: dict[str, Any] = {
            "working_directory": _working_directory(),
            "exceptions": [{"message": message, "type": xray_name, "stack": stack}],
            "paths": list({path: None for path, _, _, _ in frames}),
        }

    def body(self) -> bytes:
        """The error JSON. Of a message too large for the Runtime API its beginning: more would cost the environment."""
        body = codec.dumps(self.error)
        if len(body) > LARGEST:
            cut = f"{self.error['errorMessage'][:_SHOWN]}… ({len(body)} bytes, cut to be reported)"
            body = codec.dumps({**self.error, "errorMessage": cut})
        return body

    def xray_header(self) -> bytes:
        """The cause as ASCII JSON for a header, or nothing when it would be 1 MiB or more."""
        cause = codec.dumps_ascii(self.xray)
        return cause if len(cause) < _XRAY_LIMIT else b""


def _working_directory() -> str:
    try:
        return posix.getcwd()
    except OSError:
        return ""  # the handler has removed it


def text(exc: BaseException) -> str:
    """Its message, or a remark where there is none to be had."""
    try:
        return str(exc)
    except Exception as inner:
        return f"<{type(exc).__name__}: its __str__ raised {type(inner).__name__}>"


def _user_frames(tb: "TracebackType | None") -> "list[tuple[str, int, str, str | None]]":
    """The traceback from the first frame that is not the runtime's own or the import system's, nor the event loop's
    that the runtime runs.
    """
    import traceback

    frames = [(f.filename, f.lineno or 0, f.name, f.line) for f in traceback.extract_tb(tb)]
    own = (_PACKAGE, "<frozen importlib")
    for i, (path, _, name, _) in enumerate(frames):
        if not path.startswith(own) and (name != "run_until_complete" or not frames[i - 1][0].startswith(_PACKAGE)):
            return frames[i:]
    return []
