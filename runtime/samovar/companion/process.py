"""One child process: a line in, a line out, and a readable reason when it ends.

One poll watches three pipes and a descriptor for the process itself, so that the child cannot block its parent: it may
write before it has read, fill standard error, stop, die, or leave its output to a grandchild. There are no threads, and
no `subprocess`, which is slow to import. Does not know what a line means, except that an answer begins with a brace
(that is for `protocol`), nor where standard error goes (to a function that it is given).

A child is in one of three states:

    _LIVE     it may answer
    _MUTE     it has closed its standard output: no answer can come
    _EXITED   the kernel says that it has ended; its output may not have been read yet
"""

import fcntl
import posix
import select
import sys
from _functools import partial  # type: ignore[import-not-found]
from itertools import chain, starmap
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from samovar.companion.error import Kind

    Limit = tuple[float, str]  # the end of waiting, on the clock of time.monotonic, and the same in words

_LIVE, _MUTE, _EXITED = range(3)

_PAGE = 4096  # bytes of the smallest pipe: with one byte in it, it is full
_PIPE = 1 << 20  # bytes; the most an unprivileged process may ask for (/proc/sys/fs/pipe-max-size)
_CHUNK = 1 << 16  # bytes a read; more is not faster
_LONGEST_LOG_LINE = 1 << 18  # bytes; a CloudWatch event holds no more
_LAST_LOGS = 16  # chunks of standard error that an answer waits for; the rest is read with the next request
_LOGS_AT_END = 256  # chunks; a process that has left the group may write without end
_LOGS_WAIT = 20  # ms, for an answer alone: a child that logs and then answers wakes its parent once, not twice
_TAIL = 2048  # bytes of standard error that a failure can quote
_SHOWN = 200  # bytes of output that a failure quotes
_FIONREAD = 0x541B  # termios.FIONREAD
_SIGKILL, _SIGPIPE, _SIGXFSZ = 9, 13, 25
_OPEN = ord("{")
_ENOENT, _ENOEXEC, _EACCES, EBADF = 2, 8, 13, 9


class ProcessFailed(Exception):
    """The child cannot answer any more, or must not.

    unread: it has not read any of the request, so another may have it.
    """

    def __init__(self, kind: "Kind", text: str, unread: bool = False) -> None:
        super().__init__(text)
        self.kind: Kind = kind
        self.unread = unread


class Program:
    """A program as it was at its first start: the function may change directory and variables later."""

    def __init__(self, args: "Sequence[str]", folder: str, env: "Mapping[bytes, bytes]") -> None:
        """Find the program. folder: where a relative path begins; empty for here. Raise ProcessFailed (NotStarted)."""
        self.name = label(args)
        self.args = list(args)
        self.env = dict(env)
        try:
            self.folder = posix.getcwd()
        except OSError:
            self.folder = ""  # it has been removed; a child starts where its parent is
        try:
            path = _find(args[0], folder or self.folder)
        except ValueError as exc:  # a NUL character
            raise ProcessFailed("NotStarted", f"{self.name} cannot be started: its name: {exc}") from None
        self.path = path if path.startswith("/") else f"{self.folder}/{path}"


class Process:
    """A child, leader of its own process group. Only one thread may use it at a time, except for `signal`.

    The handler of a signal may raise between any two instructions. What is acquired is therefore put into a list by the
    instruction that acquires it, stays there until it is released, and `end`, called again, does what is left to do.
    """

    def __init__(self, program: Program, log: "Callable[[bytes], object]", largest: int = sys.maxsize) -> None:
        """log: called with whole lines of standard error. largest: the most bytes that an answer may have."""
        self.name = program.name
        self.answered = 0  # lines
        self.ready = False  # whether it may be asked: not before its start, nor after a call that was interrupted
        self._program = program
        self._log = log
        self._largest = largest
        self._pids: list[int] = []
        self._fds: list[int] = []
        self._pidfd = -1
        self._state = _LIVE
        self._exit_code: int | None = None  # a signal's number negated; None if it is not known
        self._sent = 0  # bytes of the request that are in the pipe, or read
        self._unsent: bytes | memoryview = b""  # the rest of the request
        self._unasked = b""  # output that came before it was asked
        self._log_open = True
        self._log_line = self._tail = b""

    @property
    def pid(self) -> int:
        """The process id of a child that has been started and not ended."""
        return self._pids[0]

    # --- start

    def start(self) -> None:
        """Start the child. Raise ProcessFailed (NotStarted)."""
        try:
            self._start()
        except (OSError, ValueError) as exc:  # ValueError: a NUL character
            self.end()
            raise ProcessFailed("NotStarted", f"{self.name} cannot be started: {_reason(self._program, exc)}") from None
        except BaseException:
            self.end()
            raise
        self.ready = True

    def _start(self) -> None:
        fds = self._fds
        fds.extend(chain.from_iterable(starmap(posix.pipe, ((), (), ()))))
        child_in, self._in, self._out, child_out, self._err, child_err = fds
        _resize(self._in, _PIPE)
        _resize(self._out, _PIPE)
        posix.set_blocking(self._in, False)
        self._poll = select.poll()
        self._answers = select.poll()
        self._answers.register(self._out, select.POLLIN)
        # Standard output first: what a child logs before its answer is then seen no later than the answer.
        for fd in (self._out, self._err):
            posix.set_blocking(fd, False)
            self._poll.register(fd, select.POLLIN)
        self._spawn(child_in, child_out, child_err)
        _close(fds, (5, 3, 0))  # the child's ends
        try:
            fds.extend(map(posix.pidfd_open, self._pids))
            self._pidfd = fds[-1]
            self._poll.register(self._pidfd, select.POLLIN)
        except (AttributeError, OSError):
            pass  # an old kernel: the end is noticed when the output closes

    def _spawn(self, *streams: int) -> None:
        program = self._program
        try:
            here = not program.folder or posix.getcwd() == program.folder
        except OSError:
            here = False
        if not here:
            self._spawn_in_its_folder(*streams)
            return
        spawn = partial(
            posix.posix_spawn,
            file_actions=[(posix.POSIX_SPAWN_DUP2, fd, i) for i, fd in enumerate(streams)],
            setpgroup=0,
            setsigdef=(_SIGPIPE, _SIGXFSZ),  # Python ignores these two, a program expects them
        )
        self._pids.extend(map(spawn, (program.path,), (program.args,), (program.env,)))

    def _spawn_in_its_folder(self, stdin: int, stdout: int, stderr: int) -> None:
        """Spawn with `subprocess`: posix_spawn cannot change directory, and ours must not change for other threads."""
        from subprocess import Popen

        program = self._program
        child = Popen(
            program.args,
            executable=program.path,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=program.folder,
            env=program.env,
            process_group=0,
        )
        self._pids.append(child.pid)
        child.returncode = 0  # or subprocess would wait for it

    def wait_until_it_reads(self, seconds: float) -> bool:
        """Return whether the child has begun to read within that time: its start-up is over then.

        A space is put into a pipe of one page. The page is full with it, so the pipe becomes writable only when the
        child takes the space; before a JSON value, a space means nothing. Raise ProcessFailed if the child ends, or
        writes to standard output.
        """
        if not _resize(self._in, _PAGE):
            return True
        self.ready = False
        try:
            posix.write(self._in, b" ")
        except BrokenPipeError:
            raise self._ended(b"", "input") from None
        self._poll.register(self._in, select.POLLOUT)
        deadline = monotonic() + seconds
        event = 0
        while not event and (left := deadline - monotonic()) > 0:
            events = self._poll.poll(left * 1000)
            event = dict(events).get(self._in, 0)
            self._require_idle(events)
        self._poll.unregister(self._in)
        if event & select.POLLERR:
            raise self._ended(b"", "input")
        _resize(self._in, _PIPE)
        self.ready = True
        return bool(event)

    # --- a request

    def check(self) -> None:
        """Take in what has happened since the last answer. Raise ProcessFailed if the child has ended or written."""
        self.ready = False
        events = self._poll.poll(0)
        if events or self._unasked or self._state != _LIVE:
            self._require_idle(events)

    def _require_idle(self, events: "list[tuple[int, int]]") -> None:
        self._unasked = (self._unasked + self._take(events)[0]).lstrip()[:_CHUNK]
        if self._unasked:
            when = f"after answer {self.answered - 1}, before the next" if self.answered else "before the first"
            raise self.bad_answer(f"wrote to standard output {when} request", self._unasked, unread=True)
        if self._state != _LIVE:
            raise self._ended(b"", unread=True)

    def ask(self, line: bytes, limit: "Limit") -> bytes:
        """Write a line, and return the line that comes back, without its line end. Skip blank lines.

        Raise ProcessFailed if the child ends, closes its output, has not answered within the limit, or begins with
        anything but a brace.
        """
        self.ready = False
        self._write(line)
        until = limit[0]
        begun = bytearray()  # an answer
        while True:
            if (wait := (until - monotonic()) * 1000) < 0:
                wait = 0.0
            events = self._poll.poll(wait)
            chunk, more_log = self._take(events)
            while chunk:
                if answer := self._complete(chunk, begun):
                    if more_log:
                        self._read_logs(_LAST_LOGS)
                    self.ready = True
                    return answer
                chunk = self._read() if self._state == _EXITED else b""
            if self._state != _LIVE:
                raise self._ended(bytes(begun), unread=not begun and self._in_pipe() >= self._sent)
            if not events or wait == 0:  # a child may log without end
                raise self._silent(bytes(begun), limit)

    def _write(self, line: bytes) -> None:
        """Write what the pipe takes of a request; `_unsent` is the rest."""
        if self._unsent:
            line = bytes(self._unsent) + line  # the child answered before it had read the last request to its end
            self._unsent = b""
        try:
            self._sent = posix.write(self._in, line)
        except BlockingIOError:
            self._sent = 0
        except BrokenPipeError:
            self._sent = 0
            return  # it may answer all the same; and if it has ended, its exit code says more
        if self._sent < len(line):
            self._unsent = memoryview(line)[self._sent :]
            self._poll.register(self._in, select.POLLOUT)
        else:
            self._answers.poll(_LOGS_WAIT)

    def _write_more(self) -> None:
        try:
            sent = posix.write(self._in, self._unsent)
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._unsent = b""
        else:
            self._sent += sent
            self._unsent = self._unsent[sent:] or b""
        if not self._unsent:
            self._poll.unregister(self._in)

    def _take(self, events: "list[tuple[int, int]]") -> "tuple[bytes, bool]":
        """Take in what has happened. Return a chunk of output, and whether there may be more log."""
        chunk = b""
        more_log = False
        for fd, _ in events:
            if fd == self._out:
                chunk = self._read()
            elif fd == self._err:
                more_log = self._read_log()
            elif fd == self._pidfd:
                self._state = _EXITED
                self._poll.unregister(fd)
                chunk = chunk or self._read()
            elif self._unsent:
                self._write_more()
        return chunk, more_log

    def _complete(self, chunk: bytes, begun: bytearray) -> bytes:
        """Return the answer that chunk completes; if there is none, nothing, and add chunk to what has begun."""
        if not begun and chunk[0] != _OPEN:
            chunk = chunk.lstrip()
        end = chunk.find(b"\n")
        if end < 0:
            if not begun and chunk and chunk[0] != _OPEN:
                raise self.bad_answer("wrote something that is not an answer", chunk)
            begun += chunk
            if len(begun) > self._largest:
                raise self.bad_answer(
                    "wrote more than a quarter of the function's memory without a line end", bytes(begun)
                )
            return b""
        self._unasked = chunk[end + 1 :].lstrip()
        self.answered += 1
        if self._unsent:
            self._poll.unregister(self._in)
            self._unsent = bytes(self._unsent)  # without the part of the request that was sent
        if begun:
            begun += chunk[:end]
            return bytes(begun)
        return chunk[:end]

    def _in_pipe(self) -> int:
        """Return how many bytes were written and are not read yet."""
        return int.from_bytes(fcntl.ioctl(self._in, _FIONREAD, bytes(4)), sys.byteorder)

    def _read(self) -> bytes:
        """Return what standard output holds; nothing if it holds nothing or is closed."""
        try:
            chunk = posix.read(self._out, _CHUNK)
        except BlockingIOError:
            return b""
        if not chunk and self._state == _LIVE:
            self._state = _MUTE
            self._poll.unregister(self._out)
        return chunk

    # --- standard error

    def _read_logs(self, chunks: int) -> None:
        for _ in range(chunks):
            if not self._read_log():
                return

    def _read_log(self) -> bool:
        """Take in a chunk of standard error. Return whether there may be more."""
        if not self._log_open:
            return False
        try:
            chunk = posix.read(self._err, _CHUNK)
        except BlockingIOError:
            return False
        except OSError as exc:
            if exc.errno != EBADF:
                raise
            chunk = b""  # the function has closed it
        if not chunk:
            self._log_open = False
            self._poll.unregister(self._err)
            return False
        self._tail = (self._tail + chunk)[-_TAIL:]
        lines, end, rest = (self._log_line + chunk).rpartition(b"\n")
        if len(rest) > _LONGEST_LOG_LINE:
            lines, end, rest = lines + end + rest, b"\n", b""
        self._log_line = rest
        if end:
            self._log(lines + end)
        return len(chunk) == _CHUNK

    # --- the end

    def signal(self, number: int) -> None:
        """Send a signal to the child and to all that it has started and that is still in its process group."""
        for pid in self._pids:
            try:
                posix.killpg(pid, number)
            except (ProcessLookupError, PermissionError):
                pass

    def end(self, grace: float = 0.0) -> None:
        """End the child and what it has started, by SIGKILL after grace seconds. Read its log, and close the pipes."""
        if self._pids:
            self._wait(grace)
            self.signal(_SIGKILL)
            try:
                self._exit_code = posix.waitstatus_to_exitcode(posix.waitpid(self.pid, 0)[1])
            except ChildProcessError:
                pass  # this process ignores SIGCHLD, or something else in it has waited for the child
            self._pids.clear()  # another process may have its id from now on
            self._read_logs(_LOGS_AT_END)
            if self._log_line:
                self._log(self._log_line + b"\n")
        self._log_open = False
        while self._fds:
            try:
                _close(self._fds, (-1,))
            except OSError:
                pass  # the function has closed it

    def _wait(self, seconds: float) -> bool:
        """Return whether the child ends within that time. Take in its log meanwhile."""
        if self._pidfd < 0 or seconds <= 0:
            return False
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if self._log_open:
            poll.register(self._err, select.POLLIN)
        deadline = monotonic() + seconds
        while (left := deadline - monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000):
                if fd == self._pidfd:
                    return True
                self._read_log()
                if not self._log_open:
                    poll.unregister(fd)
        return False

    # --- what a failure says

    def bad_answer(self, text: str, data: bytes, unread: bool = False) -> ProcessFailed:
        """Return the failure for output that is not an answer. text: what the child did."""
        note = "Note: standard output is for answers, one line of JSON each; write logs to stderr"
        return ProcessFailed(
            "BadAnswer", f"{self.name} {text}: {_excerpt(data)}. {note}{self._last_log_lines()}", unread
        )

    def _ended(self, partial: bytes, closed: str = "output", unread: bool = False) -> ProcessFailed:
        # A process closes its files a moment before it is gone: after that moment it has an exit code.
        exited = self._state == _EXITED or self._wait(0.1)
        self.end()
        code = self._exit_code
        if not exited and code in (None, -_SIGKILL):
            what = f"closed its standard {closed} and was killed for it"
        elif code is None:
            what = "ended; its exit code is not known: this process ignores SIGCHLD, or other code waited for the child"
        elif code < 0:
            hint = ": probably out of memory, or killed from outside" if code == -_SIGKILL else ""
            what = f"was killed by signal {-code} ({_signal_name(-code)}{hint})"
        else:
            what = f"exited with code {code}"
        when = (
            f"after {self.answered} answer{'s' * (self.answered > 1)}" if self.answered else "before its first answer"
        )
        text = f"{self.name} {what}, {when}{_unfinished(partial)}{self._last_log_lines()}"
        return ProcessFailed("Ended", text, unread)

    def _silent(self, partial: bytes, limit: "Limit") -> ProcessFailed:
        self.end()
        text = f"{self.name} did not answer"
        if not (partial or self._unsent or self.answered):  # a program that has answered before does flush
            text += ", or did not flush its answer,"
        text += f" {limit[1]}, and was killed{_unfinished(partial)}"
        if self._unsent:
            text += f"; {len(self._unsent):,} bytes of the request were still unread"
        return ProcessFailed("Silent", text + self._last_log_lines())

    def _last_log_lines(self) -> str:
        lines = self._tail.decode("utf-8", "backslashreplace").strip().splitlines()[-10:]
        return ". Its last lines on standard error:\n" + "\n".join(lines) if lines else ""


def label(args: "Sequence[str]") -> str:
    """Return the beginning of a command, as messages name it."""
    text = " ".join(args)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _excerpt(data: bytes) -> str:
    """Return the first 200 bytes of data, quoted, with unprintable ones escaped."""
    text = repr(data[:_SHOWN].decode("utf-8", "backslashreplace"))
    return text if len(data) <= _SHOWN else f"{text}… ({len(data):,} bytes)"


def _unfinished(data: bytes) -> str:
    return f"; it wrote {_excerpt(data)} without the line end that completes an answer" if data else ""


def _signal_name(number: int) -> str:
    from signal import Signals

    try:
        return Signals(number).name
    except ValueError:
        return "real-time"


# --- where a program is, and why it cannot be started


def _find(program: str, folder: str) -> str:
    """Return the path of a program: relative to folder if it has a slash, else found on PATH, as a shell does it."""
    if program.startswith("/"):
        return program
    if "/" in program:
        return f"{folder}/{program.removeprefix('./')}"
    for directory in posix.environ.get(b"PATH", b"/bin:/usr/bin").decode(errors="surrogateescape").split(":"):
        path = f"{directory or '.'}/{program}"
        if posix.access(path, posix.X_OK) and not _is_folder(path):
            return path
    advice = f"to run a file of your own, write its path: ./{program}"
    raise ProcessFailed("NotStarted", f"{program} cannot be started: it is not on PATH; {advice}")


def _reason(program: Program, exc: "OSError | ValueError") -> str:
    """Return what kept the program from starting, and what to do about it."""
    path = program.path
    if isinstance(exc, ValueError):
        return f"its command or environment: {exc}"
    if exc.errno not in (_ENOENT, _ENOEXEC, _EACCES):
        return exc.strerror or str(exc)
    if not _is_folder(program.folder or "/"):
        return f"{program.folder}, the folder it was first started in, no longer exists"
    if _is_folder(path):
        return f"{path} is a folder"
    if not _exists(path):
        return f"{path} does not exist"
    if not posix.access(path, posix.X_OK):
        return f"{path} is not executable: run chmod +x on it before you package it"
    return _reason_in_file(path, exc)


def _reason_in_file(path: str, exc: OSError) -> str:
    """Return what about an executable file keeps it from running."""
    try:
        with open(path, "rb") as file:
            first = file.readline(200)
    except OSError:
        first = b""
    if first.startswith(b"#!"):
        interpreter = first[2:].strip(b" \t\n").split(b" ")[0].decode(errors="backslashreplace")
        if interpreter.endswith("\r"):
            return f"{path} has Windows line ends, and the first one is taken for part of its interpreter's name"
        if not _exists(interpreter):
            return f"its first line names the interpreter {interpreter}, which does not exist"
    elif exc.errno == _ENOENT:
        advice = "build it statically, or on the image that it will run in"
        return f"{path} exists, but the dynamic loader that it was linked for does not: {advice}"
    elif exc.errno == _ENOEXEC:
        return f"{path} is neither a program for this machine nor a script: a script begins with a line like #!/bin/sh"
    return f"{path}: {exc.strerror}"


def _is_folder(path: str) -> bool:
    return _exists(f"{path}/.")


def _exists(path: str) -> bool:
    return posix.access(path, posix.F_OK)


def _resize(pipe: int, size: int) -> bool:
    """Set the capacity of a pipe. Return whether the system allows it; without, a companion is slower, not wrong."""
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
    except (AttributeError, OSError):
        return False  # not Linux, or this user's pipes have too many pages already
    return True


def _close(fds: "list[int]", at: "Iterable[int]") -> None:
    """Close the descriptors at those places of the list. Each leaves the list in the instruction that closes it."""
    any(map(posix.close, map(fds.pop, at)))
