"""A handler that fails: the error posted, the X-Ray cause, the log record, and whether the environment lives on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from tests.contract.harness import Event, Outcome, Run
from tests.contract.table import Batch, Case, Differing, Solo, app, differing

PRELUDE = """
import asyncio, collections, dataclasses, decimal, functools, json, math, sys

class Custom(Exception):
    pass

class WithInit(Exception):
    def __init__(self, code, **details):
        super().__init__(f"code {code}")
        self.details = details

class WithStr(Exception):
    def __str__(self): return "from __str__"

class StrRaises(Exception):
    def __str__(self): raise RuntimeError("in __str__")

class StrNotAString(Exception):
    def __str__(self): return 5

class Renamed(Exception):
    pass
Renamed.__name__ = "Other name: é"

class Outer:
    class Inner(Exception):
        pass

class errorType(Exception):
    pass

@dataclasses.dataclass
class DataError(Exception):
    code: int = 3

class KeyLike(KeyError):
    pass

class Metaclassed(type):
    def __str__(cls): return "metaclass"

class WithMeta(Exception, metaclass=Metaclassed):
    pass

def level_one(n):
    return level_two(n)

def level_two(n):
    return 10 / n

def recurse(n):
    if n == 0:
        raise Custom("at the bottom")
    return recurse(n - 1)

def forever():
    return forever()

def decorated(f):
    @functools.wraps(f)
    def wrapper(*args):
        return f(*args)
    return wrapper

@decorated
def wrapped():
    raise Custom("wrapped")

def generator():
    yield 1
    raise Custom("in generator")

class Manager:
    def __enter__(self): return self
    def __exit__(self, *args): raise Custom("in __exit__")

class Descriptor:
    @property
    def value(self): raise Custom("in property")

class NoText(Exception):
    def __init__(self): pass

class BadItems(dict):
    def items(self): raise Custom("in items")

class BadAsdict:
    def _asdict(self): raise Custom("in _asdict")
"""

CASES = (
    Case("error-builtin", 'raise ValueError("wrong")'),
    Case("error-no-message", "raise ValueError"),
    Case("error-empty-message", 'raise ValueError("")'),
    Case("error-many-args", 'raise ValueError("a", 1)'),
    Case("error-arg-not-string", "raise ValueError(17)"),
    Case("error-arg-none", "raise ValueError(None)"),
    Case("error-key-error", '{}["missing"]'),
    Case("error-key-error-subclass", 'raise KeyLike("k")'),
    Case("error-zero-division", "1 / 0"),
    Case("error-os-error", 'open("/no/such/file")'),
    Case("error-type-error", "len(5)"),
    Case("error-attribute", "None.foo"),
    Case("error-name", "undefined_name"),
    Case("error-name-suggestion", "lenn(event)"),
    Case("error-unicode", 'b"\\xff".decode()'),
    Case("error-assert", 'assert event == 1, "not one"'),
    Case("error-assert-bare", "assert 0"),
    Case("error-stop-iteration", 'raise StopIteration("v")'),
    Case("error-memory", "raise MemoryError()"),
    Case("error-not-implemented", "raise NotImplementedError"),
    Case("error-timeout", 'raise TimeoutError("late")'),
    Case("error-overflow", "math.exp(1000)"),
    Case("error-json", 'json.loads("{")'),
    Case("error-decimal", 'decimal.Decimal("x")'),
    Case("error-custom", 'raise Custom("mine")'),
    Case("error-custom-init", "raise WithInit(7, a=1)"),
    Case("error-custom-str", 'raise WithStr("ignored")'),
    Case("error-str-not-a-string", "raise StrNotAString()"),
    Case("error-renamed", 'raise Renamed("x")'),
    Case("error-nested-class", 'raise Outer.Inner("x")'),
    Case("error-class-called-errorType", 'raise errorType("x")'),
    Case("error-dataclass", "raise DataError(4)"),
    Case("error-metaclass", 'raise WithMeta("x")'),
    Case("error-init-not-called", "raise NoText()"),
    Case("error-non-ascii", 'raise ValueError("naïve 日本 😀")'),
    Case("error-newlines", 'raise ValueError("one\\ntwo\\r\\n  three\\n\\n")'),
    Case("error-tabs-and-spaces", 'raise ValueError("  indented\\n\\tand tabbed")'),
    Case("error-quotes", "raise ValueError('a \"b\" \\\\ c')"),
    Case("error-control", 'raise ValueError("\\x00\\x1b[31m\\x7f")'),
    Case("error-line-separators", 'raise ValueError("a\\u2028b\\u0085c\\x0cd")'),
    Case("error-looks-like-json", 'raise ValueError(\'{"errorType": "x"}\')'),
    Case("error-header-injection", 'raise ValueError("a\\r\\nX-Evil: 1\\r\\n\\r\\n")'),
    Case("error-long-message", 'raise ValueError("x" * 10_000)'),
    Case("error-chained-from", 'try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise Custom("outer") from e'),
    Case("error-chained-implicit", 'try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise Custom("outer")'),
    Case("error-chained-suppressed", 'try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise Custom("outer") from None'),
    Case("error-reraised", "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise"),
    Case("error-with-note", 'e = ValueError("x")\ne.add_note("a note")\nraise e'),
    Case("error-group", 'raise ExceptionGroup("many", [ValueError("a"), TypeError("b")])'),
    Case("error-chained-in-a-circle", 'a = Custom("a")\nb = Custom("b")\na.__cause__ = b\nb.__cause__ = a\nraise a'),
    Case(
        "error-chained-often",
        "e = None\nfor n in range(1000):\n    f = Custom(n)\n    f.__cause__ = e\n    e = f\nraise e",
    ),
    Case("error-group-large", 'raise ExceptionGroup("many", [Custom(n) for n in range(1000)])'),
    Case("error-note-without-text", 'e = ValueError("x")\ne.__notes__ = [StrRaises()]\nraise e'),
    Case("error-group-nested", 'raise ExceptionGroup("outer", [ExceptionGroup("inner", [Custom("c")])])'),
    Case("error-frames", "level_one(0)"),
    Case("error-lambda", "(lambda x: x / 0)(1)"),
    Case("error-comprehension", "[1 / n for n in (1, 0)]"),
    Case("error-decorated", "wrapped()"),
    Case("error-generator-frame", "list(generator())"),
    Case("error-sorted-key", "sorted([1, 2], key=lambda x: x.nope)"),
    Case("error-map", "list(map(level_two, [1, 0]))"),
    Case("error-property", "Descriptor().value"),
    Case("error-exit-manager", "with Manager():\n    1 / 0"),
    Case("error-finally", "try:\n    1 / 0\nfinally:\n    {}['x']"),
    Case("error-multi-line-statement", "return max(\n    1,\n    1 / 0,\n)"),
    Case("error-exec", 'exec("def f():\\n    raise Custom(1)\\nf()", globals())'),
    Case("error-exec-own-filename", 'exec(compile("1/0", "made/up.py", "exec"))'),
    Case("error-eval", 'eval("1/0")'),
    Case("error-exec-called-bootstrap", 'exec(compile("1/0", "/var/task/bootstrap.py", "exec"))'),
    Case("error-syntax-at-run-time", 'compile("def (", "f.py", "exec")'),
    Case("error-import-at-run-time", "import no_such_module_anywhere"),
    Case("error-stdlib-frames", 'json.loads("[1,")'),
    Case("error-recursion-30", "recurse(30)"),
    Case("error-recursion-900", "recurse(900)"),
    Case("error-recursion-limit", "forever()"),
    Case("error-asyncio", "async def main():\n    raise Custom('in a coroutine')\nasyncio.run(main())"),
    Case(
        "error-thread-future",
        """
            from concurrent.futures import ThreadPoolExecutor
            with ThreadPoolExecutor(1) as pool:
                pool.submit(level_two, 0).result()
        """,
    ),
    Case("error-with-traceback-none", "raise Custom('x').with_traceback(None)"),
    Case("error-raise-class-not-exception", "raise int"),
    Case("error-no-arguments-taken", "(lambda: 1)(event, context)"),
    Case("error-in-items", "BadItems(a=1)"),
    Case("error-in-asdict", "[BadAsdict()]"),
    Case("error-invocation-then-fine", "'fine'"),
    Case("error-xray-large", 'raise ValueError("x" * 1_100_000)'),
    Case("error-xray-just-below", 'raise ValueError("x" * (1024 * 1024 - 2_000))'),
    Case("error-printed-and-raised", 'print("before")\nraise ValueError("after")'),
    Case("error-lone-surrogate-message", 'raise ValueError("\\ud800")'),
    Case("error-stdlib-exception-type", "import subprocess\nsubprocess.run(['/bin/false'], check=True)"),
    Case("error-undecodable-event", "1", b"nope"),
)


def _reported(name: str, message: str) -> Callable[[Outcome], object]:
    return lambda outcome: (
        outcome.exit is None and outcome.value["errorType"] == name and outcome.value["errorMessage"] == message
    )


def _logged(*words: str) -> Callable[[Outcome], object]:
    """The official error JSON, and in the log what it has no place for."""
    return lambda outcome: (
        outcome.exit is None
        and set(outcome.value) == {"errorMessage", "errorType", "requestId", "stackTrace"}
        and all(
            word in outcome.stdout.decode().replace('"errorType":"Custom","errorMessage":"', "Custom: ")
            for word in words
        )
    )


DIFFER: dict[str, Differing] = {
    **{
        f"error-{name}": ("chained", _logged(*words))
        for name, words in {
            "chained-from": ("ZeroDivisionError", "division by zero", "1 / 0"),
            "chained-implicit": ("ZeroDivisionError", "division by zero", "1 / 0"),
            "exit-manager": ("ZeroDivisionError", "division by zero", "1 / 0"),
            "finally": ("ZeroDivisionError", "division by zero", "1 / 0"),
            "chained-in-a-circle": ("Custom", "b"),
            "chained-often": ("999", "998", "950"),
            "group-large": ("Custom: 0", "Custom: 49"),
            "note-without-text": ("<StrRaises: its __str__ raised RuntimeError>",),
            "with-note": ("a note",),
            "group": ("ValueError", "TypeError"),
            "group-nested": ("inner (1 sub-exception)", "Custom"),
        }.items()
    },
    "error-recursion-limit": ("recursion-depth", lambda outcome: outcome.value["errorType"] == "RecursionError"),
    "error-str-not-a-string": (
        "exception-without-text",
        _reported("StrNotAString", "<StrNotAString: its __str__ raised TypeError>"),
    ),
}
# Only the text log has no way to write one.
DIFFER_TEXT: dict[str, Differing] = {
    **DIFFER,
    "error-lone-surrogate-message": ("lone-surrogate-log", _reported("ValueError", "\ud800")),
}


def _variant(prefix: str, cases: Iterable[Case], differ: Mapping[str, Differing]) -> tuple[Case, ...]:
    return tuple(replace(case, id=prefix + case.id, **differing(differ.get(case.id))) for case in cases)


# Those whose log record could depend on where it goes.
_LOGGED = tuple(
    case
    for case in CASES
    if case.id.removeprefix("error-")
    in {
        "builtin",
        "no-message",
        "newlines",
        "tabs-and-spaces",
        "control",
        "non-ascii",
        "line-separators",
        "frames",
        "recursion-30",
        "exec",
        "multi-line-statement",
        "undecodable-event",
        "lone-surrogate-message",
        "long-message",
        "in-items",
        "printed-and-raised",
    }
)

BATCHES = [
    Batch("error", _variant("", CASES, DIFFER_TEXT), PRELUDE),
    Batch("error-json", _variant("json-", CASES, DIFFER), PRELUDE, env={"AWS_LAMBDA_LOG_FORMAT": "JSON"}),
    Batch("error-framed", _variant("framed-", _LOGGED, DIFFER_TEXT), PRELUDE, framed=True),
    Batch(
        "error-framed-json",
        _variant("framed-json-", _LOGGED, DIFFER),
        PRELUDE,
        env={"AWS_LAMBDA_LOG_FORMAT": "JSON"},
        framed=True,
    ),
    Batch(
        "error-managed-runtime",
        (
            Case("managed-result-non-ascii", "{'é': '日本 😀'}"),
            Case("managed-error-non-ascii", 'raise ValueError("naïve 日本 😀")'),
            Case("managed-error-in-message", 'raise ValueError("é" * 5)'),
            Case("managed-result-decimal", 'decimal.Decimal("1.10")'),
        ),
        PRELUDE,
        env={"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"},
    ),
]


def _too_large(outcomes: list[Outcome]) -> object:
    """Told to the API twice (the RIE answers 403 to the second), then the same environment takes the next event."""
    first, second = outcomes[1:]
    response, error = first.posts
    return (
        response.call.endswith("/response")
        and error.call.endswith("/error")
        and dict(error.body[1])["errorType"] == "Function.ResponseSizeTooLarge"
        and b"[ERROR] Function.ResponseSizeTooLarge: Response payload size (629155" in first.stdout
        and second.value == 2
    )


def _lives_on(outcomes: list[Outcome]) -> object:
    return all(outcome.value["errorMessage"] == "x" and outcome.exit is None for outcome in outcomes[1:])


def fails(statement: str) -> Run:
    """A handler that runs the statement, with a second event behind it."""
    return Run(app(f"import os, signal, sys\n\ndef handler(event, context):\n    {statement}\n"), (Event(), Event()))


def own(name: str, used: bool) -> Run:
    """A handler that fails, beside a module of its own that has the name of the standard library's."""
    source = f"import {name}\n" if used else ""
    source += "def handler(event, context):\n    raise ValueError('x')\n"
    return Run({"app.py": source, f"{name}.py": "MINE = 1\n"}, (Event(), Event()))


def _own_module(outcomes: list[Outcome]) -> object:
    return all('/app.py", line ' in outcome.value["stackTrace"][0] for outcome in outcomes[1:])


# The telemetry descriptor is a file here. Without its sockets the official client may hang instead of ending.
_CLOSE_FILES = """
    import stat
    for fd in range(3, 100):
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                os.close(fd)
        except OSError:
            pass
"""

SOLOS = [
    Solo(
        "error-str-raises",
        Run(
            app("""
        class StrRaises(Exception):
            def __str__(self): raise RuntimeError("in __str__")

        def handler(event, context):
            raise StrRaises()
    """),
            (Event(), Event()),
        ),
        "exception-without-text",
        lambda outcomes: all(
            outcome.value["errorMessage"] == "<StrRaises: its __str__ raised RuntimeError>" for outcome in outcomes[1:]
        ),
    ),
    Solo(
        "error-that-calls-itself-fatal",
        Run(
            app("""
        class Refused(Exception):
            def fatal(self): return False

        def handler(event, context):
            raise Refused("x")
    """),
            (Event(), Event()),
        ),
    ),
    Solo(
        "error-for-want-of-descriptors",
        Run(
            app("""
        import os, resource, traceback
        traceback.format_stack()  # imports more when first used, from Python 3.13 on: the official client would exit
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []

        def handler(event, context):
            if not held:
                os.remove(__file__)
            while True:
                held.append(open("/dev/null"))
    """),
            (Event(), Event()),
        ),
    ),
    Solo(
        "error-too-large",
        fails("raise ValueError('x' * 6_291_556)"),
        "error-too-large",
        lambda outcomes: all(
            outcome.value["errorMessage"].startswith("x" * 100_000 + "… (")
            and len(outcome.value["errorMessage"]) < 101_000
            for outcome in outcomes[1:]
        ),
    ),
    Solo(
        "error-in-a-removed-folder",
        Run(
            app("""
        import os, tempfile

        def handler(event, context):
            folder = tempfile.mkdtemp()
            os.chdir(folder)
            os.rmdir(folder)
            raise ValueError("x")
    """),
            (Event(), Event()),
        ),
        "folder-removed",
        _lives_on,
    ),
    *(
        Solo(
            f"error-{name}",
            Run(
                app(f"import os, sys\n\ndef handler(event, context):\n    {close}\n    raise ValueError('x')\n"),
                (Event(), Event()),
                framed=framed,
            ),
            "log-closed",
            _lives_on,
            urllib3=not framed,  # it does not connect again when its socket has been closed under it
        )
        for name, close, framed in (
            ("without-stdout", "sys.stdout = None", False),
            ("with-stdout-closed", "sys.stdout.close()", False),
            ("with-descriptor-1-closed", "os.path.exists('/proc/self/fd/1') and os.close(1)", False),
            ("with-telemetry-closed", _CLOSE_FILES, True),
        )
    ),
    Solo(
        "large-head-after-an-event-that-is-no-json",
        Run(
            app("""
        def handler(event, context):
            return len(context.client_context.custom["large"])
    """),
            (
                Event(b"\xff"),
                Event(headers=(("Lambda-Runtime-Client-Context", '{"custom":{"large":"%s"}}' % ("x" * 20_000)),)),
            ),
        ),
    ),
    *(
        Solo(f"error-with-{name}-of-the-functions-own", own(name, used), differs, _own_module, urllib3=False)
        for name, used, differs in (
            ("traceback", True, "shadowed-stdlib"),
            ("types", True, "shadowed-stdlib"),
            # Python 3.15 has imported linecache before the function's folder is on sys.path.
            ("linecache", False, "shadowed-stdlib" if sys.version_info < (3, 15) else None),
        )
    ),
    Solo(
        "error-after-sys-path-was-replaced",
        Run(
            app("""
        import sys, tokenize  # from Python 3.13 on the official client has no line of source without it

        def handler(event, context):
            if event == 1:
                sys.path[:] = ["/tmp/deps"]
                return 1
            raise ValueError("x")
    """),
            (Event(b"1"), Event(b"2"), Event(b"1"), Event(b"2")),
        ),
    ),
    *(
        Solo(
            f"error-without-{name}",
            fails(f"sys.{name}.clear(); raise ValueError('x')"),
            "no-imports",
            _lives_on,
            urllib3=False,  # which imports as it goes
        )
        for name in ("modules", "meta_path")
    ),
    Solo(
        "error-for-want-of-memory",
        Run(
            app("""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (500 << 20, 500 << 20))
        held = []

        def handler(event, context):
            if event == 2:
                held.clear()
                return 2
            while True:
                held.append([])
    """),
            (Event(b"1"), Event(b"1"), Event(b"2")),
        ),
        "memory",
        lambda outcomes: (
            [outcome.value["errorType"] for outcome in outcomes[1:3]] == ["MemoryError"] * 2 and outcomes[3].value == 2
        ),
    ),
    *(
        Solo(
            f"alarm-left-behind-by-{name}",
            Run(
                app(f"""
        import signal, time

        def over(*args):
            raise TimeoutError("over")

        def handler(event, context):
            if event == 1:
                {set_up}
                {leaves}
            time.sleep(1.5)
            return 2
    """),
                (Event(b"1"), Event(b"2")),
            ),
            "alarm",
            lambda outcomes: outcomes[-1].exit is None and outcomes[-1].value == 2,
        )
        for name, set_up, leaves in (
            ("a-result", "signal.alarm(1)", "return 1"),
            ("a-failure", "signal.alarm(1)", "raise ValueError"),
            ("a-handler", "signal.signal(signal.SIGALRM, over); signal.alarm(1)", "return 1"),
            ("a-timer", "signal.signal(signal.SIGALRM, over); signal.setitimer(signal.ITIMER_REAL, 1)", "return 1"),
        )
    ),
    Solo(
        "timer-with-an-interval",
        Run(
            app("""
        import signal, time
        ticks = []
        signal.signal(signal.SIGALRM, lambda *args: ticks.append(1))

        def handler(event, context):
            if event == 1:
                signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
                return 1
            while not ticks:
                time.sleep(0.1)
            return 2
    """),
            (Event(b"1"), Event(b"2")),
        ),
    ),
    Solo("exit-int", fails("sys.exit(7)")),
    Solo("exit-zero", fails("sys.exit(0)")),
    Solo("exit-none", fails("sys.exit()")),
    Solo("exit-string", fails("sys.exit('a message')")),
    Solo("exit-object", fails("sys.exit([1, 2])")),
    Solo("exit-large", fails("sys.exit(300)")),
    Solo("exit-negative", fails("sys.exit(-1)")),
    Solo("exit-true", fails("sys.exit(True)")),
    Solo("exit-raise-systemexit", fails("raise SystemExit(5)")),
    Solo("exit-builtin", fails("exit(6)")),
    Solo("exit-os-_exit", fails("os._exit(9)")),
    Solo("exit-os-_exit-zero", fails("os._exit(0)")),
    Solo("exit-printed-before", fails("print('last words'); sys.exit(3)")),
    Solo(
        "exit-atexit",
        Run(
            app("""
        import atexit, sys
        atexit.register(print, "from atexit")

        def handler(event, context):
            sys.exit(4)
    """),
            (Event(),),
        ),
    ),
    Solo("exit-keyboard-interrupt", fails("raise KeyboardInterrupt")),
    Solo("exit-keyboard-interrupt-message", fails("raise KeyboardInterrupt('stop')")),
    Solo("exit-generator-exit", fails("raise GeneratorExit('x')")),
    Solo("exit-base-exception", fails("raise BaseException('x')")),
    Solo(
        "exit-base-exception-subclass",
        Run(
            app("""
        class Mine(BaseException):
            pass

        def handler(event, context):
            raise Mine("x")
    """),
            (Event(), Event()),
        ),
    ),
    Solo("exit-base-exception-group", fails("raise BaseExceptionGroup('g', [KeyboardInterrupt()])")),
    Solo(
        "exit-cancelled",
        Run(
            app("""
        import asyncio

        def handler(event, context):
            raise asyncio.CancelledError()
    """),
            (Event(), Event()),
        ),
        "cancelled",
        lambda outcomes: [outcome.value["errorType"] for outcome in outcomes[1:]] == ["CancelledError"] * 2,
    ),
    Solo(
        "exit-on-second-event",
        Run(
            app("""
        import sys
        seen = []

        def handler(event, context):
            seen.append(event)
            if len(seen) == 2:
                sys.exit(2)
            return len(seen)
    """),
            (Event(), Event(), Event()),
        ),
    ),
    Solo("signal-kill", fails("os.kill(os.getpid(), signal.SIGKILL)")),
    Solo("signal-term", fails("os.kill(os.getpid(), signal.SIGTERM)")),
    Solo("signal-segv", fails("os.kill(os.getpid(), signal.SIGSEGV)")),
    Solo("signal-abort", fails("os.abort()")),
    Solo("signal-int", fails("os.kill(os.getpid(), signal.SIGINT)")),
    Solo("signal-hup", fails("os.kill(os.getpid(), signal.SIGHUP)")),
    Solo("signal-pipe", fails("os.kill(os.getpid(), signal.SIGPIPE)")),
    Solo(
        "signal-alarm-handled",
        fails("signal.signal(signal.SIGALRM, lambda *a: print('alarm')); signal.raise_signal(signal.SIGALRM)"),
    ),
    Solo(
        "signal-handler-raises",
        fails("signal.signal(signal.SIGUSR1, lambda *a: 1 / 0); signal.raise_signal(signal.SIGUSR1)"),
    ),
    Solo(
        "thread-exception",
        Run(
            app("""
        import threading
        def handler(event, context):
            t = threading.Thread(target=lambda: 1 / 0, name="worker")
            t.start()
            t.join()
            return "fine"
    """),
            (Event(), Event()),
        ),
    ),
    Solo(
        "environment-lives-on",
        Run(
            app("""
        seen = []

        def handler(event, context):
            seen.append(1)
            if len(seen) % 2:
                raise ValueError(len(seen))
            return {1, 2} if len(seen) == 4 else len(seen)
    """),
            tuple(Event() for _ in range(6)),
        ),
    ),
    Solo(
        "frames-of-an-imported-module",
        Run(
            {
                "app.py": "from lib.deep import f\n\ndef handler(event, context):\n    return f(event)\n",
                "lib/__init__.py": "",
                "lib/deep.py": "class Deep(Exception):\n    pass\n\n\ndef f(event):\n    raise Deep('from a module')\n",
            }
        ),
    ),
    Solo(
        "frames-when-source-is-gone",
        Run(
            app("""
        import os

        def handler(event, context):
            os.remove(__file__)
            raise ValueError("no source")
    """)
        ),
    ),
    Solo(
        "frames-in-a-file-called-bootstrap",
        Run(
            {
                "app.py": "import pkg.bootstrap\n\ndef handler(event, context):\n    return pkg.bootstrap.f()\n",
                "pkg/__init__.py": "",
                "pkg/bootstrap.py": "def f():\n    raise ValueError('mine')\n",
            }
        ),
    ),
    Solo(
        "handler-in-a-file-called-bootstrap",
        Run(
            {
                "pkg/__init__.py": "",
                "pkg/bootstrap.py": "def f(event, context):\n    raise ValueError('mine')\n",
            },
            handler="pkg.bootstrap.f",
        ),
    ),
    Solo(
        "handler-in-a-package-called-samovar-app",
        Run(
            {
                "samovar_app.py": "def handler(event, context):\n    raise ValueError('mine')\n",
            },
            handler="samovar_app.handler",
        ),
    ),
    Solo(
        "result-too-large",
        Run(
            app("""
        seen = []

        def handler(event, context):
            seen.append(1)
            return "x" * 6_291_555 if len(seen) == 1 else len(seen)
    """),
            (Event(), Event()),
        ),
        "response-too-large",
        _too_large,
    ),
    Solo(
        "result-largest",
        Run(
            app("""
        def handler(event, context):
            return "x" * 6_291_554
    """),
            (Event(), Event()),
        ),
    ),
    Solo(
        "result-bytes-too-large",
        Run(
            app("""
        seen = []

        def handler(event, context):
            seen.append(1)
            return b"x" * 6_291_557 if len(seen) == 1 else len(seen)
    """),
            (Event(), Event()),
        ),
        "response-too-large",
        _too_large,
    ),
    Solo(
        "managed-lone-surrogate",
        Run(
            app("""
        def handler(event, context):
            return "\\ud800"
    """),
            (Event(), Event()),
            env={"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"},
        ),
        "managed-lone-surrogate",
        lambda outcomes: [outcome.value for outcome in outcomes[1:]] == ["\ud800", "\ud800"],
    ),
]
