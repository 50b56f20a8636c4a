"""The process around the handler: its standard streams when the function wraps them, and what the function finds in
`sys`, `__main__`, the environment and its children, as a managed runtime leaves it.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping

from tests.contract.harness import CHECKOUT, MANAGED, RUNTIME_DIR, Event, Outcome, Run
from tests.contract.table import Batch, Solo, app

BATCHES: list[Batch] = []

# What functions do to a stream at module level; STREAM is sys.stdout or sys.stderr.
_WRAPS = {
    "text-wrapper": "STREAM = io.TextIOWrapper(STREAM.buffer, encoding='utf-8')",
    "text-wrapper-by-line": "STREAM = io.TextIOWrapper(STREAM.buffer, encoding='utf-8', line_buffering=True)",
    "text-wrapper-write-through": "STREAM = io.TextIOWrapper(STREAM.buffer, 'utf-8', write_through=True)",
    "text-wrapper-detached": "STREAM = io.TextIOWrapper(STREAM.detach(), encoding='utf-8', line_buffering=True)",
    "codecs-writer": "STREAM = codecs.getwriter('utf-8')(STREAM.buffer)",
    "codecs-writer-detached": "STREAM = codecs.getwriter('utf-8')(STREAM.detach())",
    "buffered-writer": "STREAM = io.TextIOWrapper(io.BufferedWriter(STREAM.buffer), 'utf-8', line_buffering=True)",
    "reconfigured": "STREAM.reconfigure(encoding='ascii', errors='backslashreplace')",
    "opened-again": "STREAM = open(STREAM.fileno(), 'w', buffering=1, encoding='utf-8')",
    "opened-again-borrowed": "STREAM = open(STREAM.fileno(), 'w', 1, 'utf-8', closefd=False)",
    "opened-unbuffered": "STREAM = io.TextIOWrapper(os.fdopen(STREAM.fileno(), 'wb', 0), write_through=True)",
    "redirected": "with contextlib.redirect_NAME(io.StringIO()):\n    print('unseen', file=STREAM)",
    "replaced-and-put-back": "STREAM = io.StringIO()\nSTREAM = sys.__NAME__",
    "forgotten-and-put-back": "del STREAM\ngc.collect()\nSTREAM = sys.__NAME__",
}
# As the official client has them these hold back what the runtime logs, or all that is written, until 8 KB are there.
_HELD_BACK = {
    "stdout-text-wrapper-write-through",
    "stdout-codecs-writer",
    "stdout-codecs-writer-detached",
    "stdout-buffered-writer",
    "stdout-replaced-and-put-back",
    "stdout-forgotten-and-put-back",
    "stderr-buffered-writer",
}


def _wrapped(stream: str, wrap: str) -> Run:
    wrap = wrap.replace("STREAM", f"sys.{stream}").replace("NAME", stream)
    source = f"""
import codecs, contextlib, gc, io, os, sys

{wrap}
gc.collect()

import logging  # not before: threading, which it imports, holds sys.stderr

def handler(event, context):
    print("printed é", file=sys.{stream})
    logging.error("logged é")
    for stream in sys.stdout, sys.stderr:
        if stream is not None:
            stream.flush()
    if event == "fail":
        raise ValueError("é")
    return "fine"
"""
    return Run(app(source), (Event(), Event(b'"fail"'), Event()))


def _all_there(outcomes: list[Outcome]) -> bool:
    """Whether each invocation's lines were written before its end, as they are without a wrapper."""
    written = [(outcome.stdout + outcome.stderr).decode() for outcome in outcomes[1:]]
    return (
        [text.count("printed é") for text in written] == [1, 1, 1]
        and [text.count("logged é") for text in written] == [1, 1, 1]
        and [text.count("ValueError: é") for text in written] == [0, 1, 0]
    )


SOLOS = [
    Solo(name, _wrapped(stream, wrap), "native-stdout", _all_there, urllib3=False)
    if (name := f"{stream}-{kind}") in _HELD_BACK
    else Solo(name, _wrapped(stream, wrap), urllib3=False)
    for stream in ("stdout", "stderr")
    for kind, wrap in _WRAPS.items()
]


def _found(
    source: str, files: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None, **kwargs: object
) -> Run:
    """A run of a handler that says what it finds: at INIT the source sets FOUND."""
    text = f"{source}\n\ndef handler(event, context):\n    return FOUND\n"
    return Run(
        {"app.py": text, **(files or {})},
        env={"LAMBDA_RUNTIME_DIR": str(RUNTIME_DIR), **(env or {})},
        oracle=MANAGED,
        **kwargs,  # type: ignore[arg-type]
    )


# What is not there is not listed here, and an editable install's folder is where Samovar itself lies: last, always.
_PATH = (
    "import os, sys\n"
    f"FOUND = list(dict.fromkeys(p for p in sys.path if os.path.isdir(p) and p != {str(CHECKOUT / 'runtime')!r}))\n"
)
_PATH_OF_CHILD = (
    "import os, subprocess, sys\n"
    "FOUND = subprocess.check_output([sys.executable, '-c', 'import os, sys; print(sys.path, os.environ)'], text=True,"
    " env={k: v for k, v in os.environ.items() if k in ('PATH', 'PYTHONPATH')})\n"
)

_FINDS = {
    "argv": _found("import os, sys\nFOUND = [os.path.basename(sys.argv[0]), os.path.isabs(sys.argv[0]), sys.argv[1:]]"),
    "main": _found(
        """
import __main__, os, sys

with open(__main__.__file__) as file:
    file.read()
FOUND = [__main__.__name__, __main__.__file__ == sys.argv[0], os.path.basename(__main__.__file__), __main__.__spec__,
    __main__.__package__, type(__main__.__loader__).__name__]
"""
    ),
    "sys-path": _found(_PATH),
    "sys-path-pythonpath": _found(_PATH, env={"PYTHONPATH": "/usr/lib:/usr/share"}),
    "sys-path-pythonpath-empty": _found(_PATH, env={"PYTHONPATH": ""}),
    "sys-path-pythonpath-empty-entries": _found(_PATH, env={"PYTHONPATH": "/usr/lib::/usr/share:"}),
    "sys-path-pythonpath-relative": _found(
        _PATH + "import inner\nFOUND += [inner.__file__, __file__]\n",
        {"vendored/inner.py": "", "vendored/b/c.py": ""},
        {"PYTHONPATH": "vendored:./vendored/b:vendored/../vendored"},
    ),
    "sys-path-pythonpath-twice": _found(_PATH, env={"PYTHONPATH": "/usr/lib:/usr/share:/usr/lib/"}),
    "sys-path-pythonpath-task-root": _found(
        "import os\n" + _PATH + "FOUND.append(os.environ['PYTHONPATH'].count(':'))\n",
        env={"PYTHONPATH": "/usr/share:."},
    ),
    "sys-path-pythonpath-customised": _found(
        _PATH + "FOUND.append(os.environ['SEEN'])\n",
        {"agent/sitecustomize.py": "import os, sys\nos.environ['SEEN'] = 'yes'\nsys.path.append('/usr')\n"},
        {"PYTHONPATH": "agent:/usr/share"},
    ),
    "sys-path-pythonpath-customised-inserts": _found(
        _PATH,
        {"agent/sitecustomize.py": "import sys\nsys.path.insert(0, '/usr/lib')\nsys.path.remove('/usr/share')\n"},
        {"PYTHONPATH": "agent:/usr/share"},
    ),
    "sitecustomize-in-the-task-root": _found(
        "import os, sys\nFOUND = [os.environ.get('SEEN'), 'sitecustomize' in sys.modules]",
        {"sitecustomize.py": "import os\nos.environ['SEEN'] = 'yes'\n"},
    ),
    "usercustomize-of-a-pythonpath": _found(
        "import os, sys\nFOUND = [os.environ.get('SEEN'), 'usercustomize' in sys.modules]",
        {"agent/usercustomize.py": "import os\nos.environ['SEEN'] = 'yes'\n"},
        {"PYTHONPATH": "agent"},
    ),
    "pythonpath": _found("import os\nFOUND = os.environ.get('PYTHONPATH')"),
    "pythonpath-own": _found("import os\nFOUND = os.environ.get('PYTHONPATH')", env={"PYTHONPATH": "/usr/lib"}),
    "pythonpath-of-a-child": _found(_PATH_OF_CHILD),
    "pythonpath-own-of-a-child": _found(_PATH_OF_CHILD, env={"PYTHONPATH": "/usr/lib"}),
    "pth-path": _found(
        _PATH + "import inner\nFOUND.append(inner.VALUE)\n",
        {"a.pth": "# comment\nvendored\nnowhere\n", "vendored/inner.py": "VALUE = 'of the folder that a.pth names'\n"},
    ),
    "pth-import": _found(
        "import os\nFOUND = os.environ['ORDER']",
        {
            "b.pth": "import os; os.environ['ORDER'] += 'b'\n",
            "a.pth": "import os; os.environ['ORDER'] = 'a'\nimport hook\n",
            "hook.py": "import os\nos.environ['ORDER'] += '-hook-'\n",
            ".c.pth": "import os; os.environ['ORDER'] += 'c'\n",
        },
    ),
    "pth-logging": _found(
        "import logging\nlogging.error('once')\nFOUND = len(logging.getLogger().handlers)",
        {"a.pth": "import logging\n"},
    ),
    "pth-before-pythonpath": _found(
        "import os\nFOUND = os.environ['SEEN']",
        {"a.pth": "import os; os.environ['SEEN'] = str('PYTHONPATH' in os.environ)\n"},
    ),
    "pth-pythonpath": _found(
        "import os\nFOUND = os.environ['SEEN']",
        {"a.pth": "import os; os.environ['SEEN'] = 'yes'\n"},
        {"PYTHONPATH": "/usr/lib"},
    ),
    "spawned-process": Run(
        app(
            """
import multiprocessing, os, sys

def work(connection):
    import __main__
    connection.send([__main__.__name__, os.environ.get('PYTHONPATH'), sys.argv[1:]])

def handler(event, context):
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs,))
    process.start()
    said = ours.recv()
    process.join()
    return [said, process.exitcode]
"""
        ),
        env={"LAMBDA_RUNTIME_DIR": str(RUNTIME_DIR)},
        oracle=MANAGED,
    ),
    "stack": _found(
        "import inspect, os\nlast = inspect.stack()[-1]\n"
        "FOUND = [os.path.isfile(last.filename), last.code_context is not None]"
    ),
    "environment": Run(
        app(
            "import os\n\ndef handler(event, context):\n"
            "    of_the_shell_and_the_test = {'PWD', 'SHLVL', '_', 'OLDPWD', 'SAMOVAR_TRANSPORT'}\n"
            "    return sorted(os.environ.keys() - of_the_shell_and_the_test)\n"
        ),
        env={"LAMBDA_RUNTIME_DIR": str(RUNTIME_DIR)},
        oracle=MANAGED,
    ),
    "code-without-a-file": Run(
        app("def handler(event, context):\n    exec('\\n' * event + '1 / 0')\n"),
        tuple(Event(str(line).encode()) for line in range(20)),
        oracle=MANAGED,
    ),
}

SOLOS += [Solo(f"found-{name}", run, urllib3=False) for name, run in _FINDS.items()]


# What is done before `logging` is imported for the first time; the official client has it already.
_BEFORE_LOGGING = {
    "find-spec": "assert importlib.util.find_spec('logging') is not None",
    "find-spec-twice": "importlib.util.find_spec('logging')\nimportlib.util.find_spec('logging.config')",
    "spec-asked": """
        spec = importlib.util.find_spec('logging')
        print(spec.name, spec.origin, spec.submodule_search_locations, spec.loader.get_filename('logging'))
        print(len(spec.loader.get_source('logging')), spec.loader.is_package('logging'))
    """,
    "finder-without-methods": "sys.meta_path.append(object())",
    "finder-find-module": """
        class Old:
            def find_module(self, name, path=None):
                return None
        sys.meta_path.append(Old())
        sys.meta_path.insert(0, Old())
    """,
    "finder-asks-the-others": """
        class Asking:
            busy = False
            def find_spec(self, name, path=None, target=None):
                if self.busy or path is not None:
                    return None
                self.busy = True
                try:
                    return importlib.util.find_spec(name)
                finally:
                    self.busy = False
        sys.meta_path.append(Asking())
        sys.meta_path.insert(0, Asking())
    """,
    "finders-replaced": "sys.meta_path = list(sys.meta_path)",
    "lazy": """
        if 'logging' not in sys.modules:
            spec = importlib.util.find_spec('logging')
            spec.loader = importlib.util.LazyLoader(spec.loader)
            sys.modules['logging'] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
    """,
    "copy": """
        spec = importlib.util.find_spec('logging')
        copy = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(copy)
        assert copy.getLogger() is not sys.modules.get('logging')
    """,
    "in-a-thread": """
        import threading
        thread = threading.Thread(target=lambda: importlib.import_module('logging'))
        thread.start()
        thread.join()
    """,
}
if sys.version_info >= (3, 12):  # earlier ones import nothing behind such a finder
    _BEFORE_LOGGING["finder-without-methods-first"] = "sys.meta_path.insert(0, object())"


def _before_logging(source: str) -> Run:
    return Run(
        app(f"""
import importlib.util, sys
{textwrap.dedent(source)}
import logging

logging.error("at INIT")
FOUND = [len(logging.getLogger().handlers), type(logging.__loader__).__name__, type(logging.__spec__.loader).__name__]

def handler(event, context):
    logging.error("handled")
    return FOUND
""")
    )


SOLOS += [Solo(f"logging-{name}", _before_logging(source), urllib3=False) for name, source in _BEFORE_LOGGING.items()]
