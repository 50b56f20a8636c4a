"""`samovar run MODULE.FUNCTION`: a handler under the real Runtime Interface Emulator, for a developer who looks on.

A response goes to stdout as it is; what the function logs and a REPORT go to stderr while it runs. What to run is read
anew for every environment, since `--watch` starts one after each save.
"""

from __future__ import annotations

import argparse
import errno
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

from samovar.local import console, env_file, interrupts, spelling

if TYPE_CHECKING:
    from samovar.local.endpoint import Endpoint
    from samovar.local.rie import RIE, FunctionError

_PORT = 9000  # as in the examples of AWS's images
_LOOK = 0.05  # seconds between two looks at the log
_WATCH = 100  # ms between two looks at the log and the files
_NOT_WATCHED = ("venv", ".ruff_cache", ".aws-sam")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "handler",
        metavar="HANDLER",
        help="as in Lambda's handler setting: app.handler, asgi:main:app, wsgi:main:app or exec:./program",
    )
    parser.add_argument(
        "-e",
        "--event",
        action="append",
        default=[],
        help="a file, JSON, or - for standard input; several are sent in turn (default: take events over HTTP)",
    )
    parser.add_argument(
        "--task-root", metavar="DIR", type=Path, default=Path(), help="the function's folder (default: the current one)"
    )
    parser.add_argument("--env-file", metavar="FILE", type=Path, help="the function's variables: NAME=VALUE lines")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_whole(1, 900), help="the function's timeout (default: 300)"
    )
    parser.add_argument(
        "--memory", metavar="MB", type=_whole(128, 10240), help="the function's memory: reported, not enforced"
    )
    parser.add_argument(
        "--port",
        type=_whole(0, 65535),
        help=f"where on 127.0.0.1 to take events; 0 for a free port (default: {_PORT})",
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
    if options.event and options.port is not None:
        raise console.CommandError("--port is for events over HTTP: leave out either --port or --event", 2)
    given = b""
    if "-" in options.event:
        if sys.stdin.isatty():
            console.say("Type the event, then Ctrl-D on a new line.")
        given = sys.stdin.buffer.read()
    saved = _saved(options) if options.watch else None
    if not options.event:
        _stay(options, saved)
    while True:
        try:
            events = [_event(event, given) for event in options.event]
            with _environment(options) as environment:
                failures = environment.invoke_all(events)
        except console.CommandError as exc:
            if saved is None:
                raise
            console.fail("run", str(exc))
        else:
            if saved is None:
                return 1 if failures else 0
        _wait(saved)


def _stay(options: argparse.Namespace, saved: Callable[[], bool] | None) -> NoReturn:
    """Take events over HTTP, with a new environment after each save."""
    from samovar.local.endpoint import Endpoint

    port = _PORT if options.port is None else options.port
    try:
        endpoint = Endpoint(port)
    except OSError as exc:
        why = "is in use on this machine" if exc.errno == errno.EADDRINUSE else f"cannot be had ({exc.strerror})"
        raise console.CommandError(f"port {port} {why}: choose another with --port, or 0 for a free one") from None
    told = False
    with endpoint:
        while True:
            try:
                with _environment(options) as environment, endpoint.serving(environment.rie):
                    if not told:
                        console.say(f"{options.handler} takes events:")
                        console.say(f"  curl -d '{{}}' {endpoint.url}", "bold", wrap=False)
                        console.say("Ctrl-C ends it.")
                        told = True
                    environment.follow(endpoint, saved or _pause)
            except console.CommandError as exc:
                if saved is None:
                    raise
                console.fail("run", str(exc))
                _wait(saved)


def _pause() -> bool:
    interrupts.check()
    time.sleep(_LOOK)
    return False


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
    """Return the JSON document that a value of `--event` means."""
    name, content = "--event", given.encode(errors="surrogateescape")
    if given == "-":
        name, content = "standard input", standard_input
    elif given.lstrip()[:1] not in ("{", "[", '"'):
        try:
            name, content = given, Path(given).read_bytes()
        except OSError as exc:
            if not _is_json(given):
                raise console.CommandError(
                    f"--event {given}: {exc.strerror}; want a file, JSON, or - for standard input", 2
                ) from None
    try:
        text = content.decode(json.detect_encoding(content))
        json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as exc:
        raise console.CommandError(
            f"{name} is not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}", 2
        ) from None
    except ValueError as exc:
        raise console.CommandError(f"{name} is not JSON: {exc}", 2) from None
    return text.encode()


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"it has no {name}")


def _not_here() -> NoReturn:
    given = sys.argv[1:]
    if not any(argument.startswith(("-e", "--event")) for argument in given):
        given = [*given, "--event", "{}"]
    inner = f"pip install -q 'samovar[local]' && samovar {shlex.join(given)}"
    line = f'docker run --rm -i -v "$PWD":/var/task -w /var/task python:3.13 sh -c {shlex.quote(inner)}'
    system = {"darwin": "macOS", "win32": "Windows"}.get(sys.platform, platform.system())
    ways = "in WSL, as on Linux, or in Docker" if system == "Windows" else "in Docker"
    raise console.CommandError(f"Lambda's emulator needs Linux, and this is {system}. Run it {ways}: {line}")


# --- saved files


def _saved(options: argparse.Namespace) -> Callable[[], bool]:
    """Return a function that waits a moment and returns whether a file was saved, after saying which."""
    try:
        from watchfiles import DefaultFilter, watch
    except ImportError:
        raise console.CommandError("--watch needs watchfiles: pip install 'samovar[local]'", 2) from None
    root = _root(options).resolve()
    ignored = DefaultFilter(ignore_dirs=[*DefaultFilter.ignore_dirs, *_NOT_WATCHED])
    changes = watch(root, watch_filter=ignored, step=50, rust_timeout=_WATCH, yield_on_timeout=True)
    # By their state, since the watch of a single file ends when an editor replaces it.
    named = [Path(name) for name in (*options.event, options.env_file) if name]
    others = {path: state for path in named if (state := _state(path)) and not path.resolve().is_relative_to(root)}
    next(changes)  # from here on every save counts

    def saved() -> bool:
        interrupts.check()
        found = {os.path.relpath(path, root) for _, path in next(changes) if not _is_output(path)}
        for path, before in others.items():
            if (state := _state(path)) and state != before:
                others[path] = state
                found.add(str(path))
        if found:
            console.say(f"Saved: {', '.join(sorted(found)[:3])}{', …' if len(found) > 3 else ''}")
        return bool(found)

    return saved


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except (OSError, ValueError):  # JSON is no path, and may not even be a possible one
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _is_output(path: str) -> bool:
    """Return whether stdout or stderr goes to the file, which grows with every start."""
    try:
        file = os.stat(path)
    except OSError:
        return False
    return any(os.path.samestat(file, os.fstat(descriptor)) for descriptor in (1, 2))


def _wait(saved: Callable[[], bool]) -> None:
    console.say("Waiting for a file to be saved; Ctrl-C ends it.")
    while not saved():
        pass


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
    if not options.handler.startswith(("asgi:", "exec:", "wsgi:")):
        path = {**os.environ, **variables}.get("PYTHONPATH", "").split(os.pathsep)
        if wrong := spelling.problem(options.handler, root, [*filter(None, path), "/opt/python"]):
            raise console.CommandError(wrong, 2)
    for name in ("AWS_LAMBDA_FUNCTION_TIMEOUT", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"):
        if not (value := {**os.environ, **variables}.get(name, "0")).isdecimal():
            raise console.CommandError(f"{name} is {value!r}: want a whole number", 2)
    from samovar.local.rie import RIE, RIEError, find

    try:
        find()
    except OSError as exc:
        raise console.CommandError(f"no place for the emulator: {exc}; set XDG_CACHE_HOME to a folder for it") from None
    except RIEError as exc:
        raise console.CommandError(str(exc)) from None
    emulator = RIE.for_handler(
        options.handler,
        task_root=root,
        env={**variables, "_HANDLER": options.handler, "LAMBDA_TASK_ROOT": str(root)},
        timeout=options.timeout,
        memory=options.memory,
        # As `bootstrap` does it: -S, because samovar.syspath does the part of `site` that is needed.
        command=[sys.executable, "-S", "-u", Path(__file__).resolve().parents[1] / "bootstrap.py"],
    )
    try:
        # The emulator ends first, and with it a request that the pool waits for.
        with ThreadPoolExecutor(1) as pool, emulator as rie:
            environment = _Environment(options.handler, root, rie, pool)
            try:
                yield environment
            finally:
                environment.forward(finish=True)
    except RIEError as exc:
        raise console.CommandError(str(exc)) from None
    finally:
        emulator.stop()  # again, if a signal came while it was being ended


class _Environment:
    """An environment whose log is written to stderr as it grows."""

    def __init__(self, handler: str, root: Path, rie: RIE, pool: ThreadPoolExecutor) -> None:
        self.rie = rie
        self._handler = handler
        self._root = root
        self._pool = pool
        self._read = [0, 0]  # bytes of the function's log and of the emulator's that have been dealt with
        self._line = b""  # the beginning of a line
        self._emulator = b""  # the emulator's log since the start of the last invocation that has a REPORT

    def follow(self, endpoint: Endpoint, ended: Callable[[], bool]) -> None:
        """Write the log while the endpoint serves, until `ended`, which waits a moment, returns true."""
        while not ended():
            self.forward()
            while not endpoint.failures.empty():
                _report("the invocation", endpoint.failures.get())
            if not self.rie.running:
                raise console.CommandError("the emulator has ended")

    def invoke_all(self, events: list[bytes]) -> int:
        """Send the events in turn and write the responses to stdout. Return how many failed."""
        failures = 0
        for number, event in enumerate(events, 1):
            future = self._pool.submit(self.rie.invoke, event)
            while wait([future], _LOOK).not_done:
                interrupts.check()
                self.forward()
            response = future.result()
            self.forward(finish=True)
            error = response.error
            if error and response.status != 200 and error.error_type == "Runtime.HandlerNotFound":  # in INIT
                raise console.CommandError(spelling.missing(self._handler, root=self._root), 2)
            sys.stdout.buffer.write(response.body + b"\n")
            sys.stdout.buffer.flush()
            if error:
                failures += 1
                _report(f"event {number} of {len(events)}" if len(events) > 1 else "the invocation", error)
        return failures

    def forward(self, *, finish: bool = False) -> None:
        """Write what is new in the function's log to stderr, by whole lines; with `finish`, the rest of one too."""
        out, err = self.rie.written(*self._read)
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

        log = parse(f"{line}\n", self._emulator.decode(errors="replace"))
        for own in log.lines:
            sys.stderr.buffer.write(f"{own}\n".encode(errors="surrogateescape"))
            sys.stderr.buffer.flush()
        for report in log.reports:
            self._emulator = self._emulator.partition(f"INVOKE START(requestId: {report.request_id})".encode())[2]
            # The emulator's own line has an INIT that it did not measure, and the memory's limit as its use.
            duration = report.duration_ms if report.runtime_ms is None else report.runtime_ms
            init = "" if report.init_ms is None else f"  Init Duration: {report.init_ms:.2f} ms"
            memory = f"  Memory: {used} of {report.memory_mb} MB" if (used := self._memory()) else ""
            console.say(f"REPORT Duration: {duration:.2f} ms{init}{memory}")

    def _memory(self) -> int:
        """Return how many MB the runtime and its children hold; 0 if they have ended."""
        from samovar.local.rie import RIEError

        try:
            return round(sum(map(self.rie.rss, self.rie.pids)) / (1 << 20))
        except RIEError:
            return 0


def _report(which: str, error: FunctionError) -> None:
    message = error.error_message.splitlines() or [""]
    console.fail("run", f"{which} failed: {error.error_type}: {message[0]}")
