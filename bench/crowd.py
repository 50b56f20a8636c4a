"""The benchmark's side of the wire for a runtime with many connections, and the memory of all its processes.

One thread and a selector. Knows nothing of rows and columns.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.launcher import Launcher, RuntimeDied
from bench.platform import ACCEPTED, event

_NEXT = b"GET /2018-06-01/runtime/invocation/next "
_TIMEOUT = 120  # seconds without what is waited for


class _Connection:
    """One connection of the runtime, and the bytes of a request that is not complete."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""


class Crowd:
    """A runtime that has many invocations in flight, and the Runtime API in front of it."""

    def __init__(self, launcher: Launcher, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._launcher = launcher
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        host, port = self._listener.getsockname()
        self._output, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(write, True)
        self._selector.register(self._output, selectors.EVENT_READ)
        self._said = b""
        self._waiting: list[_Connection] = []  # in /next
        self._event: bytes | None = None  # given to each that asks
        self._answers = 0
        self._responses: list[bytes] = []
        self.pid, self.started = launcher.start(
            command, {**environment, "AWS_LAMBDA_RUNTIME_API": f"{host}:{port}"}, write
        )
        os.close(write)

    def all_polling(self, count: int) -> int:
        """Wait until `count` connections wait in /next; return the time at which they do, in ns."""
        self._run(lambda: len(self._waiting) >= count)
        return time.perf_counter_ns()

    def rate(self, body: bytes, warm: float, seconds: float) -> float:
        """Give an event to whoever asks, and return the responses a second after `warm` seconds, over `seconds`."""
        self._event = event(body)
        for connection in self._waiting:
            connection.sock.sendall(self._event)
        count = len(self._waiting)
        self._waiting.clear()
        self._run_for(warm)
        before, start = self._answers, time.perf_counter()
        self._run_for(seconds)
        rate = (self._answers - before) / (time.perf_counter() - start)
        self._event = None
        self.all_polling(count)
        return rate

    def once(self, body: bytes) -> list[bytes]:
        """Give each that waits one event, and return the responses."""
        count = len(self._waiting)
        self._responses.clear()
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.sock.sendall(event(body))
        self.all_polling(count)
        return self._responses

    def memory(self) -> float:
        """Return the proportional set size of all its processes, in MB."""
        kilobytes = 0
        for pid in self._processes():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kilobytes += int(line.split()[1])
        return kilobytes / 1024

    def close(self) -> None:
        """End all its processes as Lambda does, with SIGKILL."""
        for pid in self._processes():  # the first one first, which would replace the others
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._launcher.wait(self.pid)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Connection):
                key.data.sock.close()
        self._selector.close()
        self._listener.close()
        os.close(self._output)

    def _processes(self) -> list[int]:
        """Return the runtime's process and all below it."""
        children: dict[int, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
        found = [self.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def _run_for(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        self._run(lambda: time.perf_counter() >= end)

    def _run(self, done: object) -> None:
        assert callable(done)
        end = time.monotonic() + _TIMEOUT
        while not done():
            for key, _ in self._selector.select(0.05):
                if key.fileobj is self._listener:
                    sock, _ = self._listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._selector.register(sock, selectors.EVENT_READ, _Connection(sock))
                elif key.data is None:
                    self._drain()
                else:
                    self._received(key.data)
            if time.monotonic() > end:
                raise RuntimeDied(
                    f"process {self.pid}: nothing within {_TIMEOUT} s; {len(self._waiting)} connections in /next\n"
                    + self._said.decode(errors="replace")
                )

    def _drain(self) -> None:
        data = os.read(self._output, 1 << 20)
        if not data:
            raise RuntimeDied(f"process {self.pid} has ended\n{self._said.decode(errors='replace')}")
        self._said = (self._said + data)[-4000:]

    def _received(self, connection: _Connection) -> None:
        data = connection.sock.recv(1 << 20)
        if not data:
            self._selector.unregister(connection.sock)
            connection.sock.close()
            return
        connection.received += data
        while (end := connection.received.find(b"\r\n\r\n")) >= 0:
            head = connection.received[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].partition(b"\r")[0]) if at >= 0 else 0
            if len(connection.received) < end + 4 + length:
                return
            body = connection.received[end + 4 : end + 4 + length]
            connection.received = connection.received[end + 4 + length :]
            self._answer(connection, head, body)

    def _answer(self, connection: _Connection, head: bytes, body: bytes) -> None:
        if head.startswith(_NEXT):
            if self._event is None:
                self._waiting.append(connection)
            else:
                connection.sock.sendall(self._event)
            return
        if b"/response " not in head[:120]:
            raise RuntimeDied(f"not a response: {head!r} {body[:2000]!r}")
        self._answers += 1
        if self._event is None:
            self._responses.append(body)
        connection.sock.sendall(ACCEPTED)
