"""A runtime for many invocations at once whose log is read by the test: from pipes, or from the platform's socket."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import termios
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samovar.local.testing.scripted_api import NEXT, Answer, ScriptedRuntimeApi, invocation
from tests.contract.harness import OURS, command, environment

LIMIT = 60.0  # s for anything to happen


class Reader:
    """Reads a descriptor to its end in a thread. slow: a little at a time. held: not before `go`."""

    def __init__(self, fd: int, *, slow: bool = False, held: bool = False) -> None:
        self._fd = fd
        self._slow = slow
        self.data = b""
        self.go = threading.Event()
        if not held:
            self.go.set()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        self.go.wait()
        while data := os.read(self._fd, 4096 if self._slow else 1 << 20):
            self.data += data
            if self._slow:
                time.sleep(0.0002)
        os.close(self._fd)

    def available(self) -> int:
        """Return how many bytes wait to be read."""
        return int.from_bytes(fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)), sys.byteorder)

    @property
    def lines(self) -> list[str]:
        """The lines so far that have ended."""
        return self.data.decode().split("\n")[:-1]

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + LIMIT
        while text not in self.data.decode(errors="replace"):
            assert time.monotonic() < end, f"{text!r} is not in {self.data!r}"
            time.sleep(0.005)


class Provider:
    """The platform's end of `_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET`."""

    def __init__(self, path: Path, *, slow: bool = False) -> None:
        self.path = str(path)
        self._slow = slow
        self.readers: list[Reader] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(256)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            connection, name = self._listener.accept()
            if name:  # that of close()
                return
            self.readers.append(Reader(connection.detach(), slow=self._slow))

    def close(self) -> None:
        """Accept what has connected until now, and nothing more."""
        with socket.socket(socket.AF_UNIX) as last:
            last.bind(f"{self.path}.last")
            last.connect(self.path)
            self._thread.join()
        self._listener.close()


class Runtime:
    """A runtime that has been started. out, err: the readers of stdout and stderr; the same for `one_pipe`."""

    def __init__(self, api: ScriptedRuntimeApi, process: subprocess.Popen[bytes], out: Reader, err: Reader) -> None:
        self.api = api
        self.process = process
        self.out = out
        self.err = err

    def answers(self, count: int) -> dict[str, Any]:
        """Wait for so many responses and errors, and return them by request id."""
        self.wait_until(lambda: len(self.api.posted()) >= count or self.process.poll() is not None)
        assert len(self.api.posted()) == count, self.out.data + self.err.data
        return {request.path.split("/")[-2]: json.loads(request.body) for request in self.api.posted()}

    def wait_until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT
        while not done():
            assert time.monotonic() < end, self.out.data + self.err.data
            time.sleep(0.005)

    def wait_for_polls(self, count: int) -> None:
        self.api.wait(lambda requests: sum(request.call == NEXT for request in requests) >= count, LIMIT)

    def end(self) -> int:
        """End the runtime by SIGTERM, read the rest of its log, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(LIMIT)
        for reader in self.out, self.err:
            reader.go.set()
            reader.thread.join(LIMIT)
            assert not reader.thread.is_alive()
        return code


@contextmanager
def logged(
    root: Path,
    source: str,
    *events: Answer,
    mode: str = "thread",
    count: int = 4,
    runtime: str = OURS,
    env: Mapping[str, str] | None = None,
    slow: bool = False,
    held: bool = False,
    one_pipe: bool = False,
    blocking: bool = True,
    pass_fds: tuple[int, ...] = (),
) -> Iterator[Runtime]:
    """Start a runtime with this function. held: stdout is read only after `out.go`."""
    (root / "app.py").write_text(textwrap.dedent(source), encoding="utf-8")
    variables = {"AWS_LAMBDA_MAX_CONCURRENCY": str(count), "AWS_LAMBDA_CONCURRENCY_MODE": mode, **(env or {})}
    pipes = [os.pipe()] if one_pipe else [os.pipe(), os.pipe()]
    with ScriptedRuntimeApi(*events) as api:
        for _, write in pipes:
            os.set_blocking(write, blocking)
        process = subprocess.Popen(
            command(runtime, "app.handler"),
            stdin=subprocess.DEVNULL,
            stdout=pipes[0][1],
            stderr=pipes[-1][1],
            env=environment(runtime, "app.handler", str(root), api.address, variables),
            cwd=root,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        for _, write in pipes:
            os.close(write)
        readers = [Reader(read, slow=slow, held=held and not number) for number, (read, _) in enumerate(pipes)]
        try:
            yield Runtime(api, process, readers[0], readers[-1])
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            for reader in readers:
                reader.go.set()
                reader.thread.join()


def events(count: int, body: object = None) -> list[Answer]:
    """Events with the request ids id-0, id-1, …"""
    return [invocation(body or {}, f"id-{number}") for number in range(count)]
