"""An exception in the forms that the platform reads: error JSON, X-Ray cause, one log record.

Imported when there is an exception. Needs only the interpreter and the codec, because the function may have removed
everything else. Knows neither the Runtime API nor the loop.
"""

import posix
import sys

from samovar import codec
from samovar.errors import LARGEST, Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    Frame = tuple[str, int, str, str]  # path, line, function, source

_PACKAGE = __file__.rpartition("/")[0] + "/"
_SHOWN = 100_000  # characters that are kept of a message that is too large
_XRAY_LIMIT = 1024 * 1024  # bytes; like the official client, leave out a longer cause
_REPEATED = 3  # how often a repeated line of a stack is shown
_MOST = 50  # exceptions in one record


class Report:
    """One failure. error: the object of the error JSON; xray: that of the X-Ray cause; details: only for the log."""

    def __init__(self, exc: BaseException, request_id: str) -> None:
        frames: list[Frame] = []
        self.details: dict[str, Any] = {}
        if isinstance(exc, Fault):
            name, message = exc.error_type, exc.message
            trace, xray_name = exc.trace or [], "LambdaValidationError"
            if exc.__cause__ is not None and _user_frames(exc.__cause__.__traceback__):
                self.details = details(exc)  # the import that failed in the function's module
        else:
            name = xray_name = type(exc).__name__
            message = text(exc)
            frames = _user_frames(exc.__traceback__)
            trace = _lines(frames)
            self.details = details(exc)
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
        """Return the error JSON. A message that is too large for the Runtime API is cut."""
        body = codec.dumps(self.error)
        if len(body) > LARGEST:
            cut = f"{self.error['errorMessage'][:_SHOWN]}… ({len(body)} bytes, cut to be reported)"
            body = codec.dumps({**self.error, "errorMessage": cut})
        return body

    def xray_header(self) -> bytes:
        """Return the X-Ray cause as ASCII JSON for a header; empty where it would be 1 MiB or more."""
        cause = codec.dumps_ascii(self.xray)
        return cause if len(cause) < _XRAY_LIMIT else b""


def _working_directory() -> str:
    try:
        return posix.getcwd()
    except OSError:
        return ""  # the function has removed it


def text(value: object) -> str:
    """Return str(value), or a remark where that raises."""
    try:
        return str(value)
    except Exception as inner:
        return f"<{type(value).__name__}: its __str__ raised {type(inner).__name__}>"


def details(exc: BaseException) -> "dict[str, Any]":
    """Return what the error JSON has no place for: `notes`, `exceptions` (of a group), `cause`, `context`, each only
    where the exception has it.
    """
    try:
        return _details(exc, {id(exc)})
    except Exception:  # an exception with attributes of its own under these names
        return {}


def _details(exc: BaseException, seen: "set[int]") -> "dict[str, Any]":
    """Do so once for each exception. seen: the ids of those done already, because a chain may be a circle."""
    found: dict[str, Any] = {}
    if isinstance(notes := getattr(exc, "__notes__", None), list):
        found["notes"] = [text(note) for note in notes]
    if isinstance(exc, BaseExceptionGroup):
        found["exceptions"] = [_described(each, seen) for each in exc.exceptions if _is_new(each, seen)]
    kind, under = "cause", exc.__cause__
    if under is None and not exc.__suppress_context__:
        kind, under = "context", exc.__context__
    if under is not None and _is_new(under, seen):
        found[kind] = _described(under, seen)
    return found


def _is_new(exc: BaseException, seen: "set[int]") -> bool:
    if id(exc) in seen or len(seen) > _MOST:
        return False
    seen.add(id(exc))
    return True


def _described(exc: BaseException, seen: "set[int]") -> "dict[str, Any]":
    return {
        "errorType": type(exc).__name__,
        "errorMessage": text(exc),
        "stackTrace": _lines(_user_frames(exc.__traceback__)),
        **_details(exc, seen),
    }


def _user_frames(tb: "TracebackType | None") -> "list[Frame]":
    """Return the frames from the first one that belongs neither to the runtime nor to the import system.

    The module `traceback` is not used: it is slow to import, and the function may have one of its own.
    """
    own = (_PACKAGE, "<frozen importlib")
    limit = getattr(sys, "tracebacklimit", None)
    frames: list[Frame] = []
    source = _Source()
    while tb is not None and (limit is None or limit > 0):
        code = tb.tb_frame.f_code
        path, line = code.co_filename, tb.tb_lineno or 0
        if frames or not path.startswith(own):
            frames.append((path, line, code.co_name, source.line(path, line, tb.tb_frame.f_globals)))
        tb = tb.tb_next
        limit = None if limit is None else limit - 1
    return frames


class _Source:
    """Lines of source; empty where they cannot be had."""

    def __init__(self) -> None:
        self._checked: set[str] = set()

    def line(self, path: str, line: int, module: "dict[str, Any]") -> str:
        search_path, library = sys.path, sys._stdlib_dir  # type: ignore[attr-defined]
        longer: list[str] | None = None
        try:
            # The function may have removed the standard library's folder, and linecache imports when it reads.
            if library not in search_path:
                longer = sys.path = [*search_path, library]
            import linecache

            if path not in self._checked:
                self._checked.add(path)
                linecache.lazycache(path, module)
                linecache.checkcache(path)
            return linecache.getline(path, line).strip()
        except Exception:
            return ""
        finally:
            if sys.path is longer:  # and no other thread has changed it meanwhile
                sys.path = search_path


def _lines(frames: "list[Frame]") -> "list[str]":
    """Return a stack trace as `traceback.format_list` writes it."""
    lines = []
    last: object = None
    count = 0
    for path, line, name, source in frames:
        if last != (path, line, name):
            lines += _repeated(count)
            last = path, line, name
            count = 0
        count += 1
        if count <= _REPEATED:
            lines.append(f'  File "{path}", line {line}, in {name}\n' + (f"    {source}\n" if source else ""))
    return lines + _repeated(count)


def _repeated(count: int) -> "list[str]":
    more = count - _REPEATED
    return [f"  [Previous line repeated {more} more time{'s' if more > 1 else ''}]\n"] if more > 0 else []
