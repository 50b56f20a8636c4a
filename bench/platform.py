"""The benchmark's side of the wire: a Runtime API that costs as little as is possible in Python.

One thread, one connection, one buffer. The process under test is on one core, this on another. Times are
`time.perf_counter_ns()`, the same clock in every process here. Knows nothing of rows and columns.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.launcher import Launcher, RuntimeDied

_BUFFER = 8 << 20  # bytes: the largest response with its head
_TIMEOUT = 60  # seconds without a byte from a runtime
REQUEST_ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
# The heads that the RIE sends, header for header.
_EVENT = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    "Lambda-Runtime-Aws-Request-Id: {id}\r\n"
    "Lambda-Runtime-Deadline-Ms: {deadline}\r\n"
    "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-west-1:123456789012:function:bench\r\n"
    "Lambda-Runtime-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1\r\n"
    "Date: Sun, 22 Nov 2026 05:00:00 GMT\r\nContent-Length: {length}\r\n\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nDate: Sun, 22 Nov 2026 05:00:00 GMT\r\n"
    b'Content-Length: 16\r\n\r\n{"status":"OK"}\n'
)


def event(body: bytes) -> bytes:
    """Return the HTTP response to /next with this event: head and body."""
    deadline = time.time_ns() // 1_000_000 + 900_000
    return _EVENT.format(id=REQUEST_ID, deadline=deadline, length=len(body)).encode() + body


@dataclass(slots=True)
class Memory:
    """Bytes, from /proc/PID/status."""

    resident: int
    peak: int


class Runtime:
    """One runtime process and the Runtime API in front of it."""

    def __init__(self, launcher: Launcher, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._launcher = launcher
        self._listener = socket.create_server(("127.0.0.1", 0))
        limit(self._listener)
        host, port = self._listener.getsockname()
        self._output, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(write, True)
        self._said = b""
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._sock: socket.socket | None = None
        self.pid, self.started = launcher.start(
            command, {**environment, "AWS_LAMBDA_RUNTIME_API": f"{host}:{port}"}, write
        )
        os.close(write)
        self._ended = False
        self._response = b""

    def first_next(self) -> int:
        """Wait for the first GET /next; return the time of its first bytes in ns."""
        try:
            # A runtime that dies before it connects closes its output: no need to wait for the time-out.
            poll = select.poll()
            poll.register(self._listener, select.POLLIN)
            poll.register(self._output, select.POLLIN)
            while not any(fd == self._listener.fileno() for fd, _ in poll.poll(_TIMEOUT * 1000)):
                if self.drain() is None:
                    raise ConnectionError("it closed its output")
            self._sock, _ = self._listener.accept()
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            limit(self._sock)
            got = self._sock.recv_into(self._buffer)
            at = time.perf_counter_ns()
            self._asks_next(got)
        except OSError as exc:
            raise self._died(exc) from None
        return at

    def invoke(self, wire: bytes, keep: bool = False) -> int:
        """Send an event made by `event`; return the ns from before it is sent until the response is complete.

        On return, the runtime has asked for the next event. keep: keep the body for `response`.
        """
        sock, buffer = self._sock, self._buffer
        assert sock is not None
        try:
            start = time.perf_counter_ns()
            sock.sendall(wire)
            got = sock.recv_into(buffer)
            end = buffer.find(b"\r\n\r\n", 0, got)
            if end < 0 or not buffer.startswith(b"POST "):
                end, got = self._slowly(got)
            head = bytes(self._view[:end]).lower()
            at = head.find(b"content-length:") + 15
            if at < 15:
                raise ConnectionError(f"no Content-Length in {head!r}")
            line = head.find(b"\r", at)
            stop = end + 4 + int(head[at : line if line > 0 else end])
            if got < stop and b"expect: 100-continue" in head:
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            while got < stop:
                more = sock.recv_into(self._view[got:], 0)
                if not more:
                    raise ConnectionError("the connection was closed within the response")
                got += more
            taken = time.perf_counter_ns() - start
            if b"/response " not in head[:120]:
                raise ConnectionError(f"not a response: {bytes(self._view[:got])!r}")
            if keep:
                self._response = bytes(self._view[end + 4 : stop])
            sock.sendall(ACCEPTED)
            self._asks_next(sock.recv_into(buffer))
        except OSError as exc:
            raise self._died(exc) from None
        return taken

    def response(self) -> bytes:
        """Return the body of the last response that was kept."""
        return self._response

    def processor_time(self) -> int:
        """Return the ns of processor time of the whole process so far, including its ended threads."""
        return time.clock_gettime_ns((~self.pid << 3) | 2)  # CPUCLOCK_SCHED of a process: clock_getcpuclockid(3)

    def memory(self) -> Memory:
        """Return the resident set now and at its peak."""
        fields = dict(
            line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if ":" in line
        )
        return Memory(*(int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")))

    def drain(self) -> bytes | None:
        """Return the output to stdout and stderr since the last call; None at its end."""
        try:
            data = os.read(self._output, 1 << 20)
        except BlockingIOError:
            return b""
        self._said = (self._said + data)[-4000:]
        return data or None

    def close(self) -> None:
        """End the process as Lambda does, with SIGKILL."""
        if self._ended:
            return
        self._ended = True
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._launcher.wait(self.pid)
        if self._sock is not None:
            self._sock.close()
        self._listener.close()
        os.close(self._output)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _asks_next(self, got: int) -> None:
        assert self._sock is not None
        while self._buffer.find(b"\r\n\r\n", 0, got) < 0:
            more = self._sock.recv_into(self._view[got:]) if got else 0
            if not more:
                raise ConnectionError("the connection was closed")
            got += more
        if not self._buffer.startswith(b"GET /2018-06-01/runtime/invocation/next "):
            raise ConnectionError(f"not GET /next: {bytes(self._buffer[: min(got, 2000)])!r}")

    def _slowly(self, got: int) -> tuple[int, int]:
        """Receive the rest of a head that came in pieces."""
        assert self._sock is not None
        while (end := self._buffer.find(b"\r\n\r\n", 0, got)) < 0:
            more = self._sock.recv_into(self._view[got:]) if got else 0
            if not more:
                raise ConnectionError("the connection was closed without a response")
            got += more
        if not self._buffer.startswith(b"POST "):
            raise ConnectionError(f"not a response: {bytes(self._buffer[: min(got, 2000)])!r}")
        return end, got

    def _died(self, why: object) -> RuntimeDied:
        while self.drain():
            pass
        said = self._said.decode(errors="replace")
        return RuntimeDied(f"process {self.pid}: {why}\n{said}")


class Registering(Runtime):
    """A runtime that may register as an extension first, as one does to learn of the shutdown."""

    _extension: socket.socket | None = None
    _at = 0

    def first_next(self) -> int:
        at = super().first_next()
        return self._at or at

    def _asks_next(self, got: int) -> None:
        if self._extension is None and self._buffer.startswith(b"POST /2020-01-01/extension/register "):
            assert self._sock is not None
            self._sock.sendall(
                b"HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: 3f6b9f3c\r\nContent-Length: 2\r\n\r\n{}"
            )
            self._extension = self._sock  # there it waits for its next event until the environment ends
            self._sock, _ = self._listener.accept()
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            got = self._sock.recv_into(self._buffer)
            self._at = time.perf_counter_ns()
        super()._asks_next(got)

    def close(self) -> None:
        super().close()
        if self._extension is not None:
            self._extension.close()


def floor(launcher: Launcher, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, int]:
    """Run a process that is not a runtime; return the ns from its start to its end, and of processor time."""
    output = os.open(os.devnull, os.O_WRONLY)
    try:
        pid, at = launcher.start(command, environment, output)
    finally:
        os.close(output)
    ended = launcher.wait(pid)
    if ended.status:
        raise RuntimeDied(f"{command} ended with {os.waitstatus_to_exitcode(ended.status)}")
    return ended.at - at, ended.processor_time


def limit(sock: socket.socket) -> None:
    # In the kernel, not settimeout: that would cost a poll() before every receive.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _TIMEOUT, 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _TIMEOUT, 0))
