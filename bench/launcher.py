"""A small process that starts others on one core, in one control group, without the benchmark's memory.

Knows nothing about the programs it starts.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class RuntimeDied(Exception):
    """The process under test ended, or sent something that a runtime does not send."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a process: its time in ns, the wait status, and the processor time used, in ns."""

    at: int
    status: int
    processor_time: int


class Launcher:
    """The benchmark's end of a launcher. The processes it starts are on its core and in its group from the beginning.

    folder: the working directory of all of them. over: the connection to a launcher that is running already.
    """

    def __init__(
        self, folder: Path, core: int | None = None, group: Path | None = None, over: socket.socket | None = None
    ) -> None:
        self._pid = 0
        if over is not None:
            self._sock = over
            return
        self._sock, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                self._sock.close()
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                if group is not None:
                    (group / "cgroup.procs").write_text(str(os.getpid()))
                _launch(theirs, folder, core)
                status = 0
            finally:
                os._exit(status)
        theirs.close()

    def start(self, command: Sequence[str], environment: Mapping[str, str], output: int) -> tuple[int, int]:
        """Start a process whose stdout and stderr are `output`; return its pid and its start time in ns."""
        answer = self._ask({"start": list(command), "environment": dict(environment)}, [output])
        return answer["pid"], answer["at"]

    def wait(self, pid: int) -> Ended:
        """Wait for a process to end."""
        return Ended(**self._ask({"wait": pid}, []))

    def close(self) -> None:
        self._sock.close()
        if self._pid:
            os.waitpid(self._pid, 0)

    def _ask(self, question: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        socket.send_fds(self._sock, [json.dumps(question).encode()], descriptors)
        answer: dict[str, Any] = json.loads(self._sock.recv(65536))
        if "error" in answer:
            raise RuntimeDied(answer["error"])
        return answer


def _launch(sock: socket.socket, folder: Path, core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDONLY)
    while True:
        data, descriptors, _, _ = socket.recv_fds(sock, 65536, 1)
        if not data:
            return
        question = json.loads(data)
        try:
            if "start" in question:
                actions = [
                    (os.POSIX_SPAWN_DUP2, fd, to) for fd, to in ((nothing, 0), (descriptors[0], 1), (descriptors[0], 2))
                ]
                command = question["start"]
                at = time.perf_counter_ns()
                pid = os.posix_spawn(command[0], command, question["environment"], file_actions=actions)
                answer: dict[str, Any] = {"pid": pid, "at": at}
                os.close(descriptors[0])
            else:
                _, status, usage = os.wait4(question["wait"], 0)
                at = time.perf_counter_ns()
                answer = {"status": status, "at": at, "processor_time": round((usage.ru_utime + usage.ru_stime) * 1e9)}
        except OSError as exc:
            answer = {"error": f"{question}: {exc}"}
        sock.sendall(json.dumps(answer).encode())


if __name__ == "__main__":  # a launcher in a container: python -m bench.launcher SOCKET FOLDER [CORE]
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    _launch(connection, Path(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else None)
