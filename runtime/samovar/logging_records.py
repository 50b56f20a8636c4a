"""The user's `logging` on Lambda: one root handler, records with request id and tenant id, text or JSON.

Imported together with `logging`, never before it. Records have the official client's form, field for field. Knows
the log's sink and settings, and the environment.
"""

import logging
import time

from samovar import codec, logs
from samovar.environment import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DATE = "%Y-%m-%dT%H:%M:%S"
_TEXT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
_format_time = logging.Formatter.formatTime
_DEPTH = 50  # levels of containers in a record's field; deeper ones are logged as str()
_BITS = 10_000  # of the largest integer that is logged as a number: Python limits the digits of larger ones
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
    """A filter that gives each record `aws_request_id` and `tenant_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.aws_request_id, record.tenant_id = environment.log_ids
        return True


class TextFormatter(logging.Formatter):
    """The official text form. The date is formatted once a second, not once a record."""

    def __init__(self) -> None:
        super().__init__(_TEXT, _DATE)
        self._last = -1, ""  # a second and its date

    def formatTime(self, record: logging.LogRecord, datefmt: "str | None" = None) -> str:
        if datefmt != _DATE or self.converter is not time.gmtime or logging.Formatter.formatTime is not _format_time:
            return super().formatTime(record, datefmt)
        second, date = self._last
        if second != int(record.created):
            second = int(record.created)
            date = time.strftime(_DATE, time.gmtime(second))
            self._last = second, date
        return date


class JsonFormatter(logging.Formatter):
    """One JSON object for each record; attributes given as `extra` are fields of their own."""

    def __init__(self) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%SZ")

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
        details: dict[str, Any] = {}
        if record.exc_info:
            error, details = _error(record.exc_info)
            result.update(error)
        result["requestId"] = getattr(record, "aws_request_id", None)
        if record.exc_info:
            result["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
        if getattr(record, "tenant_id", None) is not None:
            result["tenantId"] = record.tenant_id
        for key, value in record.__dict__.items():
            if key not in _RESERVED and key not in result:
                result[key] = value
        for key, value in details.items():
            result.setdefault(key, value)
        return self._written({key: value for key, value in result.items() if value is not None})

    def _written(self, result: "dict[str, Any]") -> str:
        try:  # No extra field may cost the record: what JSON has no form for is logged as its str().
            return codec.dumps_spaced(result, _str) + "\n"
        except (TypeError, ValueError, RecursionError):  # a key that is no string, NaN, a container in itself
            return codec.dumps_spaced(_plain(result), _str) + "\n"


def _error(exc_info: "Any") -> "tuple[dict[str, Any], dict[str, Any]]":
    """Return an exception's fields of a record, and those that come after all others."""
    import traceback

    from samovar.report import details, text

    kind, exc, tb = exc_info
    error = {
        "stackTrace": traceback.format_tb(tb),
        "errorType": kind.__name__ if kind else None,
        "errorMessage": text(exc),
    }
    return error, {} if exc is None else details(exc)


def _str(value: object) -> str:
    from samovar.report import text

    return text(value)


def _plain(value: object, depth: int = 0) -> object:
    """Return value with str() of whatever JSON has no form for."""
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
    """A handler that writes records to the environment's sink."""

    def __init__(self, log_sink: "Any") -> None:
        super().__init__()
        self.log_sink = log_sink

    def emit(self, record: logging.LogRecord) -> None:
        self.log_sink.log(_ended(self.format(record), record))


class LambdaLoggerHandlerWithFrameType(LambdaLoggerHandler):
    """The same, with the level in each record's frame."""

    def emit(self, record: logging.LogRecord) -> None:
        message = _ended(self.format(record), record)
        self.log_sink.log(message, getattr(record, "_frame_type", None) or logs.TEXT_FRAMES.get(_level(record)))


def _ended(text: str, record: logging.LogRecord) -> str:
    """Return text with a line end after a traceback: the format's own line end comes before it."""
    return text + "\n" if (record.exc_text or record.stack_info) and not text.endswith("\n") else text


def set_up() -> None:
    """Put the handler on the root logger and set the level that `AWS_LAMBDA_LOG_LEVEL` asks for."""
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
