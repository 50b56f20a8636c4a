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

_TEXT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) - {"taskName"} | {
    "message",
    "asctime",
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
        invocation = environment.invocation
        if invocation is None:
            record.aws_request_id, record.tenant_id = "", None
        else:
            record.aws_request_id, record.tenant_id = invocation.id, invocation.tenant_id
        return True


class TextFormatter(logging.Formatter):
    """The official text form; the date is formatted once a second, not once a record."""

    def __init__(self) -> None:
        super().__init__(_TEXT, "%Y-%m-%dT%H:%M:%S")
        self._second = -1
        self._date = ""

    def format(self, record: "Any") -> str:
        if record.exc_info or record.exc_text or record.stack_info or self.converter is not time.gmtime:
            return super().format(record)
        created = record.created
        second = int(created)
        if second != self._second:
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        record.asctime = self._date
        record.message = message = record.getMessage()
        return f"[{record.levelname}]\t{self._date}.{int(record.msecs):03d}Z\t{record.aws_request_id}\t{message}\n"


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
        if record.exc_info:
            import traceback

            kind, exc, tb = record.exc_info
            result["stackTrace"] = traceback.format_tb(tb)
            result["errorType"] = kind.__name__ if kind else None
            result["errorMessage"] = str(exc)
        result["requestId"] = getattr(record, "aws_request_id", None)
        if record.exc_info:
            result["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
        if getattr(record, "tenant_id", None) is not None:
            result["tenantId"] = record.tenant_id
        for key, value in record.__dict__.items():
            if key not in _RESERVED and key not in result:
                result[key] = value
        if self._encode is None:
            import json

            # What JSON cannot hold is logged as its str(): a record is never lost to its extra fields.
            self._encode = json.JSONEncoder(ensure_ascii=False, default=str).encode
        return self._encode({key: value for key, value in result.items() if value is not None}) + "\n"


class LambdaLoggerHandler(logging.Handler):
    """Writes records to the environment's sink."""

    def __init__(self, log_sink: "Any") -> None:
        super().__init__()
        self.log_sink = log_sink

    def emit(self, record: logging.LogRecord) -> None:
        self.log_sink.log(self.format(record))


class LambdaLoggerHandlerWithFrameType(LambdaLoggerHandler):
    """The same, each record framed with its level."""

    def emit(self, record: logging.LogRecord) -> None:
        message = self.format(record)
        self.log_sink.log(message, getattr(record, "_frame_type", None) or logs.TEXT_FRAMES.get(_level(record)))


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
