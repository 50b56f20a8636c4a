"""What many write at the same time: each line and each record reaches the log whole, and none is mixed with another.

Standard output and error keep the line that a thread has begun in an invocation until its end, and write it at once.
Text without a line end gets one at the end of the invocation or the thread, or at exit; flush() does not write it, and
a process that crashes loses it. Records are JSON. What goes to the descriptors past sys.stdout and sys.stderr is as it
was: C libraries, faulthandler, processes that the function starts.

Knows the log, the streams and the environment.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import sys
import time
from _socket import AF_UNIX, SO_SNDTIMEO, SOCK_STREAM, SOL_SOCKET, socket
from _thread import RLock, _local, get_ident
from collections import deque
from contextlib import suppress
from functools import partial
from struct import pack

from samovar import codec, logs
from samovar.environment import Environment, environment
from samovar.streams import UnbufferedFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Key = tuple[int, int, str]  # of a line: thread, descriptor, request id

_PROVIDER = "_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET"
_PATIENCE = 5  # s until the provider takes a connection
_LONGEST_WAIT = 1.0  # s for what another thread writes; after that it gets this line to write as well

_files: dict[int, LineFile] = {}  # by descriptor
_locks: list[int] = []  # files in memory, made before the fork: for stdout and stderr of all processes
_unfinished: dict[Key, list[bytes]] = {}
_due: set[Key] = set()  # lines of invocations that have ended, for their threads to finish
_of_thread = _local()
_pid = os.getpid()
_main = get_ident()  # the main thread: also in a child, which only it forks to serve


def announce(workers: int, count: int) -> None:
    """Write the record of the worker pool, once, before anything is forked. `_LAMBDA_TELEMETRY_LOG_FD` serves for that
    alone, and is closed; what serves writes no frames. All as the official client does it.

    workers: how many serve: processes in the modes process and hybrid, pollers in thread mode. count: how many
    invocations may be in flight.
    """
    sink = logs.sink()
    logs.share(sink if isinstance(sink, logs.FramedSink) else LineSink())
    if workers > 1:
        with suppress(OSError):  # then a line longer than a pipe takes at once may be mixed with another process's
            _locks[:] = [os.memfd_create(f"samovar {name}") for name in ("stdout", "stderr")]
    _keep_lines_whole(shared=workers > 1)
    if logs.level_name() == "DEBUG":
        event = {
            "event": "runtime_worker_pool_initializing",
            "workerCount": workers,
            "executionEnvironmentMaxConcurrency": count,
        }
        record = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "level": "DEBUG",
            "message": event,
            "logger": "root",
            "requestId": "",
        }
        logs.write(logs.sink(), codec.dumps_spaced(record, str) + "\n", logs.JSON_FRAMES[10])
    if isinstance(sink, logs.FramedSink):
        logs.share(LineSink())
        with suppress(OSError):  # no such descriptor: the record has gone to stdout
            os.close(sink.fd)


def set_up(processes: int) -> None:
    """Connect this process to what takes its log, and keep its lines whole. Called before INIT in each that serves.

    processes: how many serve. Those without connections of their own share the runtime's stdout and stderr.
    """
    connected = _connect(os.environ.get(_PROVIDER, ""))
    logs.share(LineSink())
    _keep_lines_whole(shared=processes > 1 and not connected)
    while _locks:
        os.close(_locks.pop())
    if type(environment) is Environment:
        environment.__class__ = _OneAtATime
    environment.at_init_end.append(_end_init)
    atexit.register(flush)


def _connect(path: str) -> bool:
    """Connect stdout and stderr to the platform's socket, where there is one; return whether they are."""
    if not path:
        return False
    provided = []
    try:
        for _ in range(2):
            provided.append(connection := socket(AF_UNIX, SOCK_STREAM))
            connection.setsockopt(SOL_SOCKET, SO_SNDTIMEO, pack("ll", _PATIENCE, 0))
            connection.connect(path)
            connection.setsockopt(SOL_SOCKET, SO_SNDTIMEO, pack("ll", 0, 0))
        for fd, connection in enumerate(provided, 1):
            os.dup2(connection.fileno(), fd)
        return True
    except OSError as exc:
        line = f"samovar: {_PROVIDER}={path}: {exc}; the log goes to stdout and stderr\n"
        with suppress(OSError):  # stderr is closed
            os.write(2, line.encode(errors="backslashreplace"))
        return False
    finally:
        for connection in provided:
            connection.close()


def _keep_lines_whole(*, shared: bool) -> None:
    """Have sys.stdout and sys.stderr write whole lines. shared: other processes write to the same."""
    for file in _files.values():
        file.destination.forget()
    destinations: dict[tuple[int, int], Destination] = {}
    for number, stream in enumerate((sys.__stdout__, sys.__stderr__)):
        raw = getattr(stream, "buffer", None)
        if isinstance(raw, UnbufferedFile):
            status = os.fstat(raw.fileno())
            where = status.st_dev, status.st_ino
            if where not in destinations:
                destinations[where] = Destination(_open_lock(number) if shared else None)
            lines: Any = raw
            lines.__class__ = LineFile
            lines.destination = destinations[where]
            _files[lines.fileno()] = lines


def _open_lock(number: int) -> int | None:
    """Open the file of a lock once more: a lock of flock() belongs to an open file, which processes share after a
    fork. None where that is not possible.
    """
    with suppress(IndexError, OSError):
        return os.open(f"/proc/self/fd/{_locks[number]}", os.O_RDWR)
    return None


def _forked() -> None:
    """Write as any other process, in a child: another thread of the parent may have held a lock."""
    global _pid
    _pid = os.getpid()
    for file in _files.values():
        file.destination.forget()
        file.__class__ = UnbufferedFile  # type: ignore[assignment]
    for kept in _files, _unfinished, _due:
        kept.clear()


os.register_at_fork(after_in_child=_forked)


class Destination:
    """A pipe, socket or file, which takes one write after the other: from the threads of this process, and from those
    processes that have a file `lock` for it.
    """

    def __init__(self, lock: int | None) -> None:
        self._lock = lock
        self._mutex = RLock()
        self._late: deque[tuple[int, bytes]] = deque()  # for the thread that writes, when it is done
        self._writing = False
        self._cut = False

    def put(self, fd: int, data: bytes) -> None:
        """Write whole lines."""
        held = self._mutex.acquire(timeout=_LONGEST_WAIT)
        if self._writing or not held:
            # A signal handler or finalizer writes in the midst of a write. Or such a one waits there for a lock that
            # this thread has: that of a handler of `logging`.
            self._late.append((fd, data))
            if held:
                self._mutex.release()
            return
        try:
            self._writing = True
            self._flock(fcntl.LOCK_EX)
            try:
                self._write(fd, data)
                while self._late:
                    self._write(*self._late.popleft())
            finally:
                self._flock(fcntl.LOCK_UN)
        finally:
            self._writing = False
            self._mutex.release()

    def _flock(self, operation: int) -> None:
        if self._lock is not None:
            try:
                fcntl.flock(self._lock, operation)
            except OSError:  # the function has closed it
                self._lock = None

    def _write(self, fd: int, data: bytes) -> None:
        if self._cut:  # by an exception out of a signal handler
            data = b"\n" + data
        self._cut = True
        logs.write_whole(fd, data)
        self._cut = False

    def forget(self) -> None:
        """Close the file of the lock: where the parent dies with the lock, nobody has to wait for this process too."""
        if self._lock is not None:
            with suppress(OSError):
                os.close(self._lock)
            self._lock = None


class LineFile(UnbufferedFile):
    """A descriptor to which each line is written at once, when it has ended. An UnbufferedFile becomes one."""

    destination: Destination

    def write(self, data: Any, /) -> int:
        fd = self.fileno()
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        end = data.rfind(b"\n") + 1
        if end == len(data) and not _unfinished:
            self.destination.put(fd, data)
            return len(data)
        key = get_ident(), fd, environment.log_ids[0]
        begun = _unfinished.pop(key, None)
        if _due:
            _finish_due(key)
        if end:
            line = data[:end] if begun is None else b"".join((*begun, data[:end]))
            self.destination.put(fd, line)
            begun = None
        if rest := data[end:]:
            if begun is None:
                begun = []
                _watch_thread()
            begun.append(rest)
        if begun:
            _unfinished[key] = begun
        return len(data)


class LineSink(logs.StandardSink):
    """A sink whose records are lines of their own, also where their thread has begun a line."""

    def log(self, msg: str, frame_type: bytes | None = None) -> None:
        msg = msg if msg.endswith("\n") else msg + "\n"
        file = getattr(sys.stdout, "buffer", None)
        if sys.stdout is sys.__stdout__ and isinstance(file, LineFile):
            file.destination.put(file.fileno(), msg.encode("utf-8", "backslashreplace"))
        else:
            super().log(msg)


class _OneAtATime(Environment):
    """An environment that ends what an invocation has left of a line."""

    __slots__ = ()  # as Environment has it, so that an object can become one

    def end(self) -> None:
        end_lines()
        super().end()


def end_lines(call: Callable[[Callable[[], object]], None] | None = None) -> None:
    """End the lines that the invocation in flight has begun. A line of a thread that goes on ends when that thread
    writes another, as it may be in the midst of it.

    call: has the main thread call a function, where that runs the tasks of all invocations.
    """
    if not _unfinished:
        return
    thread, request_id = get_ident(), environment.log_ids[0]
    for key in list(_unfinished):
        if key[2] != request_id:
            continue
        if key[0] == thread:
            _finish(key)
        elif call is not None and key[0] == _main:
            call(partial(_finish, key))
        else:
            _due.add(key)


def flush() -> None:
    """End all lines that have been begun: the process is about to end."""
    for key in list(_unfinished):
        _finish(key)


def _end_init() -> None:
    end_lines()
    environment.at_shutdown.append(flush)  # after the hooks


def _finish(key: Key) -> None:
    if begun := _unfinished.pop(key, None):
        with suppress(OSError):  # the function has closed it: there is nowhere left to write
            _files[key[1]].destination.put(key[1], b"".join(begun) + b"\n")


def _finish_due(key: Key) -> None:
    """End what this thread has begun in invocations that have ended, but for the line that goes on."""
    for other in list(_due):
        if other[0] == key[0]:
            _due.discard(other)
            if other != key:
                _finish(other)


class _Watch:
    """A thread's own object, which is deleted when it ends."""

    def __init__(self) -> None:
        self._thread = get_ident()

    def __del__(self) -> None:
        if os.getpid() == _pid:  # else a fork has ended the thread, for the child
            for key in list(_unfinished):
                if key[0] == self._thread:
                    _due.discard(key)
                    _finish(key)


def _watch_thread() -> None:
    if not hasattr(_of_thread, "watch"):
        _of_thread.watch = _Watch()
