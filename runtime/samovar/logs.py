"""The runtime's own log records, written without the `logging` module: where they go and what they look like.

Text or JSON (`AWS_LAMBDA_LOG_FORMAT`), on stdout or framed on the telemetry descriptor (`_LAMBDA_TELEMETRY_LOG_FD`).
`logging_records` does the same for the user's `logging`. Knows the codec, and from the environment the ids of the
invocation in flight.
"""

import posix
import sys
from time import gmtime, strftime, time, time_ns

from samovar import codec
from samovar.environment import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# The low byte of a frame's type carries the level: NOTSET, DEBUG, INFO, WARNING, ERROR, CRITICAL.
_OFFSETS = {0: 0, 10: 8, 20: 12, 30: 16, 40: 20, 50: 24}
TEXT_FRAMES = {level: (0xA55A0003 + offset).to_bytes(4, "big") for level, offset in _OFFSETS.items()}
JSON_FRAMES = {level: (0xA55A0002 + offset).to_bytes(4, "big") for level, offset in _OFFSETS.items()}
LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_INDENT = "\u00a0"  # CloudWatch trims ordinary leading space


class StandardSink:
    """A sink that writes to sys.stdout, whatever that is at the moment."""

    line_end = "\r"  # within a record: a line feed would end the event in CloudWatch

    def log(self, msg: str, frame_type: "bytes | None" = None) -> None:
        stream = sys.stdout
        try:
            stream.write(msg)
        except UnicodeEncodeError:  # the log is UTF-8, whatever the stream's encoding
            if not hasattr(stream, "buffer"):
                raise
            stream.flush()
            stream.buffer.write(msg.encode("utf-8", "backslashreplace"))
            stream.buffer.flush()

    def log_error(self, message_lines: "Sequence[str]") -> None:
        write(self, self.line_end.join(message_lines) + "\n", b"")


class FramedSink:
    """A sink that writes frames to the platform's telemetry descriptor: type, length, Unix time in microseconds, all
    big-endian, and the message.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def log(self, msg: str, frame_type: "bytes | None" = None) -> None:
        message = msg.encode("utf-8", "backslashreplace")
        frame = b"".join(
            (
                frame_type or TEXT_FRAMES[0],
                len(message).to_bytes(4, "big"),
                (time_ns() // 1000).to_bytes(8, "big"),
                message,
            )
        )
        write_whole(self.fd, frame)

    def log_error(self, message_lines: "Sequence[str]") -> None:
        write(self, "\n".join(message_lines), (JSON_FRAMES if is_json() else TEXT_FRAMES)[40])


def write_whole(fd: int, data: "bytes | memoryview") -> None:
    """Write all of data, even where another process that shares the descriptor has made it non-blocking. Raises
    OSError.
    """
    while data:
        try:
            data = data[posix.write(fd, data) :]
        except BlockingIOError:
            posix.set_blocking(fd, True)


def write(to: "StandardSink | FramedSink", text: str, frame_type: bytes) -> None:
    """Write a record of the runtime's own. A log that the function has broken must not stop the runtime."""
    try:
        to.log(text, frame_type)
    except Exception:  # sys.stdout or the descriptor is closed or replaced; a lone surrogate has no UTF-8
        try:
            write_whole(1, text.encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # there is nowhere left to log


_settings: "tuple[bool, str] | None" = None  # what is_json and level_name return, as INIT began
_sink: "StandardSink | FramedSink | None" = None
_always_json = False


def sink() -> "StandardSink | FramedSink":
    """Return the environment's one sink. It is chosen on first use, which removes the descriptor's variable from the
    environment.
    """
    global _sink
    if _sink is None:
        fd = posix.environ.pop(b"_LAMBDA_TELEMETRY_LOG_FD", None)
        if fd is None:
            _sink = StandardSink()
            if b"_SAMOVAR_TERMINAL" in posix.environ:  # set by the image's own emulator
                _sink.line_end = "\n"
        else:
            posix.unsetenv(b"_LAMBDA_TELEMETRY_LOG_FD")
            _sink = FramedSink(int(fd))
    return _sink


def share(shared: "StandardSink | FramedSink") -> None:
    """Write to this sink from now on, and records as JSON: the log belongs to many invocations at once."""
    global _sink, _always_json
    _sink = shared
    _always_json = True


def is_json() -> bool:
    """Return whether records are JSON: `AWS_LAMBDA_LOG_FORMAT` asks for that, or the log is shared."""
    if _settings is not None:
        return _settings[0]
    return _always_json or posix.environ.get(b"AWS_LAMBDA_LOG_FORMAT", b"").upper() == b"JSON"


def level_name() -> str:
    """Return the level that `AWS_LAMBDA_LOG_LEVEL` names, as `logging` names it; empty where it is unset."""
    if _settings is not None:
        return _settings[1]
    level = posix.environ.get(b"AWS_LAMBDA_LOG_LEVEL", b"").decode().upper()
    return "DEBUG" if level == "TRACE" else level


def record(level: str, text: str) -> None:
    """Write a record in the configured format, with the current request id. level: DEBUG, INFO, WARNING, ERROR or
    CRITICAL.
    """
    request_id, tenant_id = environment.log_ids
    if is_json():
        fields = {
            "timestamp": _timestamp(),
            "level": level,
            "message": text,
            "logger": "samovar",
            "requestId": request_id,
        }
        if tenant_id is not None:
            fields["tenantId"] = tenant_id
        write(sink(), _json(fields) + "\n", JSON_FRAMES[LEVELS[level]])
        return
    now = time_ns() // 1_000_000
    at = f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(now // 1000))}.{now % 1000:03d}Z"
    write(sink(), f"[{level}]\t{at}\t{request_id}\t{text}\n", TEXT_FRAMES[LEVELS[level]])


def exception(message: str, exc: BaseException) -> None:
    """Write one ERROR record of message and request id, the exception and its stack without the runtime's own
    frames.
    """
    request_id, _ = environment.log_ids
    details = None
    try:
        from samovar.report import Report

        report = Report(exc, request_id)
        error, details = report.error, report.details
    except Exception:
        error = bare_error(exc, request_id)
    if request_id and not is_json():  # a JSON record has a member for it
        message += f" (RequestId: {request_id})"
    error["errorMessage"] = f"{message}: {error['errorMessage']}"
    failure(error, details)


def bare_error(exc: BaseException, request_id: str) -> "dict[str, Any]":
    """Return the object of the error JSON without a stack, where report.py cannot be imported."""
    try:
        message = str(exc)
    except Exception:
        message = ""
    return {"errorMessage": message, "errorType": type(exc).__name__, "requestId": request_id, "stackTrace": []}


def failure(error: "dict[str, Any]", details: "dict[str, Any] | None" = None) -> None:
    """Write the record of a failed invocation or INIT in the official client's form. error: the object of the error
    JSON. details: what that form has no place for, from `report.details`; it comes last.
    """
    if is_json():
        lines = [_json({"timestamp": _timestamp(), "level": "ERROR", **error, **(details or {})})]
    else:
        lines = _text("[ERROR]", {**error, **(details or {})})
    sink().log_error(lines)


def _text(title: str, error: "dict[str, Any]") -> "list[str]":
    kind, message = error["errorType"], error["errorMessage"]
    if kind:
        title += f" {kind}:" if message else f" {kind}"
    if message:
        title += f" {message}"
    lines = [title]
    if error["stackTrace"] or title.startswith("[ERROR]"):
        lines.append("Traceback (most recent call last):")
    for element in error["stackTrace"]:
        for line in element.splitlines() if element else [""]:
            text = line.lstrip(" ")
            lines.append(_INDENT * (len(line) - len(text)) + text)
    for note in error.get("notes", ()):
        lines += note.splitlines()
    for number, member in enumerate(error.get("exceptions", ()), 1):
        lines += _text(f"Exception {number} in the group:", member)
    if "cause" in error:
        lines += _text("Caused by:", error["cause"])
    if "context" in error:
        lines += _text("Raised while handling:", error["context"])
    return lines


def _timestamp() -> str:
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(time()))


def _json(record: "dict[str, Any]") -> str:
    return codec.dumps(record).decode()


def read_settings() -> None:
    """Read the log's settings and choose the sink for good when INIT begins: the function may change the variables."""
    global _settings
    _settings = is_json(), level_name()
    sink()
    if _settings[1] == "DEBUG":
        codec.say = lambda text: record("DEBUG", text)
