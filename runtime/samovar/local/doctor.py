"""`samovar doctor MODULE.FUNCTION`: where a function's INIT spends its time, what it shares, and what to change.

Imports the handler in fresh interpreters under `-X importtime`, with the same sys.path as `bootstrap`, and never writes
bytecode, as if in a read-only /var/task. The tree is the interpreter's own record. Whether bytecode exists and will
still be valid after a zip is read from the .pyc files.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path
from typing import Any

from samovar.local import console, shared_state
from samovar.local.compile import cached

RUNS = 3  # the fastest is shown: a disturbance can only make an import slower
_TIMEOUT = 120  # seconds; Lambda restarts INIT after 10
_SHOWN = 0.02  # an import with a smaller share of the total is not shown by itself
_WORTH = 0.10, 5.0  # share of the total, and ms, that something must reach to be worth a suggestion
_HEAD = "   total     own  ms, by module"
_COMMAND = "  → samovar"  # is copied
_MARKS = "samovar.doctor.begins", "samovar.doctor.ends"
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")

# Runs in the fresh interpreter, as bootstrap starts one. The report goes to a file, since stdout and stderr belong to
# the function.
_PROBE = """
import sys
package_root, report, name = sys.argv[1:]
__file__ = f"{package_root}/samovar/bootstrap.py"
sys.argv[:] = [__file__]
sys.path[0] = package_root
import posix
from time import perf_counter
from samovar import handler, logging_hook, syspath
import samovar.handler.function
syspath.set_up_sys_path(package_root)
logging_hook.install()
before = set(sys.modules)
if posix.environ.get(b"SAMOVAR_LAZY_IMPORTS") == b"all":
    sys.set_lazy_imports("all")
posix.write(2, b"import time: 0 | 0 | samovar.doctor.begins\\n")
failure = None
start = perf_counter()
try:
    handler.load(name)
    end = perf_counter()
except BaseException as exc:
    end = perf_counter()
    import traceback
    kind = getattr(exc, "error_type", None) or type(exc).__name__
    module = sys.modules.get(name.rpartition(".")[0].replace("/", "."))
    functions = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"] if module else []
    exc.__cause__ = exc.__cause__ or (exc if kind == type(exc).__name__ else None)
    own = (package_root + "/samovar/", "<string>", "<frozen importlib")
    trace = traceback.TracebackException.from_exception(exc.__cause__) if exc.__cause__ else None
    if trace is not None:
        trace.stack[:] = [frame for frame in trace.stack if not frame.filename.startswith(own)]
        trace.__cause__ = trace.__context__ = None
    lines = list(trace.format()) if trace else []
    failure = {"type": kind, "message": str(exc), "trace": lines, "functions": functions}
posix.write(2, b"import time: 0 | 0 | samovar.doctor.ends\\n")
modules = {
    key: getattr(getattr(module, "__spec__", None), "origin", None)
    for key, module in list(sys.modules.items())
    if key not in before
}
import json
with open(report, "w") as file:
    json.dump({"ms": (end - start) * 1000, "began": start, "failure": failure, "modules": modules}, file)
posix._exit(0)
"""


@dataclass(slots=True)
class Import:
    """One module's import, in milliseconds: `total` includes what it imported in turn, `own` does not."""

    name: str
    total: float
    own: float
    children: list[Import] = field(default_factory=list)

    def walk(self) -> Iterator[Import]:
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Examined:
    """What one import of the handler showed."""

    ms: float
    before: float  # ms from the start of the process to the handler's import
    tree: list[Import]
    modules: dict[str, str | None]  # name -> origin


class Failed(Exception):
    """The handler cannot be imported. The text is the error Lambda would report, with its traceback."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("handler", metavar="MODULE.FUNCTION", help="the function, as in Lambda's handler setting")
    parser.add_argument(
        "--task-root",
        metavar="DIR",
        type=Path,
        default=Path(os.environ.get("LAMBDA_TASK_ROOT") or "."),
        help="the folder to be deployed to /var/task (default: $LAMBDA_TASK_ROOT, else the current one)",
    )


def run(options: argparse.Namespace) -> int:
    """Return the exit status: 1 if the handler cannot be imported, 2 if there is nothing to examine."""
    root = options.task_root.absolute()
    if not root.is_dir():
        raise console.CommandError(f"{options.task_root} is not a folder", 2)
    if options.handler.startswith("exec:"):
        raise console.CommandError("an exec: handler imports no Python, so there is nothing to examine", 2)
    try:
        with console.working(f"importing {options.handler} {RUNS} times"):
            found = min((examine(options.handler, root) for _ in range(RUNS)), key=lambda examined: examined.ms)
            lazy = examine(options.handler, root, lazy=True) if hasattr(sys, "set_lazy_imports") else None
    except Failed as exc:
        raise console.CommandError(str(exc)) from None
    for line in "\n".join(report(options.handler, root, found, lazy)).split("\n"):
        console.show(line, _style(line), wrap=not line.startswith(_COMMAND))
    return 0


def _style(line: str) -> str:
    if line.startswith(("INIT of", _HEAD)):
        return "bold"
    return "cyan" if line.startswith("  →") else ""


def examine(handler: str, root: Path, *, lazy: bool = False) -> Examined:
    """Import the handler in a fresh interpreter, with `lazy` under SAMOVAR_LAZY_IMPORTS=all. Raises Failed."""
    package_root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "LAMBDA_TASK_ROOT": str(root), "_HANDLER": handler}
    for name in ("SAMOVAR_LAZY_IMPORTS", "PYTHONPYCACHEPREFIX"):  # Lambda has neither
        environment.pop(name, None)
    if lazy:
        environment["SAMOVAR_LAZY_IMPORTS"] = "all"
    with tempfile.TemporaryDirectory(prefix="samovar-doctor-") as folder:
        result = Path(folder, "report")
        command = [
            sys.executable,
            "-B",
            "-S",
            "-u",
            "-X",
            "importtime",
            "-c",
            _PROBE,
            str(package_root),
            str(result),
            handler,
        ]
        start = time.perf_counter()
        try:
            process = subprocess.run(
                command, cwd=root, env=environment, capture_output=True, timeout=_TIMEOUT, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"importing {handler} takes more than {_TIMEOUT} s; Lambda allows INIT 10 s") from None
        log = process.stderr.decode(errors="replace")
        if not result.exists():
            raise Failed(
                f"the interpreter ended with {process.returncode} while {handler} was imported\n{_last_output(log)}"
            )
        probed = json.loads(result.read_text())
    if probed["failure"] is not None:
        raise Failed(_failure(probed["failure"], root))
    return Examined(probed["ms"], (probed["began"] - start) * 1000, parse(log), probed["modules"])


def parse(log: str) -> list[Import]:
    """Return the imports between the probe's two marks as trees, in order.

    -X importtime writes a module's line once it is imported: children come before their parent, indented by two more.
    """
    text = log.partition(_MARKS[0])[2].partition(_MARKS[1])[0]
    waiting: list[tuple[int, Import]] = []  # by depth
    for own, total, indent, name in _LINE.findall(text):
        depth = len(indent) // 2
        node = Import(name, int(total) / 1000, int(own) / 1000)
        while waiting and waiting[-1][0] > depth:
            node.children.insert(0, waiting.pop()[1])
        waiting.append((depth, node))
    return [node for _, node in waiting]


@dataclass(frozen=True, slots=True)
class Source:
    """A module's source. `state` says why its bytecode will not be used on Lambda."""

    name: str
    path: Path
    state: str


def sources(modules: dict[str, str | None], root: Path) -> list[Source]:
    """Return the imported modules whose bytecode will not be used on Lambda."""
    found = []
    for name, origin in modules.items():
        if origin and origin.endswith(".py") and (state := bytecode_state(Path(origin), root)):
            found.append(Source(name, Path(origin), state))
    return found


def bytecode_state(source: Path, root: Path) -> str:
    """Return why the source will be compiled at a cold start; empty if it will not be.

    Within the task root, bytecode validated by the source's time (PEP 552, flags 0) is useless: a zip changes the time.
    """
    try:
        content = source.read_bytes()
        with cached(source).open("rb") as file:
            head = file.read(16)
    except OSError:
        return "missing"
    if head[:4] != MAGIC_NUMBER:
        return "made by another Python"
    flags = int.from_bytes(head[4:8], "little")
    if flags == 0:
        stat = source.stat()
        if head[8:] != (int(stat.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + (stat.st_size & 0xFFFFFFFF).to_bytes(
            4, "little"
        ):
            return "older than its source"
        return "valid by file time only" if source.is_relative_to(root) else ""
    return "" if flags == 0b01 or head[8:] == source_hash(content) else "older than its source"


def report(handler: str, root: Path, found: Examined, lazy: Examined | None) -> list[str]:
    """Return the whole report as lines."""
    everything = found.before + found.ms
    lines = [
        f"INIT of {handler} takes {everything:.0f} ms here (the fastest of {RUNS} runs): {found.before:.0f} ms for"
        f" Python {sys.version.partition(' ')[0]} and Samovar, {found.ms:.0f} ms for the handler's import",
        "",
        _HEAD,
    ]
    for node in sorted(found.tree, key=lambda node: -node.total):
        lines += _branch(node, found.ms, "")
    if not found.tree:
        lines.append("                   no imports")
    lines += ["", *_bytecode(sources(found.modules, root), root), *_advice(handler, root, found, lazy)]
    return lines + _shared(found, root)


def _branch(node: Import, whole: float, indent: str) -> list[str]:
    lines = [f"{node.total:8.1f}{node.own:8.1f}  {indent}{node.name}"]
    shown = [child for child in node.children if child.total >= max(whole * _SHOWN, 0.1)]
    for child in sorted(shown, key=lambda child: -child.total):
        lines += _branch(child, whole, indent + "  ")
    rest = [child for child in node.children if child not in shown]
    if rest:
        lines.append(f"{sum(child.total for child in rest):8.1f}{'':8}  {indent}  … {len(rest)} more")
    return lines


def _bytecode(unusable: Sequence[Source], root: Path) -> list[str]:
    mine = [source for source in unusable if source.path.is_relative_to(root)]
    other = [source for source in unusable if source not in mine]
    lines = []
    if mine:
        lines.append(
            f"Bytecode: {_modules(mine)} under {root} will be compiled at every cold start"
            f" ({_compile_time(mine):.0f} ms here), because /var/task is read-only:"
        )
        for state in dict.fromkeys(source.state for source in mine):
            names = [source.name for source in mine if source.state == state]
            lines.append(f"  {len(names)} {state}: {', '.join(names[:6])}{', …' if len(names) > 6 else ''}")
        lines.append(f"{_COMMAND} compile {root}")
    if other:
        lines.append(
            f"Bytecode: {_modules(other)} elsewhere without valid bytecode ({_compile_time(other):.0f} ms here):"
            f" {', '.join(source.name for source in other[:6])}{', …' if len(other) > 6 else ''}"
        )
        lines.append("  → compile them where they are installed, with python -m compileall or pip install --compile")
    return lines or ["Bytecode: every module has valid bytecode, and a zip keeps it valid."]


def _modules(unusable: Sequence[Source]) -> str:
    return f"{len(unusable)} module{'s' if len(unusable) > 1 else ''}"


def _compile_time(unusable: Sequence[Source]) -> float:
    start = time.process_time()
    for source in unusable:
        compile(source.path.read_bytes(), str(source.path), "exec", dont_inherit=True)
    return (time.process_time() - start) * 1000


def _advice(handler: str, root: Path, found: Examined, lazy: Examined | None) -> list[str]:
    lines = []
    for node, importer in _candidates(found, root):
        lines.append(
            f"{node.name}: {node.total:.0f} ms, {node.total / found.ms:.0%} of the handler's import,"
            f" imported by {importer}\n"
            "  → unless every event needs it, import it inside the function that does"
        )
    for node in (node for tree in found.tree for node in tree.walk()):
        if _is_own(node.name, found, root) and node.own >= max(found.ms * _WORTH[0], _WORTH[1]):
            lines.append(
                f"{node.name}: {node.own:.0f} ms in its own module-level code\n"
                "  → create what not every event needs when it is first used, in a function with functools.cache"
            )
    if lazy is not None:
        lines.append(f"SAMOVAR_LAZY_IMPORTS=all: the handler's import takes {lazy.ms:.0f} ms instead of {found.ms:.0f}")
    elif found.ms >= 50:
        lines.append("On Python 3.15, SAMOVAR_LAZY_IMPORTS=all postpones each import until its module is used.")
    return lines


def _shared(found: Examined, root: Path) -> list[str]:
    """Return what the function's own modules share between invocations at the same time, as lines."""
    lines = []
    for name, origin in sorted(found.modules.items()):
        if origin and origin.endswith(".py") and _is_own(name, found, root):
            with tokenize.open(origin) as source:
                shared = shared_state.find(source.read())
            for each in shared:
                file = Path(origin).relative_to(root)
                lines.append(f"{file}:{each.line}: {each.text}\n  → {each.advice}")
    if lines:
        lines[:0] = ["", "Shared by invocations at the same time, with AWS_LAMBDA_CONCURRENCY_MODE=thread or hybrid:"]
    return lines


def _candidates(found: Examined, root: Path) -> list[tuple[Import, str]]:
    """Return the imports by the function's own modules that are worth postponing, the slowest first."""
    candidates = []
    for tree in found.tree:
        for node in tree.walk():
            if _is_own(node.name, found, root):
                candidates += [(child, node.name) for child in node.children if not _is_own(child.name, found, root)]
    worth = [(child, importer) for child, importer in candidates if child.total >= max(found.ms * _WORTH[0], _WORTH[1])]
    return sorted(worth, key=lambda pair: -pair[0].total)[:5]


def _is_own(name: str, found: Examined, root: Path) -> bool:
    """Return whether a module is the function's own, and not of a package installed beside it."""
    origin = found.modules.get(name)
    if not origin or not Path(origin).is_relative_to(root):
        return False
    top = name.partition(".")[0]
    installed = {path.name.partition("-")[0].lower() for path in root.glob("*.dist-info")}
    if top.lower() in installed:
        return False
    return not any(top in path.read_text().split() for path in root.glob("*.dist-info/top_level.txt"))


def _failure(failure: dict[str, Any], root: Path) -> str:
    lines = [f"{failure['type']}: {failure['message']}", *(line.rstrip("\n") for line in failure["trace"])]
    if failure["type"] == "Runtime.MalformedHandlerName":
        lines.append("→ write MODULE.FUNCTION, as in app.handler")
    elif failure["type"] == "Runtime.HandlerNotFound" and failure["functions"]:
        lines.append(f"→ the module has: {', '.join(failure['functions'])}")
    elif failure["type"] == "Runtime.ImportModuleError":
        lines.append(f"→ modules are searched in {root} first; --task-root names another folder")
    return "\n".join(lines)


def _last_output(log: str) -> str:
    begun = log.partition(_MARKS[0])[2]
    lines = [line for line in begun.splitlines() if line and not _LINE.match(line)]
    modules = [name for _, _, _, name in _LINE.findall(begun)]
    return "\n".join([*lines[-20:], f"(the last module imported before that: {modules[-1] if modules else 'none'})"])
