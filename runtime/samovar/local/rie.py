"""The real Runtime Interface Emulator (RIE) around any command, for tests and benchmarks.

`with RIE.for_handler("hello.handler") as rie: rie.invoke({})` is one Lambda environment.
`python -m samovar.local.rie` fetches the emulator, so that everything after it works offline.

`RIE(["./main"])` runs any runtime, awslambdaric or a Go program as well. How the RIE behaves (INIT at the
first invocation, the lines it prints) was observed with version 1.170.0 of the aws-sam-cli wheel that contains it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from samovar.local import console

if TYPE_CHECKING:
    import urllib3

PACKAGE = "aws-sam-cli==1.170.0"
PACKAGE_SHA256 = "24ebaf5ecba38dc1758089968cb89ab61e124b84e92a344fc7a2771a47f4d0bf"
_ARCHITECTURE = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_REAPER = Path(__file__).with_name("reaper.py")
_START_LIMIT = 30.0  # seconds; the RIE listens far sooner
_STOP_LIMIT = 3  # seconds; Lambda's SHUTDOWN phase is at most 2
_KILL_LIMIT = 30.0  # seconds; the kernel ends a process far sooner


class RIEError(Exception):
    """The emulator could not be found, started or reached. The message says what to do."""


class PortInUse(RIEError):
    """Another program listens on the port that was asked for."""


# --- finding the binary


def find() -> str:
    """Find the emulator: `SAMOVAR_RIE`, else `aws-lambda-rie` on PATH, else from the pinned wheel, fetched once.

    Returns:
        The path of the binary.

    Raises:
        RIEError: There is no emulator for this platform, or it cannot be fetched.
    """
    if named := os.environ.get("SAMOVAR_RIE"):
        if not os.access(named, os.X_OK) or os.path.isdir(named):
            raise RIEError(
                f"SAMOVAR_RIE is {named!r}, which is not an executable file: set it to the path of aws-lambda-rie"
            )
        return os.path.abspath(named)
    return shutil.which("aws-lambda-rie") or _cached()


def _cached() -> str:
    architecture = _ARCHITECTURE.get(platform.machine().lower())
    if sys.platform != "linux" or architecture is None:
        raise RIEError(
            f"there is no Runtime Interface Emulator for {platform.system()} {platform.machine()}: "
            "it exists for Linux on x86_64 and arm64; run this in a Linux container"
        )
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    binary = Path(cache, "samovar", f"{PACKAGE.replace('==', '-')}-{architecture}", "aws-lambda-rie")
    if binary.exists():
        return str(binary)
    binary.parent.mkdir(parents=True, exist_ok=True)
    fetching = console.working(f"fetching the Runtime Interface Emulator (in {PACKAGE}, 8 MB)")
    # In the same folder, so that the rename below is atomic and two processes may fetch at the same time.
    with fetching, tempfile.TemporaryDirectory(dir=binary.parent) as folder:
        wheel = _download(Path(folder))
        extracted = Path(folder, "aws-lambda-rie")
        with zipfile.ZipFile(wheel) as archive:
            extracted.write_bytes(archive.read(f"samcli/local/rapid/aws-lambda-rie-{architecture}"))
        extracted.chmod(0o755)
        extracted.replace(binary)
    return str(binary)


def _download(folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(folder), "--requirement", str(requirements)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise RIEError(
            f"pip could not download {PACKAGE}, which contains the Runtime Interface Emulator:\n{_tail(done.stderr)}\n"
            "Put aws-lambda-rie on PATH, or set SAMOVAR_RIE to its path."
        )
    if (found := hashlib.sha256(wheels[0].read_bytes()).hexdigest()) != PACKAGE_SHA256:
        raise RIEError(f"{PACKAGE} has SHA-256 {found} instead of {PACKAGE_SHA256}: not using it")
    return wheels[0]


# --- results


class FunctionError(Exception):
    """A failed invocation: what the caller of the function got instead of a result. `str()` of it has the stack trace,
    without the frames of Samovar's own package.

    Attributes:
        error_type: The error's `errorType`, such as "ValueError" or "Runtime.ExitError".
        error_message: Its `errorMessage`.
        stack_trace: Its `stackTrace`, an item a frame; empty where there is none, as after a time-out.
        request_id: The invocation's id; empty if INIT failed.
    """

    def __init__(self, error_type: str, error_message: str, stack_trace: Sequence[str], request_id: str) -> None:
        super().__init__(error_type, error_message, stack_trace, request_id)
        self.error_type = error_type
        self.error_message = error_message
        self.stack_trace = list(stack_trace)
        self.request_id = request_id

    def __str__(self) -> str:
        lines = [f"{self.error_type}: {self.error_message}" if self.error_message else self.error_type]
        if self.stack_trace:
            lines += ["", "Traceback of the function (most recent call last):"]
            lines += folded("\n".join(frame.rstrip("\n") for frame in self.stack_trace).split("\n"))
        return "\n".join(lines)


FunctionError.__module__ = "samovar.local"  # where users import it from


@dataclass(frozen=True)
class Invocation:
    """What the caller of the function got: an HTTP status, which is 200 even if the function failed, and a body.

    `error` is None if the invocation succeeded. A function that returns a dict with an `errorType` has succeeded.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(repr=False)
    error: FunctionError | None = field(default=None, repr=False)

    def json(self) -> Any:
        """Return the result, parsed as JSON.

        Raises:
            FunctionError: The invocation failed; it is `error`.
            RIEError: The body is not JSON. The message has the start of it.
        """
        __tracebackhide__ = True  # pytest shows the test's own line
        if self.error is not None:
            raise self.error.with_traceback(None)
        try:
            return json.loads(self.body)
        except ValueError:
            raise RIEError(f"the body (status {self.status}) is not JSON: {self.body[:200]!r}") from None


@dataclass(frozen=True)
class Init:
    """One INIT. `duration_ms` is None while it runs; `phase` is `init`, or `invoke` if it follows a failure."""

    duration_ms: float | None
    ok: bool
    phase: str


@dataclass(frozen=True)
class Report:
    """One REPORT line. The RIE includes INIT in the `duration_ms` and `billed_ms` of the invocation that waited for it.

    `init_ms` is the duration of that INIT, or None if there was none. `runtime_ms` is the time from /next to the
    response, or None if the runtime sent none. `memory_mb` is the configured memory; see RIE.rss() for what is used.
    """

    request_id: str
    duration_ms: float
    billed_ms: int
    init_ms: float | None
    runtime_ms: float | None
    memory_mb: int


@dataclass(frozen=True)
class Log:
    """All that was logged. `lines` are what the runtime and the function wrote to stdout and stderr, in order.

    A record that Lambda keeps together by carriage returns, such as a traceback, is several lines.
    """

    inits: list[Init]
    reports: list[Report]
    lines: list[str]


_PLATFORM = re.compile(  # only at the end of a line: a function's output without a newline may precede it
    r"(?:START RequestId: \S+ Version: \S+"
    r"|END RequestId: \S+"
    r"|REPORT RequestId: (?P<id>\S+)\t(?:Init Duration: \S+ ms\t)?Duration: (?P<duration>\S+) ms\t"
    r"Billed Duration: (?P<billed>\d+) ms\tMemory Size: (?P<memory>\d+) MB\tMax Memory Used: \d+ MB\t?)$"
)
_RAPID = re.compile(
    r"\(rapid\) (?:INIT START\(type: [^,]*, phase: (?P<phase>\w+)\)"
    r"|INIT RTDONE\(status: (?P<status>\w+)"
    r"|INIT REPORT\(durationMs: (?P<init>[\d.]+)\)"
    r"|INVOKE START\(requestId: (?P<id>[^)]+)\)"
    r"|INVOKE RTDONE\(status: \w+, .*duration: (?P<runtime>[\d.]+)ms\))"
)
_DEBUG = re.compile(r"(?m)^.{24,32} \[DEBUG\] \(rapid\) .*\n")
_OWN_FRAME = f'  File "{Path(__file__).resolve().parents[1]}/'
_INVOKED = re.compile(rb"\(rapid\) INVOKE START\(requestId: ([^)]+)\)")
_FAILED = re.compile(rb"(?m)^.{24,32} \[(?:DEBUG\] \(rapid\) Sending Error Response|ERROR\] \(rapid\) Invoke failed)")


def failed(stderr: bytes) -> bool:
    """Return whether an invocation failed during this part of the emulator's own log.

    The emulator answers 200 for a function that failed, and has no X-Amz-Function-Error header: an error document and
    a result of the same form differ in the log alone.
    """
    return _FAILED.search(stderr) is not None


def _error(status: int, body: bytes, stderr: bytes) -> FunctionError | None:
    """Return the error of an invocation, from its response and the emulator's own log of it; None if it succeeded."""
    if status == 200 and not failed(stderr):
        return None
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        text = body.decode(errors="replace")
        # 1.170.0 answers with this text alone; Lambda gives it this type.
        timed_out = text.startswith("Task timed out after")
        told = {"errorType": "Sandbox.Timedout" if timed_out else "Unhandled", "errorMessage": text}
    ids = [each.decode() for each in _INVOKED.findall(stderr)]
    return FunctionError(
        str(told.get("errorType") or "Unhandled"),
        str(told.get("errorMessage") or ""),
        [frame if isinstance(frame, str) else json.dumps(frame) for frame in told.get("stackTrace") or ()],
        str(told.get("requestId", ids[-1] if ids else "")),
    )


def readable(log: str) -> str:
    """Return a text log with line ends and spaces instead of Lambda's carriage returns and no-break spaces.

    CloudWatch splits a log at line ends and trims leading spaces, so a text record of several lines has carriage
    returns between them, and no-break spaces before them. On a terminal each line would overwrite the one before it.
    """
    return re.sub(r"\r(?!\n)(\xa0*)", lambda found: "\n" + " " * len(found[1]), log).replace("\r\n", "\n")


def folded(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a log or a traceback, with a count instead of the frames of Samovar's own package."""
    hidden, source = 0, False
    for line in lines:
        if line.startswith(_OWN_FRAME):
            hidden, source = hidden + 1, True
        elif not (source and line.startswith("    ")):
            if hidden:
                yield _count_of(hidden)
            hidden, source = 0, False
            yield line
    if hidden:
        yield _count_of(hidden)


def _count_of(hidden: int) -> str:
    return f"  … {hidden} frame{'s' if hidden > 1 else ''} of samovar"


def without_debug(stderr: str) -> str:
    """Return the emulator's own log without its debug lines, which are asked for to see what failed."""
    return _DEBUG.sub("", stderr)


def parse(stdout: str, stderr: str) -> Log:
    """Parse the emulator's outputs: on stdout the function's and START, END, REPORT; on stderr its own log."""
    inits: list[Init] = []
    waited: dict[str, float | None] = {}
    runtime: dict[str, float] = {}
    pending: float | None = None
    request = ""
    status: str | None = None
    for found in _RAPID.finditer(stderr):
        if found["phase"]:
            inits.append(Init(None, False, found["phase"]))
            status = None
        elif found["status"]:
            status = found["status"]
        elif found["init"]:
            begun = inits.pop() if inits else None
            if (
                begun and status
            ):  # else the START and REPORT that the RIE prints after a failed INIT without running anything
                pending = float(found["init"])
                inits.append(Init(pending, status == "success", begun.phase))
        elif found["id"]:
            request = found["id"]
            waited[request], pending = pending, None
        else:
            runtime[request] = float(found["runtime"])
    reports: list[Report] = []
    lines: list[str] = []
    for line in readable(stdout).split("\n"):
        found_line = _PLATFORM.search(line)
        own = line[: found_line.start()] if found_line else line
        if own or not found_line:
            lines.append(own)
        if found_line and (key := found_line["id"]):
            duration, billed, memory = (
                float(found_line["duration"]),
                int(found_line["billed"]),
                int(found_line["memory"]),
            )
            reports.append(Report(key, duration, billed, waited.get(key), runtime.get(key), memory))
    if lines and not lines[-1]:
        del lines[-1]  # the empty rest after the last newline
    return Log(inits, reports, lines)


# --- one environment


class RIE:
    """One environment, used as a context manager: `command` under the emulator.

    The first invocation starts the runtime. Leaving the block ends every process that was started in the environment,
    daemons included: the emulator with SIGTERM (the runtime's SHUTDOWN), whatever is left after that with SIGKILL.

    Args:
        command: The runtime's program and its arguments.
        env: Environment variables, added to those of this process.
        cwd: The folder in which the command starts.
        timeout: The function's timeout in seconds; the RIE's own default is 300.
        memory: The function's memory in MB, which the RIE reports but does not enforce.
        port: The port on 127.0.0.1 that takes invocations; 0 for a free one.

    Raises:
        RIEError: The emulator cannot be found or started; PortInUse if the port is why (when the block is entered).
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        timeout: int | None = None,
        memory: int | None = None,
        port: int = 0,
    ) -> None:
        if not isinstance(command, list | tuple) or not command or not all(map(_is_path, command)):
            raise RIEError(f"command must be a list of a program and its arguments, not {command!r}")
        variables = _checked_env(env)
        _check_whole("timeout", "seconds", timeout)
        _check_whole("memory", "MB", memory)
        self.command = [os.fspath(argument) for argument in command]
        self.cwd = cwd
        self._port = port
        self._env = {**os.environ, **variables}
        if timeout is not None:
            self._env["AWS_LAMBDA_FUNCTION_TIMEOUT"] = str(timeout)
        if memory is not None:
            self._env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] = str(memory)
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None  # the reaper, which exits as the emulator below it does
        self._emulator = 0  # process id
        # Files, not pipes, so that no reader thread is needed and all output is there when the response is.
        self._files: tuple[IO[bytes], IO[bytes]] | None = None
        self._written = (b"", b"")
        self._busy = threading.Lock()
        self._http: urllib3.PoolManager | None = None

    @classmethod
    def for_handler(
        cls,
        handler: str,
        *,
        task_root: str | os.PathLike[str] = ".",
        env: Mapping[str, str] | None = None,
        timeout: int | None = None,
        memory: int | None = None,
        command: Sequence[str | os.PathLike[str]] = (sys.executable, "-m", "samovar"),
        port: int = 0,
    ) -> Self:
        """Return an environment of a function in Python: `with RIE.for_handler("app.handler") as rie:`.

        Args:
            handler: The function, as in Lambda's handler setting.
            task_root: The function's folder, LAMBDA_TASK_ROOT, in which the command starts.
            env: As for RIE.
            timeout: As for RIE.
            memory: As for RIE.
            command: The runtime's program and its arguments; by default Samovar on this interpreter.
            port: As for RIE.

        Raises:
            RIEError: An argument cannot be.
        """
        if not isinstance(handler, str) or not handler:
            raise RIEError(f'handler must be a string such as "app.handler", not {handler!r}')
        if not _is_path(task_root):
            raise RIEError(f"task_root must be a path, not {task_root!r}")
        folder = Path(task_root).absolute()
        if not folder.is_dir():
            raise RIEError(f"task_root={os.fspath(task_root)!r}: there is no folder {folder}")
        variables = {"_HANDLER": handler, "LAMBDA_TASK_ROOT": str(folder), **_checked_env(env)}
        return cls(command, env=variables, cwd=folder, timeout=timeout, memory=memory, port=port)

    def __repr__(self) -> str:
        where = f" in {self.cwd}" if self.cwd else ""
        return f"<RIE {self._env.get('_HANDLER') or ' '.join(self.command)}{where}>"

    @property
    def running(self) -> bool:
        """Whether the emulator runs: False before the block is entered, and after its end."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        if self.running:
            return self  # the fixture `samovar_rie` has entered it already
        binary = find()
        program = self.command[0]
        where = os.path.join(self.cwd or "", program) if os.sep in program else program
        if not shutil.which(where, path=self._env.get("PATH")):
            raise RIEError(f"there is no executable {where!r} to run under the emulator")
        self._files = tempfile.TemporaryFile("a+b"), tempfile.TemporaryFile("a+b")
        try:
            for _ in range(10):  # another process may take a free port before the emulator binds it
                if self._start(binary, *self._files):
                    return self
                if self._port and f":{self._port}: bind" in self.emulator_log():
                    raise PortInUse(f"port {self._port} is in use on this machine")
            raise self._failure("found no free port in ten attempts")
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, binary: str, stdout: IO[bytes], stderr: IO[bytes]) -> bool:
        """Start the emulator; return False if one of its ports was taken."""
        stdout.truncate(0)
        stderr.truncate(0)
        ports = _free_ports(2)
        if self._port:
            ports[0] = self._port
        addresses = [f"127.0.0.1:{port}" for port in ports]
        # Only the debug log says which invocations failed. Without the option, the function's LOG_LEVEL would count.
        options = ["--log-level", "debug"]
        options += ["--runtime-interface-emulator-address", addresses[0], "--runtime-api-address", addresses[1]]
        told, tell = os.pipe()
        with open(told, "rb") as emulator:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", _REAPER, str(tell), str(_STOP_LIMIT), binary, *options, *self.command],
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    env=self._env,
                    cwd=self.cwd,
                    pass_fds=[tell],
                    start_new_session=True,
                )
            finally:
                os.close(tell)
            self._emulator = int(emulator.read() or 0)
        import urllib3  # takes 75 ms, as long as the emulator needs to start

        limit = int(self._env.get("AWS_LAMBDA_FUNCTION_TIMEOUT") or 300)
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=limit + 60), retries=False)
        self.url = f"http://{addresses[0]}/2015-03-31/functions/function/invocations"
        deadline = time.monotonic() + _START_LIMIT
        while not _listening(self._emulator).issuperset(ports):
            if self._process.poll() is not None:
                if "address already in use" in _read(stderr):
                    return False
                raise self._failure("ended at its start")
            if time.monotonic() > deadline:
                raise self._failure(f"did not listen within {_START_LIMIT:.0f} s")
            time.sleep(0.005)
        return True

    def _failure(self, what: str) -> RIEError:
        status = self._process.poll() if self._process else None
        ended = "" if status is None else f" (exit status {status})"
        last = _tail(self.output() + self.emulator_log())
        return RIEError(f"the Runtime Interface Emulator {what}{ended}; its last output:\n{last}")

    def invoke(self, event: Any, *, client_context: Any = None) -> Invocation:
        """Send one event and wait for the response. A function that fails, or a runtime that exits, does not raise.

        Args:
            event: Any JSON value, or bytes, which are sent as they are.
            client_context: The value of the handler's `context.client_context`, as JSON.

        Returns:
            What the caller gets. Its `error` says whether the invocation failed. The status is 502 if the runtime
            exits.

        Raises:
            RIEError: The emulator has ended, or this environment is busy. Lambda would start another environment for
                a second event at the same time; this emulator (1.170.0) panics.
        """
        headers = {"Content-Type": "application/json"}
        if client_context is not None:
            headers["X-Amz-Client-Context"] = base64.b64encode(json.dumps(client_context).encode()).decode()
        body = bytes(event) if isinstance(event, bytes | bytearray | memoryview) else json.dumps(event).encode()
        if self._http is None or not self.running:
            raise self._failure("is not running")
        if not self._busy.acquire(blocking=False):
            raise RIEError("an environment takes one event at a time: use a second RIE for a second event")
        import urllib3

        _, begun = self.position()
        try:
            response = self._http.request("POST", self.url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise self._failure(f"did not answer ({error})") from error
        finally:
            self._busy.release()
        failure = _error(response.status, response.data, self.written(0, begun)[1])
        return Invocation(response.status, response.data, dict(response.headers), failure)

    def log(self) -> Log:
        """Return all output so far, parsed. An invocation's lines are complete once it has returned."""
        return parse(*self._outputs())

    def output(self) -> str:
        """Return all that the function and the runtime wrote so far, and the START, END and REPORT lines, as text."""
        return readable(self._outputs()[0])

    def emulator_log(self) -> str:
        """Return the emulator's own log so far. Its debug lines are left out."""
        return without_debug(self._outputs()[1])

    def position(self) -> tuple[int, int]:
        """Return how many bytes have been written to stdout and to the emulator's own stderr, for `written`."""
        if self._files is None:
            return len(self._written[0]), len(self._written[1])
        return os.fstat(self._files[0].fileno()).st_size, os.fstat(self._files[1].fileno()).st_size

    def written(self, stdout: int = 0, stderr: int = 0) -> tuple[bytes, bytes]:
        """Return what was written to stdout and to the emulator's own stderr from these positions on."""
        if self._files is None:
            return self._written[0][stdout:], self._written[1][stderr:]
        return _read_from(self._files[0], stdout), _read_from(self._files[1], stderr)

    def _outputs(self) -> tuple[str, str]:
        stdout, stderr = self.written()
        return stdout.decode(errors="replace"), stderr.decode(errors="replace")

    @property
    def pid(self) -> int | None:
        """The runtime's process id, or None before the first invocation and after the runtime has ended."""
        if not self.running:
            return None
        pids = [pid for pid, parent in _parents().items() if parent == self._emulator and _running(pid)]
        # External extensions are children of the emulator too; their path tells them apart.
        return next((pid for pid in pids if "/opt/extensions/" not in _proc(pid, "cmdline").split("\0")[0]), None)

    @property
    def pids(self) -> list[int]:
        """The ids of the runtime's process and its descendants (companions, say); empty before the first invocation."""
        return [pid, *_descendants(pid)] if (pid := self.pid) else []

    def rss(self, pid: int | None = None) -> int:
        """Return the resident memory of the runtime, or of process `pid`, in bytes.

        Raises:
            RIEError: The process is not running.
        """
        pid = pid or self.pid
        if pid is None or not (found := re.search(r"^VmRSS:\s+(\d+) kB", _proc(pid, "status"), re.MULTILINE)):
            raise RIEError("the runtime is not running: read its memory after the first invocation")
        return int(found[1]) * 1024

    def stop(self) -> None:
        """End every process of the environment and wait until they are gone. The log stays readable."""
        if self._http is not None:
            self._http.clear()
        try:
            if self._process is not None and self.running:
                self._process.terminate()
                self._process.wait(_STOP_LIMIT + _KILL_LIMIT)
        finally:
            if self._files:
                self._written, files, self._files = self.written(), self._files, None
                for file in files:
                    file.close()


# --- /proc


def _proc(pid: int, name: str) -> str:
    """Return a file of /proc/PID, or "" if the process has ended or is another user's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def _parents() -> dict[int, int]:
    """Return the parent of every process."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and (stat := _proc(int(name), "stat")):
            parents[int(name)] = int(stat.rpartition(")")[2].split()[1])  # the command before it may contain anything
    return parents


def _descendants(pid: int) -> list[int]:
    """Return the running processes below a process."""
    parents, found = _parents(), [pid]
    for known in found:  # grows during the loop
        found += [pid for pid, parent in parents.items() if parent == known and _running(pid)]
    return found[1:]


def _running(pid: int) -> bool:
    """Return False for a process that has ended, even if it is not reaped yet."""
    state = _proc(pid, "stat").rpartition(")")[2].split()[:1]
    return bool(state) and state[0] not in "ZX"


def _listening(pid: int) -> set[int]:
    """Return the TCP ports (IPv4) on which the process listens, so that no other server is taken for it."""
    sockets = set()
    try:
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            sockets.add(os.readlink(descriptor.path))
    except OSError:
        pass  # it ended, or closed a descriptor meanwhile: the caller looks again
    rows = [row.split() for row in _proc(pid, "net/tcp").splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]  # all open before the first is closed
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def _read(file: IO[bytes]) -> str:
    return _read_from(file, 0).decode(errors="replace")


def _read_from(file: IO[bytes], position: int) -> bytes:
    return os.pread(file.fileno(), max(0, os.fstat(file.fileno()).st_size - position), position)


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _checked_env(env: Mapping[str, str] | None) -> Mapping[str, str]:
    if env is None:
        return {}
    if not isinstance(env, Mapping) or not all(isinstance(each, str) for pair in env.items() for each in pair):
        raise RIEError(f"env must be a dict of strings, not {env!r}")
    return env


def _check_whole(name: str, unit: str, value: int | None) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise RIEError(f"{name} must be a whole number of {unit}, 1 or more, not {value!r}")


def _tail(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-20:])


if __name__ == "__main__":
    try:
        print(find())
    except RIEError as failure:
        sys.exit(f"samovar: {failure}")
