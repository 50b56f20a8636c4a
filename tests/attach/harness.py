"""Runs a function beside a package that attaches to AWS's client, and keeps in one list what the runtime posts and what
the package sends.

`make attach` installs the packages, each with what it needs in a folder of its own, and an interpreter that has none.
"""

from __future__ import annotations

import gzip
import os
import re
import select
import shutil
import subprocess
import tempfile
import textwrap
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from samovar.local.testing.scripted_api import NEXT, Request, ScriptedRuntimeApi
from tests.contract.harness import CHECKOUT, RUNTIME_DIR, Event, Post, environment, normalised

AWS, LAYER, OS_ONLY, IMAGE = "AWS's client", "the layer", "OS-only", "image"
INSTALLS = (LAYER, OS_ONLY, IMAGE)
SITES = CHECKOUT / "build" / "attach"
PYTHON = SITES / "python" / "bin" / "python"
LAYER_FILES = CHECKOUT / "runtime" / "samovar" / "local" / "layer" / "files"

_DEADLINE = 300.0  # seconds for one process: a hang ends the test


@dataclass(frozen=True, slots=True)
class Function:
    """A function with packages in its folder, and the events it is given."""

    packages: tuple[str, ...]
    """Names of requirements/attach/NAME.txt."""
    files: Mapping[str, str]
    events: tuple[object, ...] = ({},)
    """Each is an event's body, or an Event."""
    handler: str = "app.handler"
    env: Mapping[str, str] = field(default_factory=dict)
    """RECORDER in a value stands for host:port of the recorder."""
    wrapper: str = ""
    """An exec wrapper: a path below the function's folder. Lambda runs it, or Samovar by SAMOVAR_EXEC_WRAPPER (layer)
    or AWS_LAMBDA_EXEC_WRAPPER (OS-only); `python -m samovar` starts no wrapper."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that the package sent to the recorder, its body without content encoding."""

    call: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one process did."""

    journal: tuple[Sent | Post | str, ...]
    """In the order in which it came: what the package sent, the runtime's posts, and NEXT for each poll."""
    output: str
    """stdout, then stderr."""
    exit: int | None
    """None for a process that has taken all events and waits."""

    @property
    def posts(self) -> list[Post]:
        return [entry for entry in self.journal if isinstance(entry, Post)]

    @property
    def sent(self) -> list[Sent]:
        return [entry for entry in self.journal if isinstance(entry, Sent)]


Attached = Callable[[Function, str], Recorded]
"""What the fixture `attached` gives."""


def missing(function: Function) -> list[str]:
    """Return what `make attach` has not installed."""
    return [name for name in ("python", "awslambdaric", *function.packages) if not (SITES / name / ".done").exists()]


def execute(function: Function, install: str) -> Recorded:
    """Start the function in an install, hand it its events, and return what was recorded.

    The process is killed when it asks for an event beyond the last, on each connection that AWS_LAMBDA_MAX_CONCURRENCY
    allows. One that does not, and does not end, within five minutes raises TimeoutError.
    """
    with tempfile.TemporaryDirectory(prefix="attach-") as folder:
        root, runtime_dir, opt = (Path(folder, name) for name in ("task", "runtime", "opt"))
        _link(opt, CHECKOUT / "bootstrap", LAYER_FILES / "samovar-exec", CHECKOUT / "runtime")
        _link(runtime_dir, *(SITES / "awslambdaric").iterdir())
        shutil.copy(RUNTIME_DIR / "bootstrap.py", runtime_dir)  # its real path is what Python puts on sys.path
        _link(root, *(path for name in function.packages for path in (SITES / name).iterdir()))
        for name, text in function.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
            path.chmod(0o755)  # one may be the wrapper
        env = {
            "PATH": f"{PYTHON.parent}:/usr/bin:/bin",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "example",
            **function.env,
        }
        command, own = _started(function, install, root, runtime_dir, opt)
        return _run(function, command, {**env, **own}, str(root))


def _started(
    function: Function, install: str, root: Path, runtime_dir: Path, opt: Path
) -> tuple[list[str], dict[str, str]]:
    """Return how Lambda starts the install, and the variables that it has for it."""
    managed = [str(PYTHON), str(runtime_dir / "bootstrap.py")]
    wrapper = str(root / function.wrapper) if function.wrapper else ""
    exec_wrapper = {"AWS_LAMBDA_EXEC_WRAPPER": wrapper} if wrapper else {}
    if install == OS_ONLY:
        return [str(opt / "bootstrap")], exec_wrapper
    if install == IMAGE:
        return [*filter(None, [wrapper]), str(PYTHON), "-m", "samovar"], exec_wrapper
    variables = {"LAMBDA_RUNTIME_DIR": str(runtime_dir)}
    if install == AWS:
        return [*filter(None, [wrapper]), *managed], {**variables, **exec_wrapper}
    layer = str(opt / "samovar-exec")
    return [layer, *managed], {**variables, "AWS_LAMBDA_EXEC_WRAPPER": layer, "SAMOVAR_EXEC_WRAPPER": wrapper}


def _link(folder: Path, *targets: Path) -> None:
    folder.mkdir(exist_ok=True)
    for target in targets:
        if not (folder / target.name).exists():
            (folder / target.name).symlink_to(target)


def _run(function: Function, command: list[str], env: Mapping[str, str], root: str) -> Recorded:
    journal: list[Sent | Request] = []
    idle = os.eventfd(0)
    events = [
        event if isinstance(event, Event) else Event(event, f"8476a536-e9f4-11e8-9739-{number:012}")
        for number, event in enumerate(function.events, 1)
    ]
    api = ScriptedRuntimeApi(
        *(event.answer() for event in events), on_request=journal.append, on_idle=lambda: os.eventfd_write(idle, 1)
    )
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, _recorder(journal) as recorder, api:
        env = {name: value.replace("RECORDER", recorder) for name, value in env.items()}
        process = subprocess.Popen(
            command,
            cwd=root,
            env=environment("", function.handler, root, api.address, env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        ended = os.pidfd_open(process.pid)
        try:
            waiting = int(function.env.get("AWS_LAMBDA_MAX_CONCURRENCY", 1))  # for so many polls without an event
            while waiting > 0:
                ready, _, _ = select.select([idle, ended], [], [], _DEADLINE)
                waiting = waiting - os.eventfd_read(idle) if ready == [idle] else 0
            code = process.wait() if ended in ready else None
            recorded = list(journal)
        finally:
            os.close(ended)
            os.close(idle)
            process.kill()
            process.wait()
        output = b""
        for file in (out, err):
            file.seek(0)
            output += file.read()
    text = output.decode(errors="replace").replace(root, "/var/task").replace(recorder, "RECORDER")
    if not ready:
        raise TimeoutError(f"{command} neither polled /next nor ended: {recorded}\n{text}")
    return Recorded(tuple(_entry(entry, root) for entry in recorded), text, code)


def _entry(entry: Sent | Request, root: str) -> Sent | Post | str:
    if isinstance(entry, Sent):
        if "application/x-protobuf" in entry.headers.values():
            return entry  # it says how long each string is
        return replace(entry, body=entry.body.replace(root.encode(), b"/var/task"))
    return NEXT if entry.call == NEXT else normalised(entry, root)


@contextmanager
def _recorder(journal: list[Sent | Request]) -> Iterator[str]:
    """Take every HTTP request on a port of loopback, and answer with an empty JSON object. Yields host:port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _take(self) -> None:
            body = self._body()
            match self.headers.get("Content-Encoding"):
                case "gzip":
                    body = gzip.decompress(body)
                case "deflate":
                    body = zlib.decompress(body)
            journal.append(Sent(f"{self.command} {self.path}", dict(self.headers), body))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        do_GET = do_POST = do_PUT = do_DELETE = _take

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def version(package: str, distribution: str) -> str:
    """Return the version of a distribution that requirements/attach has."""
    text = (CHECKOUT / "requirements" / "attach" / f"{package}.txt").read_text(encoding="utf-8")
    found = re.search(rf"(?m)^{re.escape(distribution)}==(\S+)", text)
    assert found, f"{distribution} is not in requirements/attach/{package}.txt"
    return found[1]
