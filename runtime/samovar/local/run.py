"""`samovar run MODULE.FUNCTION`: a handler under the real Runtime Interface Emulator, for a developer who looks on.

A response goes to stdout as it is; what the function logs and a REPORT go to stderr while it runs. What to run is read
anew for every environment, since `--watch` starts one after each saved file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from samovar.local import console, env_file, spelling

if TYPE_CHECKING:
    from samovar.local.rie import RIE

_PORT = 9000  # where the examples of AWS's images listen
_LOOK = 0.05  # seconds between two looks at the log
_WATCH = 100  # ms between two looks at the log and the files
_NOT_WATCHED = ("venv", ".ruff_cache", ".aws-sam")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "handler", metavar="HANDLER", help="as in Lambda's handler setting: app.handler, or exec:./program"
    )
    parser.add_argument(
        "-e",
        "--event",
        action="append",
        default=[],
        help="a file, JSON, or - for stdin; several are sent in turn (without one, the handler stays and takes"
        " events over HTTP)",
    )
    parser.add_argument(
        "--task-root", metavar="DIR", type=Path, default=Path(), help="the function's folder (default: .)"
    )
    parser.add_argument("--env-file", metavar="FILE", type=Path, help="the function's variables, NAME=VALUE a line")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_whole(1, 900), help="the function's timeout (default: 300)"
    )
    parser.add_argument(
        "--memory", metavar="MB", type=_whole(128, 10240), help="the function's memory, reported but not enforced"
    )
    parser.add_argument(
        "--port",
        type=_whole(0, 65535),
        help=f"where to take events on 127.0.0.1, 0 for a free port (default: {_PORT})",
    )
    parser.add_argument(
        "--watch", action="store_true", help="start anew when a file is saved, and send the events again"
    )


def run(options: argparse.Namespace) -> int:
    """Return the exit status: 1 if an invocation failed. Without an event, run until a signal ends it."""
    if sys.platform != "linux":
        _not_here()
    if options.event.count("-") > 1:
        raise console.CommandError("--event - can be given once: there is one standard input", 2)
    given = sys.stdin.buffer.read() if "-" in options.event else b""
    if options.port is None:
        options.port = 0 if options.event else _PORT
    if options.watch:
        return _watch(options, given)
    if not options.event:
        with _environment(options) as environment:
            environment.stay(_sleep)
    events = [_event(event, given) for event in options.event]
    with _environment(options) as environment:
        return 0 if environment.invoke_all(events) else 1


def _watch(options: argparse.Namespace, given: bytes) -> NoReturn:
    saved = _saved(options)
    while True:
        try:
            events = [_event(event, given) for event in options.event]
            with _environment(options) as environment:
                if events:
                    environment.invoke_all(events)
                else:
                    environment.stay(saved)
                    continue
        except console.CommandError as exc:  # the next save may put it right
            console.fail("run", str(exc))
        console.say("Waiting for a file to be saved. Ctrl-C ends it.")
        while not saved():
            pass


def _sleep() -> bool:
    time.sleep(_LOOK)
    return False


def _saved(options: argparse.Namespace) -> Callable[[], bool]:
    """Return a function that waits a moment and returns whether a file was saved, after saying which."""
    try:
        from watchfiles import DefaultFilter, watch
    except ImportError:
        raise console.CommandError("--watch needs watchfiles: pip install 'samovar[local]'", 2) from None
    root = _root(options)
    ignored = DefaultFilter(ignore_dirs=[*DefaultFilter.ignore_dirs, *_NOT_WATCHED])
    changes = watch(root, watch_filter=ignored, step=50, rust_timeout=_WATCH, yield_on_timeout=True)
    # By their state, since a watch of one file ends when an editor replaces it.
    others = [path for path in (*map(Path, options.event), options.env_file) if path and _state(path)]
    others = [path for path in others if not path.resolve().is_relative_to(root.resolve())]
    states = {path: _state(path) for path in others}

    def saved() -> bool:
        found = [os.path.relpath(path, root) for _, path in next(changes)]
        for path, state in states.items():
            if (now := _state(path)) and now != state:
                states[path] = now
                found.append(str(path))
        if found:
            console.say(f"Saved: {', '.join(sorted(set(found))[:3])}{', …' if len(set(found)) > 3 else ''}")
        return bool(found)

    return saved


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except (OSError, ValueError):  # ValueError: JSON that no path can be
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


# --- what was asked for


def _whole(least: int, most: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"want a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return whole


def _root(options: argparse.Namespace) -> Path:
    root: Path = options.task_root.absolute()
    if not root.is_dir():
        raise console.CommandError(f"--task-root: there is no folder {root}", 2)
    return root


def _event(given: str, standard_input: bytes) -> bytes:
    """Return an event's JSON document, for what `--event` says."""
    name, content = "--event", given.encode(errors="surrogateescape")
    if given == "-":
        name, content = "standard input", standard_input
    elif given.lstrip()[:1] not in ("{", "[", '"'):
        try:
            name, content = given, Path(given).read_bytes()
        except OSError as exc:
            try:
                json.loads(given)
            except ValueError:
                raise console.CommandError(
                    f"--event {given}: {exc.strerror}; want a file, JSON, or - for standard input", 2
                ) from None
    try:
        text = content.decode(json.detect_encoding(content))
        json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        raise console.CommandError(f"{name} is not JSON: {exc.msg} at {where}", 2) from None
    except ValueError as exc:
        raise console.CommandError(f"{name} is not JSON: {exc}", 2) from None
    return text.encode()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"there is no {name} in JSON")


def _not_here() -> NoReturn:
    arguments = sys.argv[1:] if "--event" in sys.argv or "-e" in sys.argv else [*sys.argv[1:], "--event", "{}"]
    inner = f"pip install -q 'samovar[local]' && samovar {shlex.join(arguments)}"
    line = f'docker run --rm -i -v "$PWD":/var/task -w /var/task python:3.13 sh -c {shlex.quote(inner)}'
    system = {"darwin": "macOS", "win32": "Windows"}.get(sys.platform, platform.system())
    linux = "In WSL it runs as on Linux. In Docker" if system == "Windows" else "In Docker"
    raise console.CommandError(f"Lambda's emulator exists for Linux only, and this is {system}. {linux}: {line}")


# --- one environment


@contextmanager
def _environment(options: argparse.Namespace) -> Iterator[_Environment]:
    root = _root(options)
    try:
        variables = env_file.read(options.env_file) if options.env_file else {}
    except OSError as exc:
        raise console.CommandError(f"--env-file {options.env_file}: {exc.strerror}", 2) from None
    except ValueError as exc:
        raise console.CommandError(str(exc), 2) from None
    if not options.handler.startswith("exec:"):
        path = {**os.environ, **variables}.get("PYTHONPATH", "").split(os.pathsep)
        if wrong := spelling.problem(options.handler, root, [*filter(None, path), "/opt/python"]):
            raise console.CommandError(wrong, 2)
    from samovar.local.rie import RIE, PortInUse, RIEError

    package_root = Path(__file__).resolve().parents[2]
    # As `bootstrap` does it: -S, because samovar.syspath does the part of `site` that is needed.
    command = [sys.executable, "-S", "-u", str(package_root / "samovar" / "bootstrap.py")]
    variables |= {"_HANDLER": options.handler, "LAMBDA_TASK_ROOT": str(root)}
    emulator = RIE(command, env=variables, cwd=root, timeout=options.timeout, memory=options.memory, port=options.port)
    # Leaving the block ends the emulator first, and with it a request that the pool waits for.
    try:
        with ThreadPoolExecutor(1) as pool, emulator as rie:
            environment = _Environment(options.handler, root, rie, pool)
            try:
                yield environment
            finally:
                environment.forward(finish=True)
    except PortInUse as exc:
        raise console.CommandError(f"{exc}: choose another with --port, or --port 0 for a free one") from None
    except RIEError as exc:
        raise console.CommandError(str(exc)) from None


class _Environment:
    """An environment whose log is written to stderr as it grows."""

    def __init__(self, handler: str, root: Path, rie: RIE, pool: ThreadPoolExecutor) -> None:
        self._handler = handler
        self._root = root
        self._rie = rie
        self._pool = pool
        self._read = [0, 0]  # bytes of the function's log and of the emulator's that have been dealt with
        self._line = b""  # the beginning of a line
        self._emulator = b""  # the emulator's log since the last REPORT

    def stay(self, ended: Callable[[], bool]) -> None:
        """Take events over HTTP until `ended`, which waits a moment, returns true."""
        console.say(f"{self._handler} takes events, one at a time:")
        print(f"  curl -d '{{}}' {self._rie.url}", file=sys.stderr)  # never wrapped: it is copied
        console.say("Ctrl-C ends it.")
        while not ended():
            self.forward()

    def invoke_all(self, events: list[bytes]) -> bool:
        """Send the events in turn and write the responses to stdout. Return whether all were answered."""
        failures = 0
        for number, event in enumerate(events, 1):
            which = f"event {number} of {len(events)}" if len(events) > 1 else "the invocation"
            failures += not self._invoke(event, which)
        return not failures

    def _invoke(self, event: bytes, which: str) -> bool:
        from samovar.local.rie import failed

        begin = self._read[1]
        future = self._pool.submit(self._rie.invoke, event)
        while wait([future], _LOOK).not_done:
            self.forward()
        response = future.result()
        self.forward(finish=True)
        has_failed = response.status != 200 or failed(self._rie.written(self._read[0], begin)[1])
        if has_failed:
            kind, message = _error(response.body)
            if response.status != 200 and kind == "Runtime.HandlerNotFound":
                raise console.CommandError(spelling.missing(self._handler, root=self._root), 2)
        sys.stdout.buffer.write(response.body + b"\n")
        sys.stdout.buffer.flush()
        if has_failed:
            console.fail("run", f"{which} failed: {kind}: {message}" if kind else f"{which} failed: {message}")
        return not has_failed

    def forward(self, *, finish: bool = False) -> None:
        """Write what is new in the function's log to stderr, by whole lines; with `finish`, the rest of one too."""
        out, err = self._rie.written(*self._read)
        self._read = [self._read[0] + len(out), self._read[1] + len(err)]
        self._emulator += err
        *lines, self._line = (self._line + out).split(b"\n")
        if finish and self._line:
            lines.append(self._line)
            self._line = b""
        for line in lines:
            self._write(line.decode(errors="surrogateescape"))

    def _write(self, line: str) -> None:
        from samovar.local.rie import parse

        for own in parse(f"{line}\n", "").lines:
            # Lambda keeps a record in one by carriage returns; a terminal would write its lines over one another.
            text = own.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
            sys.stderr.buffer.write(f"{text}\n".encode(errors="surrogateescape"))
            sys.stderr.buffer.flush()
        for report in parse(line, self._emulator.decode(errors="replace")).reports:
            self._emulator = b""
            # The emulator's own line has an INIT that it did not measure, and the memory's limit as its use.
            duration = report.duration_ms if report.runtime_ms is None else report.runtime_ms
            init = "" if report.init_ms is None else f"  Init Duration: {report.init_ms:.2f} ms"
            memory = f"  Memory: {used} of {report.memory_mb} MB" if (used := self._memory()) else ""
            console.say(f"REPORT Duration: {duration:.2f} ms{init}{memory}")

    def _memory(self) -> int:
        """Return how many MB the runtime and its children hold; 0 if they have ended."""
        from samovar.local.rie import RIEError

        try:
            return round(sum(map(self._rie.rss, self._rie.pids)) / (1 << 20))
        except RIEError:
            return 0


def _error(body: bytes) -> tuple[str, str]:
    """Return an error document's type and the first line of its message, or of the body if it is none."""
    try:
        error = json.loads(body)
        kind, message = str(error["errorType"]), str(error["errorMessage"])
    except (ValueError, TypeError, KeyError):
        kind, message = "", body.decode(errors="replace")
    return kind, (message.splitlines() or [""])[0]
