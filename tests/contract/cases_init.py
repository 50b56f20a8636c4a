"""INIT: handler strings, failures at import, what is posted to /init/error and how the process ends."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from tests.contract.harness import MANAGED, Event, Outcome, Run
from tests.contract.table import Batch, Solo, app

BATCHES: list[Batch] = []

FINE = "def handler(event, context):\n    return 'fine'\n"


def named(handler: str, files: dict[str, str] | None = None, **kwargs: object) -> Run:
    """A run with another handler string."""
    return Run(files if files is not None else {"app.py": FINE}, handler=handler, **kwargs)  # type: ignore[arg-type]


def importing(source: str) -> Run:
    """A run whose module is this."""
    return Run(app(source), (Event(), Event()))


_RUNS: dict[str, Run] = {
    # handler strings that work
    "name-plain": named("app.handler"),
    "name-dotted": named(
        "pkg.sub.mod.handler", {"pkg/__init__.py": "", "pkg/sub/__init__.py": "", "pkg/sub/mod.py": FINE}
    ),
    "name-slashes": named("pkg/sub/mod.handler", {"pkg/sub/mod.py": FINE}),
    "name-mixed": named("pkg/sub.mod.handler", {"pkg/sub/mod.py": FINE}),
    "name-package": named("pkg.handler", {"pkg/__init__.py": FINE}),
    "name-namespace-package": named("space.mod.handler", {"space/mod.py": FINE}),
    "name-reimported": named("app.handler", {"app.py": "from other import handler\n", "other.py": FINE}),
    "name-underscore": named("_app.__h", {"_app.py": "def __h(event, context):\n    return 1\n"}),
    "name-non-ascii": named("módulo.função", {"módulo.py": "def função(event, context):\n    return 'é'\n"}),
    "name-class-instance": named(
        "app.h",
        app(
            """
                class H:
                    def __call__(self, event, context):
                        return [event, context.aws_request_id]
                h = H()
            """
        ),
    ),
    "name-lambda": named("app.h", app("h = lambda event, context: [event]\n")),
    "name-partial": named(
        "app.h", app("import functools\ndef f(x, event, context):\n    return x\nh = functools.partial(f, 5)\n")
    ),
    "name-bound-method": named(
        "app.h", app("class H:\n    def m(self, event, context):\n        return 'm'\nh = H().m\n")
    ),
    "name-class": named(
        "app.H", app("class H(dict):\n    def __init__(self, event, context):\n        super().__init__(made=1)\n")
    ),
    "name-builtin-function": named("app.h", app("h = max\n")),
    "name-star-args": named("app.h", app("def h(*args):\n    return len(args)\n")),
    "name-module-getattr": named(
        "app.dynamic",
        app(
            """
                def __getattr__(name):
                    if name == 'dynamic':
                        return lambda event, context: name
                    raise AttributeError(name)
            """
        ),
    ),
    "name-hyphen": named("my-app.handler", {"my-app.py": FINE}),
    "name-shadows-stdlib": named("colorsys.handler", {"colorsys.py": FINE}),
    "name-shadows-our-dependency": named("urllib3.handler", {"urllib3.py": FINE}),
    "name-runtime-py": named("runtime.handler", {"runtime.py": FINE}),
    "name-stdlib-function": named("operator.eq", {}),
    "name-attribute-lookup-fails": named(
        "app.handler", app("def __getattr__(name):\n    raise ValueError('in __getattr__')\n")
    ),
    # handler strings that do not
    "no-dot": named("app"),
    "empty-name": named(""),
    "only-dot": named("."),
    "trailing-dot": named("app."),
    "leading-dot": named(".handler"),
    "double-dot": named("app..handler"),
    "relative": named("..app.handler"),
    "leading-slash": named("/app.handler"),
    "trailing-slash": named("app/.handler"),
    "file-name": named("app.py"),
    "file-name-and-function": named("app.py.handler"),
    "missing-module": named("nowhere.handler"),
    "missing-submodule": named("app.sub.handler"),
    "missing-package": named("no/such/mod.handler"),
    "missing-function": named("app.nothing"),
    "name-with-space": named("app.han dler"),
    "module-with-space": named("a pp.handler"),
    "name-with-newline": named("app.han\ndler"),
    "not-callable": named("app.h", app("h = 5\n")),
    "handler-none": named("app.h", app("h = None\n")),
    "handler-takes-one": named("app.h", app("def h(event):\n    return 1\n")),
    "handler-takes-none": named("app.h", app("def h():\n    return 1\n")),
    "handler-takes-three": named("app.h", app("def h(event, context, more):\n    return 1\n")),
    "handler-keyword-only": named("app.h", app("def h(event, *, context):\n    return 1\n")),
    "handler-takes-other-names": named("app.h", app("def h(a, b):\n    return [a, b.function_name]\n")),
    "handler-default-arguments": named("app.h", app("def h(event, context, more=7):\n    return more\n")),
    "built-in-sys": named("sys.handler", {"sys.py": FINE}),
    "built-in-time": named("time.handler", {"time.py": FINE}),
    "built-in-submodule": named("sys.app.handler", {"sys/app.py": FINE}),
    "built-in-slash": named("sys/app.handler", {"sys/app.py": FINE}),
    "colon": named("app:handler"),
    # what happens while the module is imported
    "syntax-error": importing("def handler(event, context)\n    return 1\n"),
    "syntax-error-indentation": importing("def handler(event, context):\nreturn 1\n"),
    "syntax-error-tabs": Run({"app.py": "if 1:\n        a = 1\n\tb = 2\n"}),
    "syntax-error-unclosed": importing("x = (\n"),
    "syntax-error-non-ascii": importing("é = 'ü' +\n"),
    "syntax-error-nul": Run({"app.py": "a = 1\x00\n"}),
    "syntax-error-imported": Run({"app.py": "import other\n" + FINE, "other.py": "def (\n"}),
    "syntax-error-raised-by-hand": importing("raise SyntaxError('by hand')\n"),
    "syntax-error-return-outside": importing("return 5\n"),
    "import-error": importing("import no_such_module_at_all\n"),
    "import-error-from": importing("from os import no_such_name\n"),
    "import-error-nested": Run({"app.py": "import other\n" + FINE, "other.py": "import missing_dependency\n"}),
    "import-error-by-hand": importing("raise ImportError('by hand')\n"),
    "import-error-empty": importing("raise ImportError\n"),
    "import-error-relative": Run(
        {"pkg/mod.py": "from . import nothing\n" + FINE, "pkg/__init__.py": ""}, handler="pkg.mod.handler"
    ),
    "import-error-beyond-top": importing("from .. import x\n"),
    "import-error-circular": Run(
        {"app.py": "import b\n\ndef handler(e, c): pass\n", "b.py": "from app import handler\n"},
        oracle=MANAGED,  # from Python 3.14 on the message has sys.path's first folder in it
    ),
    "exception": importing("raise ValueError('in init')\n"),
    "exception-no-message": importing("raise ValueError\n"),
    "exception-frames": Run({"app.py": "import other\n" + FINE, "other.py": "def f(n):\n    return 1 / n\n\nf(0)\n"}),
    "exception-custom": importing("class Mine(Exception):\n    pass\n\nraise Mine('x', 1)\n"),
    "exception-chained": importing("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e\n"),
    "exception-group": importing("raise ExceptionGroup('g', [ValueError('a')])\n"),
    "exception-non-ascii": importing("raise ValueError('naïve 日本 😀')\n"),
    "exception-newlines": importing("raise ValueError('one\\ntwo\\r\\nX-Evil: 1')\n"),
    "exception-class-name-odd": importing("E = type('Odd name', (Exception,), {})\nraise E('x')\n"),
    "exception-recursion": importing("def f(n):\n    if n: f(n - 1)\n    else: 1 / 0\nf(50)\n"),
    "exception-in-attribute": importing("None.nothing\n"),
    "exception-in-exec": importing("exec('1/0')\n"),
    "exception-unicode-source": Run({"app.py": "# coding: no-such-codec\n"}),
    "exception-print-before": importing(
        "print('printed')\nimport sys\nprint('err', file=sys.stderr)\nraise ValueError('v')\n"
    ),
    "exception-large-message": importing("raise ValueError('x' * 100_000)\n"),
    "exit-int": importing("import sys\nsys.exit(3)\n"),
    "exit-zero": importing("import sys\nsys.exit()\n"),
    "exit-string": importing("import sys\nsys.exit('why')\n"),
    "exit-os-_exit": importing("import os\nos._exit(8)\n"),
    "exit-quit": importing("quit(2)\n"),
    "keyboard-interrupt": importing("raise KeyboardInterrupt\n"),
    "base-exception": importing("class B(BaseException):\n    pass\nraise B('x')\n"),
    "signal-kill": importing("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"),
    "signal-term": importing("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n"),
    "signal-abort": importing("import os\nos.abort()\n"),
    "memory-error": importing("raise MemoryError\n"),
    "stop-iteration": importing("raise StopIteration(4)\n"),
    "once-for-many-events": Run(
        app(
            """
                count = 0
                print('init')

                def handler(event, context):
                    global count
                    count += 1
                    return count
            """
        ),
        (Event(), Event(), Event()),
    ),
    "module-name": importing("print(__name__, __package__, __spec__.name, __file__.rpartition('/')[2])\n" + FINE),
    "main-guard": importing("if __name__ == '__main__':\n    print('never')\n" + FINE),
    "task-root-imports": Run(
        {
            "app.py": "import helper\n\ndef handler(event, context):\n    return helper.VALUE\n",
            "helper.py": "VALUE = 9\n",
        }
    ),
    "data-file-beside": Run(
        {
            "app.py": """
                import os
                with open('data.txt') as f:
                    DATA = f.read()

                def handler(event, context):
                    return DATA
            """,
            "data.txt": "from a file",
        }
    ),
    "sys-path-changed-by-module": Run(
        {
            "app.py": """
                import sys
                sys.path.insert(0, sys.path[0] + '/lib')
                import inlib

                def handler(event, context):
                    return inlib.__name__
            """,
            "lib/inlib.py": "",
        }
    ),
    "json-module-shadowed": Run(
        {"app.py": "import json\n\ndef handler(event, context):\n    return json.MINE\n", "json.py": "MINE = 1\n"}
    ),
    "decimal-at-import": importing(
        "from decimal import Decimal\n\ndef handler(event, context):\n    return [Decimal('1.10'), 2**70]\n"
    ),
    **(
        {
            "orjson-at-import": importing(
                "import orjson\n\ndef handler(event, context):\n    return [2**70, float('nan'), '\\ud800', {1: 2}]\n"
            )
        }
        if find_spec("orjson")
        else {}  # it has no wheel for Python 3.15
    ),
    "handler-replaced-in-module": importing(
        "def handler(event, context):\n    global handler\n    handler = None\n    return 'first'\n"
    ),
    "setrecursionlimit": importing(
        "import sys\nsys.setrecursionlimit(5000)\n\ndef handler(event, context):\n    return sys.getrecursionlimit()\n"
    ),
    "default-socket-timeout": importing(
        "import socket\nsocket.setdefaulttimeout(0)\n\ndef handler(event, context):\n    return 1\n"
    ),
    "uuid-module-shadowed": Run(
        {"app.py": "def handler(event, context):\n    return len(event)\n", "uuid.py": "MINE = 1\n"},
        (Event(b'"%s"' % (b"x" * 300_000)), Event()),
    ),
    "handler-with-any-attribute": named(
        "app.h",
        app(
            """
                class H:
                    def __getattr__(self, name):
                        return H()
                    def __call__(self, event, context):
                        return 1
                h = H()
            """
        ),
    ),
    "handler-whose-attributes-fail": named(
        "app.h",
        app(
            """
                class H:
                    def __getattr__(self, name):
                        raise RuntimeError("not bound")
                    def __call__(self, event, context):
                        return 1
                h = H()
            """
        ),
    ),
    "thresholds-of-the-collector": importing(
        """
            import gc
            gc.set_threshold(*(3 * threshold for threshold in gc.get_threshold()))

            def handler(event, context):
                return [gc.get_threshold(), gc.isenabled()]
        """
    ),
    "collector-switched-off": importing(
        """
            import gc
            SEEN = gc.isenabled(), gc.get_threshold()
            gc.disable()

            def handler(event, context):
                return [SEEN, gc.get_threshold(), gc.isenabled()]
        """
    ),
    "cyclic-garbage-at-import": importing(
        """
            import weakref

            class Node:
                def __init__(self):
                    self.self = self

            made = [weakref.ref(Node()) for _ in range(100_000)]
            left = sum(node() is not None for node in made)

            def handler(event, context):
                return left < 20_000
        """
    ),
    "cyclic-object-dropped-later": importing(
        """
            import gc, weakref

            class Node:
                def __init__(self):
                    self.self = self

            held = Node()
            seen = weakref.ref(held)

            def handler(event, context):
                global held
                held = None
                gc.collect()
                return seen() is None
        """
    ),
    "environ-at-import": importing(
        """
            import os
            SEEN = [name in os.environ for name in ("_X_AMZN_TRACE_ID", "_HANDLER", "_LAMBDA_TELEMETRY_LOG_FD")]

            def handler(event, context):
                return SEEN
        """
    ),
    "signal-handler-at-import": importing(
        """
            import signal
            signal.signal(signal.SIGTERM, lambda *a: None)

            def handler(event, context):
                signal.raise_signal(signal.SIGTERM)
                return 'survived'
        """
    ),
}


def _shadowed(outcomes: list[Outcome]) -> object:
    return outcomes[1].value == 1


def _chained(outcomes: list[Outcome]) -> object:
    (outcome,) = outcomes
    return "cause" not in outcome.value and b"ZeroDivisionError" in outcome.stdout


def _group(outcomes: list[Outcome]) -> object:
    (outcome,) = outcomes
    return "exceptions" not in outcome.value and b"ValueError: a" in outcome.stdout


def _imported(outcomes: list[Outcome]) -> object:
    """The log says which import failed; the error JSON does not, as the official one."""
    (outcome,) = outcomes
    return (
        set(outcome.value) == {"errorMessage", "errorType", "requestId", "stackTrace"}
        and b"Caused by: " in outcome.stdout
    )


_DIFFER: dict[str, tuple[str, Callable[[list[Outcome]], object]]] = {
    "json-module-shadowed": ("shadowed-stdlib", _shadowed),
    "exception-chained": ("chained", _chained),
    "exception-group": ("chained", _group),
    **{
        name: ("chained", _imported)
        for name in _RUNS
        if name.startswith("import-error") or name in ("syntax-error-imported", "syntax-error-raised-by-hand")
    },
}
_ON_BOTH = {
    "default-socket-timeout",
    "name-plain",
    "missing-module",
    "syntax-error",
    "exception",
    "exit-int",
    "signal-kill",
}

SOLOS = [
    Solo(f"init-{name}", run, *_DIFFER[name], urllib3=False)
    if name in _DIFFER
    else Solo(f"init-{name}", run, urllib3=name in _ON_BOTH)
    for name, run in _RUNS.items()
]

# INIT failures in the other log formats.
SOLOS += [
    Solo(
        f"init-{name}-{kind}",
        Run(_RUNS[name].files, handler=_RUNS[name].handler, env=env, framed=framed),
        urllib3=False,
    )
    for name in ("exception-frames", "missing-module", "syntax-error", "missing-function", "no-dot", "exit-int")
    for kind, env, framed in (
        ("json", {"AWS_LAMBDA_LOG_FORMAT": "JSON"}, False),
        ("framed", {}, True),
        ("framed-json", {"AWS_LAMBDA_LOG_FORMAT": "JSON"}, True),
        ("quiet", {"AWS_LAMBDA_LOG_LEVEL": "FATAL"}, False),
    )
]

SOLOS += [
    Solo(
        "init-preview-warning",
        Run(app(FINE), env={"AWS_EXECUTION_ENV": "AWS_Lambda_python3.15"}),
        "preview-warning",
        lambda ours: not ours[0].stdout + ours[0].stderr and ours[1].value == "fine",
    ),
]
