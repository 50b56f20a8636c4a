"""The user's `logging` on Lambda: one root handler, records with request id and tenant id, text or JSON.

Imported together with `logging`, never before it. The forms are the official client's, field for field.
"""

import logging
import time

from samovar import logs
from samovar.environment import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_DATE = "%Y-%m-%dT%H:%M:%S"
_TEXT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
_format_time = logging.Formatter.formatTime
_DEPTH = 50  # containers below one another that a record's field may have
_BITS = 10_000  # of the largest integer that Python writes whatever its limit is
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) - {"taskName"} | {
    "message",
    "aws_request_id",
    "tenant_id",
    "_frame_type",
    "errorMessage",
    "errorType",
    "location",
    "stackTrace",
}


def _level(record: logging.LogRecord) -> int:
    return min(50, max(0, record.levelno)) // 10 * 10


class LambdaLoggerFilter(logging.Filter):
    """Gives each record `aws_request_id` and `tenant_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.aws_request_id, record.tenant_id = environment.log_ids
        return True


class TextFormatter(logging.Formatter):
    """The official text form; the date is formatted once a second, not once a record."""

    def __init__(self) -> None:
        super().__init__(_TEXT, _DATE)
        self._second = -1
        self._date = ""

    def formatTime(self, record: logging.LogRecord, datefmt: "str | None" = None) -> str:
        if datefmt != _DATE or self.converter is not time.gmtime or logging.Formatter.formatTime is not _format_time:
            return super().formatTime(record, datefmt)
        second = int(record.created)
        if second != self._second:
            self._date = time.strftime(_DATE, time.gmtime(second))
            self._second = second
        return self._date


class JsonFormatter(logging.Formatter):
    """One JSON object a record; attributes given as `extra` are fields of their own."""

    def __init__(self) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%SZ")
        self._encode: Callable[[Any], str] | None = None

    def format(self, record: "Any") -> str:
        record.levelno = _level(record)
        record.levelname = logging.getLevelName(record.levelno)
        record._frame_type = logs.JSON_FRAMES.get(record.levelno, logs.JSON_FRAMES[0])
        result = {
            "timestamp": self.formatTime(record, self.datefmt),
            "level": record.levelname,
            "message": record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage(),
            "logger": record.name,
        }
        beside: dict[str, Any] = {}
        if record.exc_info:
            import traceback

            from samovar.report import details, text

            kind, exc, tb = record.exc_info
            result["stackTrace"] = traceback.format_tb(tb)
            result["errorType"] = kind.__name__ if kind else None
            result["errorMessage"] = text(exc)
            beside = {} if exc is None else details(exc)
        result["requestId"] = getattr(record, "aws_request_id", None)
        if record.exc_info:
            result["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
        if getattr(record, "tenant_id", None) is not None:
            result["tenantId"] = record.tenant_id
        for key, value in record.__dict__.items():
            if key not in _RESERVED and key not in result:
                result[key] = value
        for key, value in beside.items():
            result.setdefault(key, value)
        if self._encode is None:
            import json

            # What JSON cannot hold is logged as its str(): a record is never lost to its extra fields.
            self._encode = json.JSONEncoder(ensure_ascii=False, default=_str, allow_nan=False).encode
        result = {key: value for key, value in result.items() if value is not None}
        try:
            return self._encode(result) + "\n"
        except (TypeError, ValueError, RecursionError):  # a key that is no string, NaN, a container in itself
            return self._encode(_plain(result)) + "\n"


def _str(value: object) -> str:
    from samovar.report import text

    return text(value)


def _plain(value: object, depth: int = 0) -> object:
    """Return value as far as JSON holds it, and else its str()."""
    if depth < _DEPTH:
        if isinstance(value, dict):
            return {
                key if key is None or isinstance(key, (str, bool)) else _str(key): _plain(item, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [_plain(item, depth + 1) for item in value]
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and value.bit_length() <= _BITS:
        return value
    if isinstance(value, float) and not value - value:  # neither NaN nor infinite
        return value
    return _str(value)


class LambdaLoggerHandler(logging.Handler):
    """Writes records to the environment's sink."""

    def __init__(self, log_sink: "Any") -> None:
        super().__init__()
        self.log_sink = log_sink

    def emit(self, record: logging.LogRecord) -> None:
        self.log_sink.log(_ended(self.format(record), record))


class LambdaLoggerHandlerWithFrameType(LambdaLoggerHandler):
    """The same, each record framed with its level."""

    def emit(self, record: logging.LogRecord) -> None:
        message = _ended(self.format(record), record)
        self.log_sink.log(message, getattr(record, "_frame_type", None) or logs.TEXT_FRAMES.get(_level(record)))


def _ended(text: str, record: logging.LogRecord) -> str:
    """Return text with a line end after a traceback, which Python's formatter puts behind that of the message."""
    return text + "\n" if (record.exc_text or record.stack_info) and not text.endswith("\n") else text


def set_up() -> None:
    """Puts the handler on the root logger and sets the level that `AWS_LAMBDA_LOG_LEVEL` asks for."""
    logging.Formatter.converter = time.gmtime
    root = logging.getLogger()
    level = logs.level_name()
    handler: LambdaLoggerHandler
    if logs.is_json() or level:
        handler = LambdaLoggerHandlerWithFrameType(logs.sink())
    else:
        handler = LambdaLoggerHandler(logs.sink())
    handler.setFormatter(JsonFormatter() if logs.is_json() else TextFormatter())
    if isinstance(logging.getLevelName(level), int):
        root.setLevel(level)
    handler.addFilter(LambdaLoggerFilter())
    root.addHandler(handler)
