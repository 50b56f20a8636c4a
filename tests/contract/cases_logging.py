"""Logging: every record body in every format, level and sink, and what a user's own set-up of `logging` does to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from tests.contract.harness import Event, Outcome, Run, frames
from tests.contract.table import Batch, Case, Differing, Solo, app, differing

PRELUDE = """
import logging, sys

log = logging.getLogger()
app_log = logging.getLogger("app.module")

class Odd:
    def __repr__(self): return "<Odd>"

def each_level(logger):
    logger.debug("debug")
    logger.info("info")
    logger.warning("warning")
    logger.error("error")
    logger.critical("critical")
"""

TENANT = (("Lambda-Runtime-Aws-Tenant-Id", "tenant-1"),)

BODIES: dict[str, str] = {
    "each-level": "each_level(log)",
    "child-logger": "each_level(app_log)",
    "own-level": 'log.log(5, "trace")\nlog.log(25, "between")\nlog.log(45, "high")\nlog.log(60, "top")',
    "effective-level": "return [log.level, log.getEffectiveLevel(), app_log.getEffectiveLevel(), log.isEnabledFor(20)]",
    "arguments": 'log.error("%s is %d%%", "x", 5)\nlog.error("%(a)s", {"a": 1})',
    "dict-message-in-itself": """
        inner = {}
        inner["self"] = inner
        try:
            log.error(inner)
        except Exception as e:
            return type(e).__name__
    """,
    "extra-odd": """
        nested = {(1, 2): float("inf"), 5: [float("nan"), 10**5000], None: {True: b"x"}}
        log.error("m", extra={"nested": nested, "context": "mine", "cause": 1})
    """,
    "extra-time": """
        keep = logging.StreamHandler(sys.stderr)
        keep.setFormatter(logging.Formatter("%(message)s %(asctime)s", "then"))
        log.handlers.insert(0, keep)
        log.error("with a date")
        log.handlers.remove(keep)
    """,
    "lone-surrogate": 'log.error("\\ud800")\nreturn 1',
    "bad-arguments": 'log.error("%d", "x")\nreturn "still alive"',
    "not-a-string": "log.error(5)\nlog.error(None)\nlog.error([1])\nlog.error(Odd())",
    "dict-message": 'log.error({"a": 1, "b": [2, None], "c": "é"})',
    "dict-message-odd": 'log.error({"a": Odd(), "b": float("nan"), 3: 4})',
    "dict-message-with-arguments": 'log.error({"a": 1}, "x") if False else log.error("%s", {"a": 1})',
    "exception": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('failed')",
    "exception-chained": """
        try:
            try:
                1 / 0
            except ZeroDivisionError as e:
                raise KeyError('k') from e
        except KeyError:
            log.exception('failed %s', 'twice')
    """,
    "exception-in-except": """
        try:
            try:
                1 / 0
            except ZeroDivisionError:
                error = KeyError('k')
                error.add_note('a note')
                raise error
        except KeyError:
            log.exception('failed')
    """,
    "stack-info-true": "log.error('with a stack', stack_info=True)\nlog.error('after it')",
    "exc-info-true-without": "log.error('nothing there', exc_info=True)",
    "exc-info-instance": "log.error('given', exc_info=ValueError('v'))",
    "stack-info": "log.error('with stack')",
    "extra": 'log.error("m", extra={"order": 7, "odd": Odd(), "none": None, "nested": {"a": [1]}})',
    "extra-clash-with-ours": 'log.error("m", extra={"aws_request_id": "mine", "tenant_id": "mine"})',
    "extra-clash-with-fields": 'log.error("m", extra=dict.fromkeys("timestamp level requestId location".split(), "x"))',
    "extra-reserved": 'try:\n    log.error("m", extra={"message": "x"})\nexcept KeyError as e:\n    return str(e)',
    "non-ascii": 'log.error("naïve 日本 😀")',
    "multi-line": 'log.error("one\\ntwo\\r\\n  three\\n")',
    "tabs-and-control": 'log.error("a\\tb\\x00c\\x1b[0m")',
    "empty": 'log.error("")',
    "json-text": 'log.error(\'{"level": "fake"}\')',
    "large": 'log.error("x" * 100_000)',
    "tenant": 'log.error("for a tenant")',
    "no-tenant-again": 'log.error("for nobody")',
    "record-attributes": """
        seen = []
        class Keep(logging.Handler):
            def emit(self, record): seen.append(record)
        keep = Keep()
        app_log.addHandler(keep)
        app_log.error("x")
        app_log.removeHandler(keep)
        return [hasattr(seen[0], "aws_request_id"), hasattr(seen[0], "tenant_id")]
    """,
    "handlers": "return [[type(h).__name__, h.level, len(h.filters), h.formatter is not None] for h in log.handlers]",
    "handler-classes": "return [isinstance(h, logging.Handler) for h in log.handlers]",
    "handler-has-log-sink": "return [hasattr(h, 'log_sink') for h in log.handlers]",
    "module-functions": 'logging.info("i")\nlogging.error("e")\nreturn len(log.handlers)',
    "basic-config-does-nothing": """
        logging.basicConfig(level=10)
        logging.debug('d')
        return [len(log.handlers), log.level]
    """,
    "from-thread": """
        import threading
        t = threading.Thread(target=log.error, args=('in a thread',))
        t.start()
        t.join()
    """,
    "from-other-function": "def inner():\n    app_log.error('inner')\ninner()",
    "warnings-captured": """
        import warnings
        logging.captureWarnings(True)
        warnings.warn('careful')
        logging.captureWarnings(False)
    """,
    "last-resort": "return logging.lastResort is not None",
    "raise-exceptions": "return logging.raiseExceptions",
    "converter": "import time\nreturn logging.Formatter.converter is time.gmtime",
    "context-log": "context.log('plain')\ncontext.log('line\\n')\ncontext.log({'a': 1})\ncontext.log(Odd())",
    "print-between": "print('p1')\nlog.error('l1')\nprint('p2')",
    "child-with-own-level": "c = logging.getLogger('chatty')\nc.setLevel(10)\nc.debug('d')\nc.setLevel(0)",
    "disabled-logger": "c = logging.getLogger('quiet')\nc.disabled = True\nc.error('nothing')\nc.disabled = False",
    "no-propagate": """
        c = logging.getLogger('alone')
        c.propagate = False
        c.addHandler(logging.StreamHandler(sys.stdout))
        c.error('direct')
    """,
    "logger-adapter": "logging.LoggerAdapter(log, {'k': 'v'}).error('adapted')",
    "level-names": "return [logging.getLevelName(n) for n in (0, 10, 20, 30, 40, 50, 5, 25)]",
    "record-factory": "return logging.getLogRecordFactory() is logging.LogRecord",
    "format-record-by-hand": """
        record = logging.LogRecord("n", 40, "p", 1, "by hand", (), None)
        return [bool(log.handlers[0].filter(record)), "by hand" in log.handlers[0].format(record)]
    """,
    "error-and-raise": "log.error('before')\nraise ValueError('after')",
    "lone-surrogate-escaped": "log.error(ascii('\\ud800'))",
    "percent-only": "log.error('100%')",
}

ENVIRONMENTS: dict[str, tuple[dict[str, str], bool]] = {
    "text": ({}, False),
    "text-explicit": ({"AWS_LAMBDA_LOG_FORMAT": "Text"}, False),
    "text-trace": ({"AWS_LAMBDA_LOG_LEVEL": "TRACE"}, False),
    "text-debug": ({"AWS_LAMBDA_LOG_LEVEL": "DEBUG"}, False),
    "text-info-lower": ({"AWS_LAMBDA_LOG_LEVEL": "info"}, False),
    "text-error": ({"AWS_LAMBDA_LOG_LEVEL": "ERROR"}, False),
    "text-invalid-level": ({"AWS_LAMBDA_LOG_LEVEL": "LOUD"}, False),
    "json": ({"AWS_LAMBDA_LOG_FORMAT": "JSON"}, False),
    "json-lower-case": ({"AWS_LAMBDA_LOG_FORMAT": "json"}, False),
    "json-debug": ({"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "DEBUG"}, False),
    "json-info": ({"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}, False),
    "json-fatal": ({"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "FATAL"}, False),
    "format-invalid": ({"AWS_LAMBDA_LOG_FORMAT": "XML"}, False),
    "framed": ({}, True),
    "framed-debug": ({"AWS_LAMBDA_LOG_LEVEL": "DEBUG"}, True),
    "framed-json": ({"AWS_LAMBDA_LOG_FORMAT": "JSON"}, True),
    "framed-json-trace": ({"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "TRACE"}, True),
}

# Every body in the four main environments; in the others the ones which they could change.
MAIN = ("text", "json", "framed-debug", "framed-json-trace")
ELSEWHERE = (
    "each-level",
    "child-logger",
    "own-level",
    "effective-level",
    "exception",
    "dict-message",
    "context-log",
    "error-and-raise",
    "basic-config-does-nothing",
)


def _failed_to_format(outcome: Outcome) -> object:
    message, arguments = "%d", ("x",)
    try:
        return message % arguments  # the words differ between versions of Python
    except TypeError as error:
        return outcome.value["errorMessage"] == str(error)


def _logged(outcome: Outcome) -> object:
    return outcome.value is None and b"nothing there" in outcome.stdout + outcome.telemetry


def _json_records(outcome: Outcome) -> object:
    """Every record is JSON, as strict as the platform's parser."""
    lines = [*outcome.stdout.splitlines(), *(message for _, _, message in frames(outcome.telemetry))]
    for line in lines:
        json.loads(line, parse_constant=lambda name: 1 / 0)
    return lines and outcome.exit is None


def _has(*words: str) -> Callable[[Outcome], object]:
    return lambda outcome: all(word in (outcome.stdout + outcome.telemetry).decode(errors="replace") for word in words)


def _ends(outcome: Outcome) -> object:
    return (outcome.stdout + outcome.telemetry).endswith(b"\n")


_IN_JSON: dict[str, Differing] = {
    "exc-info-true-without": ("exc-info-without-exception", _logged),
    "dict-message-odd": ("json-record", _json_records),
    "dict-message-in-itself": ("json-record", _json_records),
    "extra-odd": ("json-record", _json_records),
    "exception-chained": ("chained", _has('"cause": {"errorType": "ZeroDivisionError"', "'k'")),
    "exception-in-except": ("chained", _has('"context": {"errorType": "ZeroDivisionError"', '"notes": ["a note"]')),
}
_IN_TEXT: dict[str, Differing] = dict.fromkeys(
    (
        "exception",
        "exception-chained",
        "exception-in-except",
        "exc-info-instance",
        "exc-info-true-without",
        "stack-info-true",
    ),
    ("traceback-line-end", _ends),
)


def _differ(body: str, env: Mapping[str, str]) -> Differing | None:
    if body == "bad-arguments":
        return "log-handler-frames", _failed_to_format
    if body == "lone-surrogate":
        return "log-encoding", lambda outcome: outcome.value == 1 and _has("\\ud800")(outcome)
    is_json = env.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
    return (_IN_JSON if is_json else _IN_TEXT).get(body)


BATCHES = [
    Batch(
        f"logging-{name}",
        tuple(
            Case(
                f"log-{name}-{body}",
                source,
                headers=TENANT if body == "tenant" else (),
                **differing(_differ(body, env)),
            )
            for body, source in BODIES.items()
            if name in MAIN or body in ELSEWHERE
        ),
        PRELUDE,
        env,
        framed,
    )
    for name, (env, framed) in ENVIRONMENTS.items()
]

_SET_UPS: dict[str, str] = {
    "at-import": """
        import logging
        logging.warning("at import")
        logging.getLogger().setLevel(10)
        logging.debug("also")

        def handler(event, context):
            logging.debug("later")
    """,
    "basic-config-force": """
        import logging
        logging.basicConfig(force=True, level=20, format='%(levelname)s:%(message)s')

        def handler(event, context):
            logging.info('mine')
            context.log('still')
            return len(logging.getLogger().handlers)
    """,
    "basic-config-force-stdout": """
        import logging, sys

        def handler(event, context):
            logging.basicConfig(force=True, stream=sys.stdout, format='%(message)s')
            logging.error('mine')
            raise ValueError('after')
    """,
    "handlers-cleared": """
        import logging
        logging.getLogger().handlers.clear()

        def handler(event, context):
            logging.getLogger().error('nobody formats me')
    """,
    "own-formatter": """
        import logging
        logging.getLogger().handlers[0].setFormatter(logging.Formatter('%(aws_request_id)s|%(tenant_id)s|%(message)s\\n'))

        def handler(event, context):
            logging.error('mine')
    """,
    "formatter-changed-in-place": """
        import logging, time
        formatter = logging.getLogger().handlers[0].formatter

        def handler(event, context):
            logging.error('as it was')
            formatter._style._fmt = '%(levelname)s %(aws_request_id)s %(message)s' + chr(10)
            logging.error('another format')
            formatter._style._fmt = '%(asctime)s %(message)s' + chr(10)
            formatter.datefmt = '%Y'
            logging.error('another date')
            formatter.converter = lambda seconds: time.gmtime(0)
            logging.error('another clock')
            formatter.formatTime = lambda record, datefmt=None: 'now'
            logging.error('another time')
            formatter.formatMessage = lambda record: 'all mine' + chr(10)
            logging.error('another message')
            vars(formatter).pop('formatMessage')
            vars(formatter).pop('formatTime')
            vars(formatter).pop('converter')
            formatter._style = logging.StrFormatStyle('{message}!' + chr(10))
            logging.error('another style')
    """,
    "formatter-patched": """
        import logging
        logging.Formatter.formatTime = lambda self, record, datefmt=None: 'patched'
        logging.getLogger().handlers[0].formatter._style._fmt = '%(asctime)s %(message)s' + chr(10)

        def handler(event, context):
            logging.error('when')
    """,
    "handler-changed-in-place": """
        import logging
        target = logging.getLogger().handlers[0]

        class Sink:
            def log(self, text, frame_type=None):
                print('sunk', text.rpartition(chr(9))[2], end='')

        def handler(event, context):
            target.log_sink = Sink()
            logging.error('elsewhere')
            target.format = lambda record: 'formatted by hand' + chr(10)
            logging.error('anything')
            target.setLevel(50)
            logging.error('too low')
    """,
    "own-handler-added": """
        import logging, sys
        logging.getLogger().addHandler(logging.StreamHandler(sys.stderr))

        def handler(event, context):
            logging.error('twice')
    """,
    "dict-config": """
        import logging.config
        levels = {'mine': {'level': 'DEBUG'}}
        logging.config.dictConfig({'version': 1, 'disable_existing_loggers': False, 'loggers': levels})

        def handler(event, context):
            logging.getLogger('mine').debug('d')
            return [len(logging.getLogger().handlers), logging.getLogger('mine').handlers]
    """,
    "shutdown": """
        import logging

        def handler(event, context):
            logging.shutdown()
            logging.error('after shutdown')
    """,
    "disable": """
        import logging
        logging.disable(40)

        def handler(event, context):
            logging.error('off')
            logging.critical('on')
    """,
    "level-set-in-handler": """
        import logging

        def handler(event, context):
            logging.info('%s', logging.getLogger().level)
            logging.getLogger().setLevel('INFO')
    """,
    "logger-at-import-child": """
        import logging
        log = logging.getLogger(__name__)
        log.setLevel(logging.INFO)
        log.info('init')

        def handler(event, context):
            log.info('in handler')
    """,
    "logging-imported-late": """
        import sys

        def handler(event, context):
            import logging
            logging.warning('late')
            return [type(h).__name__ for h in logging.getLogger().handlers]
    """,
    "logging-submodule-late": """
        import sys

        def handler(event, context):
            import logging.handlers
            logging.warning('late')
            return len(logging.getLogger().handlers)
    """,
    "import-module-late": """
        import importlib

        def handler(event, context):
            importlib.import_module('logging').warning('late')
    """,
    "from-import-late": """
        def handler(event, context):
            from logging import getLogger
            getLogger('x').warning('late')
    """,
    "logging-through-asyncio": """
        import asyncio

        async def main():
            raise ValueError('lost')

        async def start():
            task = asyncio.ensure_future(main())
            await asyncio.sleep(0.001)
            del task
            import gc
            gc.collect()

        def handler(event, context):
            asyncio.run(start())
    """,
    "reload": """
        import importlib, logging
        importlib.reload(logging)

        def handler(event, context):
            logging.error('reloaded')
            return len(logging.getLogger().handlers)
    """,
    "settings-changed-at-import": """
        import os
        os.environ.update(AWS_LAMBDA_LOG_FORMAT="Text" if "AWS_LAMBDA_LOG_FORMAT" in os.environ else "JSON")
        os.environ["AWS_LAMBDA_LOG_LEVEL"] = "ERROR"
        import logging

        def handler(event, context):
            logging.info('for those with INFO')
            logging.error('as before')
            raise ValueError('as before')
    """,
    "environment-cleared": """
        import os

        def handler(event, context):
            os.environ.clear()
            raise ValueError('as before')
    """,
    "telemetry-variable": """
        import os

        def handler(event, context):
            return '_LAMBDA_TELEMETRY_LOG_FD' in os.environ
    """,
    "print-at-import": """
        import sys
        print('out')
        print('err', file=sys.stderr)

        def handler(event, context):
            pass
    """,
    "raw-fd-at-import": """
        import os
        os.write(1, b'raw out')
        os.write(2, b'raw err')

        def handler(event, context):
            pass
    """,
    "init-fails-after-log": "import logging\nlogging.error('soon')\nprint('printed')\nraise ValueError('in init')\n",
    "thread-at-import": """
        import logging, threading
        t = threading.Thread(target=lambda: logging.error('thread in init'))
        t.start()
        t.join()

        def handler(event, context):
            pass
    """,
    "json-formatter-of-user": """
        import json, logging

        class F(logging.Formatter):
            def format(self, record):
                return json.dumps({'m': record.getMessage(), 'r': record.aws_request_id}) + '\\n'

        for h in logging.getLogger().handlers:
            h.setFormatter(F())

        def handler(event, context):
            logging.error('mine')
    """,
    "filter-of-user": """
        import logging

        class F(logging.Filter):
            def filter(self, record):
                return 'secret' not in record.getMessage()

        logging.getLogger().handlers[0].addFilter(F())

        def handler(event, context):
            logging.error('a secret')
            logging.error('no such thing')
    """,
    "stdout-replaced": """
        import io, logging, sys

        def handler(event, context):
            real = sys.stdout
            sys.stdout = io.StringIO()
            logging.error('where does it go')
            text = sys.stdout.getvalue()
            sys.stdout = real
            return 'where' in text
    """,
}


def _lost(outcomes: list[Outcome]) -> object:
    return all(_has("ValueError: lost")(outcome) and _ends(outcome) for outcome in outcomes[1:])


SOLOS = [
    Solo(
        f"logging-{name}-{kind}",
        Run(app(source), (Event(), Event()), env=env, framed=framed),
        "traceback-line-end" if (glued := name == "logging-through-asyncio" and kind != "json") else None,
        _lost if glued else None,
        urllib3=False,
    )
    for name, source in _SET_UPS.items()
    for kind, env, framed in (
        ("text", {}, False),
        ("json", {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}, False),
        ("framed", {"AWS_LAMBDA_LOG_LEVEL": "DEBUG"}, True),
    )
]

SOLOS += [
    Solo(
        f"logging-non-ascii-on-an-ascii-stdout-{kind}",
        Run(
            app("""
        import logging

        def handler(event, context):
            logging.warning("naïve 日本")
            context.log("naïve" + chr(10))
            raise ValueError("naïve")
    """),
            (Event(), Event()),
            env={"PYTHONIOENCODING": "ascii", **env},
        ),
        "log-encoding",
        lambda outcomes: all(
            outcome.value["errorMessage"] == "naïve" and outcome.stdout.count("naïve".encode()) >= 3
            for outcome in outcomes[1:]
        ),
        urllib3=False,
    )
    for kind, env in (("text", {}), ("json", {"AWS_LAMBDA_LOG_FORMAT": "JSON"}))
]
