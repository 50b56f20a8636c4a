"""The real Runtime Interface Emulator (RIE) around any command, for tests, the demo and the benchmarks.

`with RIE(["./bootstrap"], env={"_HANDLER": "hello.handler"}) as rie: rie.invoke({})` is one Lambda environment.
`python -m samovar.local.rie` fetches the emulator, so that everything after it works offline.

It knows nothing of Samovar's runtime: awslambdaric or a Go program runs under it as well. How the RIE behaves (INIT
at the first invocation, what it prints) was read off version 1.170.0 of the aws-sam-cli wheel that carries it.
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
_START_LIMIT = 30.0  # seconds; far beyond what the RIE needs to listen
_STOP_LIMIT = 3  # seconds; Lambda's SHUTDOWN phase is at most 2
_KILL_LIMIT = 30.0  # seconds; far beyond what the kernel needs to end a process


class RIEError(Exception):
    """The emulator could not be had, started or reached; the message says what to do."""


# --- obtaining the binary


def find() -> str:
    """The path of the emulator: `SAMOVAR_RIE`, `aws-lambda-rie` on PATH, else the pinned wheel's, fetched once.

    Raises RIEError where there is none for this platform, or it cannot be fetched.
    """
    if named := os.environ.get("SAMOVAR_RIE"):
        if not os.access(named, os.X_OK) or os.path.isdir(named):
            raise RIEError(f"SAMOVAR_RIE is {named!r}, which is not an executable file: name the aws-lambda-rie binary")
        return os.path.abspath(named)
    return shutil.which("aws-lambda-rie") or _cached()


def _cached() -> str:
    architecture = _ARCHITECTURE.get(platform.machine().lower())
    if sys.platform != "linux" or architecture is None:
        raise RIEError(
            f"there is no Runtime Interface Emulator for {platform.system()} {platform.machine()}: "
            "it is built for Linux on x86_64 and arm64; run this in a Linux container"
        )
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    binary = Path(cache, "samovar", f"{PACKAGE.replace('==', '-')}-{architecture}", "aws-lambda-rie")
    if binary.exists():
        return str(binary)
    binary.parent.mkdir(parents=True, exist_ok=True)
    print(f"samovar: fetching the Runtime Interface Emulator (from {PACKAGE}, 8 MB) to {binary}", file=sys.stderr)
    # In the same folder, so that the rename below is atomic and two processes may fetch at once.
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
            f"pip could not download {PACKAGE}, which carries the Runtime Interface Emulator:\n{_tail(done.stderr)}\n"
            "Put aws-lambda-rie on PATH, or name it in SAMOVAR_RIE."
        )
    if (found := hashlib.sha256(wheels[0].read_bytes()).hexdigest()) != PACKAGE_SHA256:
        raise RIEError(f"{PACKAGE} has the SHA-256 {found} in place of {PACKAGE_SHA256}: it is not used")
    return wheels[0]


# --- what comes back


@dataclass(frozen=True)
class Invocation:
    """What the caller of the function got: an HTTP status (200 also for a function that failed) and a body."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(repr=False)

    def json(self) -> Any:
        """The body as JSON. Raises RIEError with the start of the body where it is none, as after a time-out."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise RIEError(f"the answer (status {self.status}) is not JSON: {self.body[:200]!r}") from None


@dataclass(frozen=True)
class Init:
    """One INIT: `duration_ms` is None while it runs, `phase` is `init`, or `invoke` for one after a failure."""

    duration_ms: float | None
    ok: bool
    phase: str


@dataclass(frozen=True)
class Report:
    """One REPORT line. The RIE counts INIT into the `duration_ms` and `billed_ms` of the invocation that waited for it.

    `init_ms` is that INIT's own duration (None when there was none), `runtime_ms` the time from /next to the response
    (None where the runtime did not answer). `memory_mb` is the configured memory: for what is used see RIE.rss().
    """

    request_id: str
    duration_ms: float
    billed_ms: int
    init_ms: float | None
    runtime_ms: float | None
    memory_mb: int


@dataclass(frozen=True)
class Log:
    """`lines` are what the runtime and the function wrote to stdout and stderr, in order."""

    inits: list[Init]
    reports: list[Report]
    lines: list[str]


_PLATFORM = re.compile(  # at a line's end only: a function's output without a newline may stand before it
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
    """The emulator's two outputs as a Log: the function's and START, END, REPORT on stdout; its own on stderr."""
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
            if begun and status:  # else the START and REPORT that the RIE prints after a failed INIT, running nothing
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
        del lines[-1]  # what follows the last newline
    return Log(inits, reports, lines)


# --- one environment


class RIE:
    """One environment: `command` under the emulator on two free ports, from `__enter__` to `__exit__`.

    `env` is added to this process's, `cwd` is where the command starts, `timeout` the function's in seconds (the RIE's
    own default is 300) and `memory` its configured size in MB, which the RIE reports but does not enforce.
    The runtime is started by the first invocation. Leaving the block ends every process that was started in the
    environment, daemons too: the emulator with SIGTERM (the runtime's SHUTDOWN), whatever is left then with SIGKILL.
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
            raise RIEError(f"the command is a list of a program and its arguments, not {command!r}")
        self.command = list(command)
        self.cwd = cwd
        self._env = {**os.environ, **(env or {})}
        if timeout is not None:
            self._env["AWS_LAMBDA_FUNCTION_TIMEOUT"] = str(timeout)
        if memory is not None:
            self._env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] = str(memory)
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None  # the reaper; it ends as the emulator below it does
        self._emulator = 0  # process id
        # Files in place of pipes: nothing has to read along, and what was written before an answer is there with it.
        self._files: tuple[IO[bytes], IO[bytes]] | None = None
        self._written = ("", "")
        limit = int(self._env.get("AWS_LAMBDA_FUNCTION_TIMEOUT") or 300)
        self._busy = threading.Lock()
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=limit + 60), retries=False)

    def __enter__(self) -> Self:
        binary = find()
        program = self.command[0]
        where = os.path.join(self.cwd or "", program) if os.sep in program else program
        if not shutil.which(where, path=self._env.get("PATH")):
            raise RIEError(f"there is no executable {where!r} to run under the emulator")
        self._files = tempfile.TemporaryFile("a+b"), tempfile.TemporaryFile("a+b")
        try:
            for _ in range(10):  # a free port may be taken by somebody else before the emulator binds it
                if self._start(binary, *self._files):
                    return self
            raise self._died("found no free port in ten attempts")
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, binary: str, stdout: IO[bytes], stderr: IO[bytes]) -> bool:
        """True when the emulator listens, False when a port was taken."""
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
                raise self._died("ended at its start")
            if time.monotonic() > deadline:
                raise self._died(f"did not listen within {_START_LIMIT:.0f} s")
            time.sleep(0.005)
        return True

    def _died(self, what: str) -> RIEError:
        status = self._process.poll() if self._process else None
        ended = "" if status is None else f" (exit status {status})"
        return RIEError(f"the Runtime Interface Emulator {what}{ended}; its last output:\n{_tail(self.output())}")

    def invoke(self, event: Any, *, client_context: Any = None) -> Invocation:
        """Sends one event, any JSON value or bytes as they are, and waits for the answer.

        A function that fails and a runtime that exits (status 502) do not raise. RIEError is raised where the emulator
        itself is gone, and for a second invocation at the same time: an environment takes one event at a time, Lambda
        would start another one, and this emulator (1.170.0) panics at its second.
        """
        headers = {"Content-Type": "application/json"}
        if client_context is not None:
            headers["X-Amz-Client-Context"] = base64.b64encode(json.dumps(client_context).encode()).decode()
        body = bytes(event) if isinstance(event, bytes | bytearray | memoryview) else json.dumps(event).encode()
        if self._process is None or self._process.poll() is not None:
            raise self._died("is not running")
        if not self._busy.acquire(blocking=False):
            raise RIEError("an environment takes one event at a time: start a second RIE for a second event")
        try:
            answer = self._http.request("POST", self.url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise self._died(f"did not answer ({error})") from error
        finally:
            self._busy.release()
        return Invocation(answer.status, answer.data, dict(answer.headers))

    def log(self) -> Log:
        """What was written so far, parsed. An invocation's lines are there when its answer is."""
        return parse(*self._outputs())

    def output(self) -> str:
        """What was written so far, as it is: stdout, then the emulator's own stderr."""
        return "".join(self._outputs())

    def _outputs(self) -> tuple[str, str]:
        return (_read(self._files[0]), _read(self._files[1])) if self._files else self._written

    @property
    def pid(self) -> int | None:
        """The runtime's process id; None before the first invocation and after the runtime has ended."""
        if self._process is None or self._process.poll() is not None:
            return None
        pids = [pid for pid, parent in _parents().items() if parent == self._emulator and _running(pid)]
        # External extensions are children of the emulator too, named by their path.
        return next((pid for pid in pids if "/opt/extensions/" not in _proc(pid, "cmdline").split("\0")[0]), None)

    @property
    def pids(self) -> list[int]:
        """The runtime's process id and its descendants' (companions, say); empty before the first invocation."""
        return [pid, *_descendants(pid)] if (pid := self.pid) else []

    def rss(self, pid: int | None = None) -> int:
        """Bytes of resident memory of the runtime (or of process `pid`), from /proc. RIEError when it does not run."""
        pid = pid or self.pid
        if pid is None or not (found := re.search(r"^VmRSS:\s+(\d+) kB", _proc(pid, "status"), re.MULTILINE)):
            raise RIEError("the runtime is not running: its memory can be read after the first invocation")
        return int(found[1]) * 1024

    def stop(self) -> None:
        """Ends every process of the environment and waits until they are gone. What was logged stays readable."""
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
    """A file of /proc/PID; empty where the process is gone or somebody else's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def _parents() -> dict[int, int]:
    """The parent of every process."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and (stat := _proc(int(name), "stat")):
            parents[int(name)] = int(stat.rpartition(")")[2].split()[1])  # the command before it may hold anything
    return parents


def _descendants(pid: int) -> list[int]:
    """The running processes below a process."""
    parents, found = _parents(), [pid]
    for known in found:  # grows while it is read
        found += [pid for pid, parent in parents.items() if parent == known and _running(pid)]
    return found[1:]


def _running(pid: int) -> bool:
    """False for a process that is gone or ended and waits only to be reaped."""
    state = _proc(pid, "stat").rpartition(")")[2].split()[:1]
    return bool(state) and state[0] not in "ZX"


def _listening(pid: int) -> set[int]:
    """The TCP ports (IPv4) on which the process listens: nobody else's answer can be taken for it."""
    sockets = set()
    try:
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            sockets.add(os.readlink(descriptor.path))
    except OSError:
        pass  # ended, or closed a descriptor meanwhile: the next look tells
    rows = [row.split() for row in _proc(pid, "net/tcp").splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]  # all held before one is let go
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
