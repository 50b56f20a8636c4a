"""The real Runtime Interface Emulator (RIE) around any command, for tests and benchmarks.

`with RIE(["./bootstrap"], env={"_HANDLER": "hello.handler"}) as rie: rie.invoke({})` is one Lambda environment.
`python -m samovar.local.rie` fetches the emulator, so that everything after it works offline.

Knows nothing of Samovar's runtime: awslambdaric or a Go program runs under it as well. How the RIE behaves (INIT at the
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

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
    print(f"samovar: fetching the Runtime Interface Emulator (in {PACKAGE}, 8 MB) to {binary}", file=sys.stderr)
    # In the same folder, so that the rename below is atomic and two processes may fetch at the same time.
    with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
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


@dataclass(frozen=True)
class Invocation:
    """What the caller of the function got: an HTTP status, which is 200 even if the function failed, and a body."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(repr=False)

    def json(self) -> Any:
        """Return the body, parsed as JSON.

        Raises:
            RIEError: The body is not JSON, as after a time-out. The message has the start of it.
        """
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
    """All that was logged. `lines` are what the runtime and the function wrote to stdout and stderr, in order."""

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
    for line in stdout.split("\n"):
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
    """One environment, used as a context manager: `command` under the emulator, on two free ports.

    The first invocation starts the runtime. Leaving the block ends every process that was started in the environment,
    daemons included: the emulator with SIGTERM (the runtime's SHUTDOWN), whatever is left after that with SIGKILL.

    Args:
        command: The runtime's program and its arguments.
        env: Environment variables, added to those of this process.
        cwd: The folder in which the command starts.
        timeout: The function's timeout in seconds; the RIE's own default is 300.
        memory: The function's memory in MB, which the RIE reports but does not enforce.

    Raises:
        RIEError: The emulator cannot be found or started (when the block is entered).
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        timeout: int | None = None,
        memory: int | None = None,
    ) -> None:
        if isinstance(command, str) or not command:
            raise RIEError(f"command must be a list of a program and its arguments, not {command!r}")
        self.command = list(command)
        self.cwd = cwd
        self._env = {**os.environ, **(env or {})}
        if timeout is not None:
            self._env["AWS_LAMBDA_FUNCTION_TIMEOUT"] = str(timeout)
        if memory is not None:
            self._env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] = str(memory)
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None  # the reaper, which exits as the emulator below it does
        self._emulator = 0  # process id
        # Files, not pipes, so that no reader thread is needed and all output is there when the response is.
        self._files: tuple[IO[bytes], IO[bytes]] | None = None
        self._written = ("", "")
        limit = int(self._env.get("AWS_LAMBDA_FUNCTION_TIMEOUT") or 300)
        self._busy = threading.Lock()
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=limit + 60), retries=False)

    def __enter__(self) -> Self:
        if self._process is not None and self._process.poll() is None:
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
        addresses = [f"127.0.0.1:{port}" for port in ports]
        options = ["--runtime-interface-emulator-address", addresses[0], "--runtime-api-address", addresses[1]]
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
        return RIEError(f"the Runtime Interface Emulator {what}{ended}; its last output:\n{_tail(self.output())}")

    def invoke(self, event: Any, *, client_context: Any = None) -> Invocation:
        """Send one event and wait for the response. A function that fails, or a runtime that exits, does not raise.

        Args:
            event: Any JSON value, or bytes, which are sent as they are.
            client_context: The value of the handler's `context.client_context`, as JSON.

        Returns:
            What the caller gets. The status is 502 if the runtime exits.

        Raises:
            RIEError: The emulator has ended, or this environment is busy. Lambda would start another environment for
                a second event at the same time; this emulator (1.170.0) panics.
        """
        headers = {"Content-Type": "application/json"}
        if client_context is not None:
            headers["X-Amz-Client-Context"] = base64.b64encode(json.dumps(client_context).encode()).decode()
        body = bytes(event) if isinstance(event, bytes | bytearray | memoryview) else json.dumps(event).encode()
        if self._process is None or self._process.poll() is not None:
            raise self._failure("is not running")
        if not self._busy.acquire(blocking=False):
            raise RIEError("an environment takes one event at a time: use a second RIE for a second event")
        try:
            response = self._http.request("POST", self.url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise self._failure(f"did not answer ({error})") from error
        finally:
            self._busy.release()
        return Invocation(response.status, response.data, dict(response.headers))

    def log(self) -> Log:
        """Return all output so far, parsed. An invocation's lines are complete once it has returned."""
        return parse(*self._outputs())

    def output(self) -> str:
        """Return all output so far as text: stdout, then the emulator's own stderr."""
        return "".join(self._outputs())

    def _outputs(self) -> tuple[str, str]:
        return (_read(self._files[0]), _read(self._files[1])) if self._files else self._written

    @property
    def pid(self) -> int | None:
        """The runtime's process id, or None before the first invocation and after the runtime has ended."""
        if self._process is None or self._process.poll() is not None:
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
        self._http.clear()
        try:
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
                self._process.wait(_STOP_LIMIT + _KILL_LIMIT)
        finally:
            if self._files:
                self._written, files, self._files = self._outputs(), self._files, None
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
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


def _tail(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-20:])


if __name__ == "__main__":
    try:
        print(find())
    except RIEError as failure:
        sys.exit(f"samovar: {failure}")
