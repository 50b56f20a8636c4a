"""The context object, the headers it comes from, and the process around the handler: environment, sys.path, streams."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.contract.harness import Event, Outcome, Run
from tests.contract.table import Batch, Case, Solo, app

CLIENT = json.dumps(
    {
        "client": {
            "installation_id": "i",
            "app_title": "t",
            "app_version_name": "v",
            "app_version_code": "c",
            "app_package_name": "p",
            "unknown": "x",
        },
        "custom": {"k": [1, None, "é"]},
        "env": {"locale": "en"},
        "unknown": {"x": 1},
    }
)
IDENTITY = '{"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool", "other": 1}'
W3C = json.dumps(
    {"custom": {"a": 1}, "w3c": {"traceparent": "00-x-y-01", "tracestate": "s=1", "baggage": 7, "other": "o"}}
)


def client(text: str) -> tuple[tuple[str, str | None], ...]:
    """The client context header."""
    return (("Lambda-Runtime-Client-Context", text),)


def cognito(text: str) -> tuple[tuple[str, str | None], ...]:
    """The Cognito identity header."""
    return (("Lambda-Runtime-Cognito-Identity", text),)


TENANT = (("Lambda-Runtime-Aws-Tenant-Id", "tenant-1"),)

EVERYTHING = """
    given = context.client_context
    return [given.custom, given.env, repr(given.client), repr(given)]
"""


def _says(value: object) -> Callable[[Outcome], object]:
    return lambda outcome: outcome.exit is None and outcome.value == value


CASES = (
    *(
        Case(f"context-{name.replace('_', '-')}", f"context.{name}")
        for name in (
            "aws_request_id",
            "function_name",
            "function_version",
            "invoked_function_arn",
            "memory_limit_in_mb",
            "log_group_name",
            "log_stream_name",
            "client_context",
            "tenant_id",
        )
    ),
    Case("context-vars", "[k for k in vars(context) if not k.startswith('_')]"),
    Case("context-vars-with-private", "list(vars(context))"),
    Case("context-public-dir", "[k for k in dir(context) if not k.startswith('_')]"),
    Case("context-class-name", "[type(context).__name__, type(context.identity).__name__]"),
    Case("context-repr", "repr(context)"),
    Case("context-repr-full", "repr(context)", headers=(*client(CLIENT), *cognito(IDENTITY), *TENANT)),
    Case("context-str", "str(context)"),
    Case(
        "context-attributes-can-be-set",
        "context.mine = 1\ncontext.function_name = 'x'\nreturn [context.mine, context.function_name]",
    ),
    Case("context-not-json", "context"),
    Case("context-is-new-each-time", "hasattr(context, 'mine')"),
    Case(
        "context-remaining",
        "a = context.get_remaining_time_in_millis()\nreturn [type(a).__name__, 600_000 < a <= 900_000]",
    ),
    Case(
        "context-remaining-decreases",
        """
            import time
            a = context.get_remaining_time_in_millis()
            end = time.time() + 0.003
            while time.time() < end: pass
            return context.get_remaining_time_in_millis() < a
        """,
    ),
    Case(
        "context-remaining-past",
        "context.get_remaining_time_in_millis()",
        headers=(("Lambda-Runtime-Deadline-Ms", "1000"),),
    ),
    Case(
        "context-remaining-absurd",
        "context.get_remaining_time_in_millis() > 10**12",
        headers=(("Lambda-Runtime-Deadline-Ms", "9000000000000"),),
    ),
    Case(
        "context-deadline",
        "context._epoch_deadline_time_in_ms",
        headers=(("Lambda-Runtime-Deadline-Ms", "1771732038813"),),
    ),
    Case(
        "context-identity-absent",
        "[context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id, repr(context.identity)]",
    ),
    Case(
        "context-identity",
        "[context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id, repr(context.identity)]",
        headers=cognito(IDENTITY),
    ),
    Case("context-identity-partial", "repr(context.identity)", headers=cognito('{"cognitoIdentityId": "id"}')),
    Case("context-identity-empty-object", "repr(context.identity)", headers=cognito("{}")),
    Case("context-identity-null", "repr(context.identity)", headers=cognito("null")),
    Case("context-identity-malformed", "1", headers=cognito("{oops")),
    Case("context-identity-list", "1", headers=cognito("[1]")),
    Case("context-identity-number", "1", headers=cognito("5")),
    Case("context-identity-slots", "context.identity.other = 1", headers=cognito(IDENTITY)),
    Case("context-client", EVERYTHING, headers=client(CLIENT)),
    Case(
        "context-client-attributes",
        """
            names = "installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name"
            return [getattr(context.client_context.client, name) for name in names]
        """,
        headers=client(CLIENT),
    ),
    Case(
        "context-client-class-names",
        "[type(context.client_context).__name__, type(context.client_context.client).__name__]",
        headers=client(CLIENT),
    ),
    Case("context-client-unknown-attribute", "context.client_context.unknown", headers=client(CLIENT)),
    Case("context-client-slots", "context.client_context.mine = 1", headers=client(CLIENT)),
    Case("context-client-only-custom", EVERYTHING, headers=client('{"custom": {"a": 1}}')),
    Case("context-client-empty-object", EVERYTHING, headers=client("{}")),
    Case("context-client-null", "context.client_context is None", headers=client("null")),
    Case("context-client-null-client", "repr(context.client_context)", headers=client('{"client": null}')),
    Case("context-client-client-is-string", "1", headers=client('{"client": "x"}')),
    Case("context-client-list", "1", headers=client("[1, 2]")),
    Case("context-client-string", "1", headers=client('"x"')),
    Case("context-client-number", "1", headers=client("7")),
    Case("context-client-zero", "1", headers=client("0")),
    Case("context-client-malformed", "1", headers=client("{not json")),
    Case("context-client-trailing", "1", headers=client("{} x")),
    Case("context-client-nan", "repr(context.client_context)", headers=client('{"custom": [NaN]}')),
    Case("context-client-escaped", "context.client_context.custom", headers=client(r'{"custom": "\u00e9\ud800"}')),
    Case(
        "context-client-utf8",
        "context.client_context.custom",
        headers=client('{"custom": "é日"}'.encode().decode("latin-1")),
    ),
    Case(
        "context-client-duplicate-keys", "context.client_context.custom", headers=client('{"custom": 1, "custom": 2}')
    ),
    Case("context-client-malformed-and-bad-event", "1", b"nope", headers=client("{not json")),
    Case("context-w3c-absent", "context.w3c()"),
    Case("context-w3c", "[context.w3c(), repr(context.client_context)]", headers=client(W3C)),
    Case("context-w3c-is-a-copy", "context.w3c()['traceparent'] = 'x'\nreturn context.w3c()", headers=client(W3C)),
    Case(
        "context-w3c-only", "[context.w3c(), repr(context.client_context)]", headers=client('{"w3c": {"baggage": "b"}}')
    ),
    Case("context-w3c-not-an-object", "[context.w3c(), repr(context.client_context)]", headers=client('{"w3c": "x"}')),
    Case("context-w3c-null", "[context.w3c(), repr(context.client_context)]", headers=client('{"w3c": null}')),
    Case("context-tenant", "context.tenant_id", headers=TENANT),
    Case("context-tenant-gone-again", "context.tenant_id"),
    Case(
        "context-tenant-non-ascii",
        "ascii(context.tenant_id)",
        headers=(("Lambda-Runtime-Aws-Tenant-Id", "té".encode().decode("latin-1")),),
    ),
    Case("context-log", "context.log('one')\ncontext.log('two\\n')\ncontext.log({'a': 1})"),
    Case("context-log-empty", "context.log('')"),
    Case("context-log-non-ascii", "context.log('naïve 日本\\n')"),
    Case(
        "context-arn-other",
        "context.invoked_function_arn",
        headers=(("Lambda-Runtime-Invoked-Function-Arn", "arn:x:y"),),
    ),
    Case("trace-id", "import os\nreturn os.environ.get('_X_AMZN_TRACE_ID')"),
    Case(
        "trace-id-changed",
        "import os\nreturn os.environ.get('_X_AMZN_TRACE_ID')",
        headers=(("Lambda-Runtime-Trace-Id", "Root=1-2-3"),),
    ),
    Case(
        "trace-id-absent",
        "import os\nreturn os.environ.get('_X_AMZN_TRACE_ID')",
        headers=(("Lambda-Runtime-Trace-Id", None),),
    ),
    Case("trace-id-back", "import os\nreturn os.environ.get('_X_AMZN_TRACE_ID')"),
    Case(
        "trace-id-seen-by-child",
        "import subprocess\nreturn subprocess.check_output(['/bin/sh', '-c', 'echo $_X_AMZN_TRACE_ID'], text=True)",
    ),
    Case(
        "trace-id-empty",
        "import os\nreturn os.environ.get('_X_AMZN_TRACE_ID')",
        headers=(("Lambda-Runtime-Trace-Id", ""),),
    ),
    Case("invocation-id-echoed", "1", headers=(("Lambda-Runtime-Invocation-Id", "inv-1"),)),
    Case("invocation-id-echoed-on-error", "raise ValueError()", headers=(("Lambda-Runtime-Invocation-Id", "inv-2"),)),
    Case("invocation-id-echoed-with-bytes", "b'x'", headers=(("Lambda-Runtime-Invocation-Id", "inv-3"),)),
    Case("invocation-id-not-repeated", "1"),
    Case("invocation-id-empty", "1", headers=(("Lambda-Runtime-Invocation-Id", ""),)),
    Case("missing-arn", "context.invoked_function_arn", headers=(("Lambda-Runtime-Invoked-Function-Arn", None),)),
    Case(
        "missing-deadline",
        "[context.get_remaining_time_in_millis(), context._epoch_deadline_time_in_ms]",
        headers=(("Lambda-Runtime-Deadline-Ms", None),),
    ),
    Case("missing-content-type", "repr(event)", content_type=None, differs="missing-content-type", ours=_says("{}")),
    Case("empty-content-type", "repr(event)", content_type="", differs="missing-content-type", ours=_says("b'{}'")),
    Case(
        "deadline-not-a-number",
        "context._epoch_deadline_time_in_ms",
        headers=(("Lambda-Runtime-Deadline-Ms", "soon"),),
        differs="bad-deadline",
        ours=lambda outcome: outcome.value["errorType"] == "Runtime.LambdaContextUnmarshalError",
    ),
    Case(
        "deadline-empty",
        "context._epoch_deadline_time_in_ms",
        headers=(("Lambda-Runtime-Deadline-Ms", ""),),
        differs="bad-deadline",
        ours=_says(0),
    ),
    Case("deadline-negative", "context._epoch_deadline_time_in_ms", headers=(("Lambda-Runtime-Deadline-Ms", "-5"),)),
    Case("deadline-float", "context._epoch_deadline_time_in_ms", headers=(("Lambda-Runtime-Deadline-Ms", "12.5"),)),
    Case("request-id-uuid", "context.aws_request_id"),
    Case(
        "stdout-attributes",
        """
            import sys
            return [
                [s.encoding, s.errors, s.isatty(), s.writable(), s.fileno(), s.name, s.mode, s.closed, s.buffer.mode]
                for s in (sys.stdout, sys.stderr)
            ]
        """,
    ),
    Case("print", "print('to stdout')"),
    Case("print-stderr", "import sys\nprint('to stderr', file=sys.stderr)"),
    Case("print-non-ascii", "print('naïve 日本 😀')"),
    Case("print-lone-surrogate", "print('\\ud800')"),
    Case("print-no-newline", "print('a', end='')\nprint('b', end='')"),
    Case("print-many-lines", "print('a\\nb\\n\\nc')"),
    Case(
        "print-unbuffered",
        """
            import os, sys
            print('1', end='')
            os.write(1, b'2')
            sys.stdout.write('3')
            os.write(1, b'4')
            sys.stdout.writelines(['5', '6'])
            os.write(1, b'7')
        """,
    ),
    Case(
        "stderr-unbuffered",
        "import os, sys\nsys.stderr.write('3')\nos.write(2, b'4')\nsys.stderr.writelines(['5'])\nos.write(2, b'6')",
    ),
    Case("stdout-buffer", "import sys\nsys.stdout.buffer.write(b'raw \\xff\\n')\nsys.stdout.buffer.flush()"),
    Case("stdout-write-result", "import sys\nreturn sys.stdout.write('x')", differs="native-stdout", ours=_says(1)),
    Case(
        "stdout-original",
        "import sys\nreturn [sys.stdout is not None, sys.__stdout__ is not None, sys.__stdout__.fileno()]",
    ),
    Case(
        "stdout-redirected-within-the-handler",
        """
            import contextlib, io
            with contextlib.redirect_stdout(io.StringIO()) as s:
                print('x')
            return s.getvalue()
        """,
    ),
    Case("stdin-empty", "import sys\nreturn sys.stdin.read()"),
    Case("sys-path-first", "import sys\nreturn sys.path[0] == __file__.rpartition('/')[0]"),
    Case("module-name", "__name__"),
    Case("module-file", "__file__.rpartition('/')[2]"),
    Case("main-module", "import sys\nreturn [sys.modules['__main__'].__name__, 'app' in sys.modules]"),
    Case("working-directory", "import os\nreturn os.getcwd() == os.environ['LAMBDA_TASK_ROOT']"),
    Case(
        "locale",
        """
            import os, sys, locale
            encodings = sys.getdefaultencoding(), sys.getfilesystemencoding(), locale.getpreferredencoding()
            return [encodings, open(os.devnull).encoding]
        """,
    ),
    Case("recursion-limit", "import sys\nreturn sys.getrecursionlimit()"),
    Case(
        "threads",
        "import threading\nreturn [threading.active_count(), threading.current_thread() is threading.main_thread()]",
    ),
    Case(
        "signals",
        "import signal\nreturn [str(signal.getsignal(s)) for s in (signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP)]",
    ),
    Case("signal-int-handler", "import signal\nreturn signal.getsignal(signal.SIGINT) is signal.default_int_handler"),
    Case("gc-enabled", "import gc\nreturn [gc.isenabled(), gc.get_threshold()]"),
    Case("asyncio-run", "import asyncio\nasync def main(): return 5\nreturn asyncio.run(main())"),
    Case("global-state", "STATE.append(len(STATE))\nreturn STATE"),
    Case("global-state-kept", "STATE.append(len(STATE))\nreturn STATE"),
    Case("excepthook", "import sys\nreturn sys.excepthook is sys.__excepthook__"),
    Case(
        "thread-dies",
        "import threading\nt = threading.Thread(target=lambda: None)\nt.start()\nt.join()\nreturn t.is_alive()",
    ),
    Case(
        "child-process",
        "import subprocess\nreturn subprocess.run(['/bin/echo', 'from a child'], check=True).returncode",
    ),
    Case(
        "multiprocessing-fork",
        "import os\npid = os.fork()\nif pid == 0: os._exit(3)\nreturn os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])",
    ),
    Case(
        "traceback-print-exc", "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()"
    ),
    Case("warnings", "import warnings\nwarnings.warn('careful')"),
    Case("inspect-source", "import inspect\nreturn inspect.getsource(case_inspect_source).splitlines()[0]"),
    Case("pickle-own-class", "import pickle\nreturn type(pickle.loads(pickle.dumps(Own()))).__name__"),
)

BATCH = Batch("context", CASES, prelude="STATE = []\n\nclass Own:\n    pass\n")

EMPTY_ENV = Batch(
    "context-empty-env",
    tuple(
        Case(f"context-empty-{name.replace('_', '-')}", f"context.{name}")
        for name in ("function_name", "function_version", "memory_limit_in_mb", "log_group_name", "log_stream_name")
    ),
    env={
        "AWS_LAMBDA_FUNCTION_NAME": "",
        "AWS_LAMBDA_FUNCTION_VERSION": "",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "",
        "AWS_LAMBDA_LOG_GROUP_NAME": "",
        "AWS_LAMBDA_LOG_STREAM_NAME": "",
    },
)

BATCHES = [BATCH, EMPTY_ENV]

SOLOS = [
    Solo(
        "context-env-read-when",
        Run(
            app("""
                import os
                os.environ["AWS_LAMBDA_FUNCTION_NAME"] = "set-in-init"

                def handler(event, context):
                    os.environ["AWS_LAMBDA_FUNCTION_NAME"] = "set-by-the-last-event"
                    return context.function_name
            """),
            (Event(), Event()),
        ),
    ),
    Solo(
        "trace-id-during-init",
        Run(
            app("""
                import os
                seen = os.environ.get("_X_AMZN_TRACE_ID")
                os.environ["_X_AMZN_TRACE_ID"] = "mine"

                def handler(event, context):
                    return [seen, os.environ.get("_X_AMZN_TRACE_ID")]
            """),
            (Event(), Event(headers=(("Lambda-Runtime-Trace-Id", None),)), Event()),
        ),
    ),
    Solo(
        "request-id-missing",
        Run(
            app("def handler(event, context):\n    return 1\n"),
            (Event(headers=(("Lambda-Runtime-Aws-Request-Id", None),)), Event()),
        ),
        differs="request-id-refused",
        ours=lambda outcomes: (
            outcomes[-1].exit == 1
            and outcomes[-1].stderr.startswith(
                b"samovar: GET /2018-06-01/runtime/invocation/next: the answer has no request id"
            )
        ),
    ),
    Solo(
        "handler-writes-own-environment",
        Run(
            app("""
                import os
                def handler(event, context):
                    os.environ.clear()
                    return "cleared"
            """),
            (Event(), Event()),
        ),
    ),
    Solo(
        "handler-changes-directory",
        Run(
            app("""
                import os
                def handler(event, context):
                    os.chdir("/")
                    raise ValueError("elsewhere")
            """),
            (Event(), Event()),
        ),
    ),
    Solo(
        "handler-replaces-stdout",
        Run(
            app("""
                import io, sys
                def handler(event, context):
                    sys.stdout = io.StringIO()
                    print("swallowed")
                    return 1
            """),
            (Event(), Event()),
        ),
    ),
    Solo(
        "handler-closes-stdout",
        Run(
            app("""
                import sys
                def handler(event, context):
                    with sys.stdout:
                        sys.stdout.write("once")
                    return "closed"
            """),
            (Event(), Event()),
        ),
        differs="native-stdout",
        ours=lambda outcomes: (
            outcomes[1].value == "closed"
            and outcomes[2].value["errorMessage"] == "I/O operation on closed file."
            and b"[ERROR] ValueError: I/O operation on closed file." in outcomes[2].stdout
        ),
    ),
    Solo(
        "handler-closes-stdin",
        Run(
            app("""
                import sys
                def handler(event, context):
                    sys.stdin.close()
                    return 1
            """),
            (Event(), Event()),
        ),
    ),
]
