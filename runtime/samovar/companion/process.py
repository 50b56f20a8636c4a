"""One child process: a line in, a line out, and a plain account of how it ended.

Three pipes and a descriptor for the process itself are watched by one poll, so that nothing the child does can block
its parent: it may write before it has read, fill standard error, stop, die, or leave its output to a grandchild. No
threads, and no `subprocess`, which is slow to import. Knows neither JSON nor Lambda: what a line means is for
`companion`, and standard error goes to the function it is given.
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

_PAGE = 4096  # bytes of the smallest pipe: with one byte in it, it is full
_PIPE = 1 << 20  # bytes; the most an unprivileged process may ask for (/proc/sys/fs/pipe-max-size)
_CHUNK = 1 << 16  # bytes a read; more is not faster
_LONGEST_LOG_LINE = 1 << 18  # bytes; a CloudWatch event holds no more
_LAST_LOGS = 16  # chunks of standard error that an answered request still waits for; the rest is the next one's
_LOGS_WAIT = 20  # ms, for an answer alone: a child that logs and then answers wakes its parent once, not twice
_TAIL = 2048  # bytes of standard error that are kept for the account
_SHOWN = 200  # bytes of an answer that are shown where it cannot be used
_FIONREAD = 0x541B  # termios.FIONREAD
_SIGKILL, _SIGPIPE, _SIGXFSZ = 9, 13, 25
_OPEN = ord("{")
_ENOENT, _ENOEXEC, _EACCES, EBADF = 2, 8, 13, 9


class Gone(Exception):
    """The child can answer no more, or must not.

    kind: NotStarted, Ended, Silent or BadAnswer. unread: it has seen nothing of the request, another may have it.
    """

    def __init__(self, kind: str, text: str, unread: bool = False) -> None:
        super().__init__(text)
        self.kind = kind
        self.unread = unread


class Program:
    """A program as it was at its first start: the function may have changed directory and variables since."""

    def __init__(self, args: "Sequence[str]", folder: str, env: "Mapping[bytes, bytes]") -> None:
        """Find the program; a relative path begins at folder, or here. Raise Gone (NotStarted)."""
        self.name = label(args)
        self.args = list(args)
        self.env = dict(env)
        try:
            self.folder = posix.getcwd()
        except OSError:
            self.folder = ""  # it has been removed; a child is where we are
        try:
            path = _find(args[0], folder or self.folder)
        except ValueError as exc:  # a NUL character
            raise Gone("NotStarted", f"{self.name} cannot be started: its name: {exc}") from None
        self.path = path if path.startswith("/") else f"{self.folder}/{path}"


class Process:
    """A child, leader of its own process group. For one thread at a time, but for `signal`.

    The handler of a signal may raise between any two instructions. What is acquired is therefore put into a list by the
    instruction that acquires it, and `end`, called again, does what is left to do.
    """

    def __init__(self, program: Program, log: "Callable[[bytes], object]", largest: int = sys.maxsize) -> None:
        """log: called with whole lines of standard error. largest: the most bytes that an answer may have."""
        self.name = program.name
        self.answered = 0  # lines
        self.ready = False  # to be asked; not before its start, nor after a call that was cut off
        self._program = program
        self._log = log
        self._largest = largest
        self._pids: list[int] = []
        self._fds: list[int] = []
        self._pidfd = -1
        self._ended = False
        self._status: int | None = None  # exit code, or a signal's number negated; None where nobody knows
        self._unsent = b""
        self._refused = 0  # bytes of a request that it closed its input to
        self._extra = b""  # what came on standard output unasked
        self._closed_output = self._closed_log = self._exited = False
        self._log_line = self._tail = b""

    @property
    def pid(self) -> int:
        """Of the child, once it has been started."""
        return self._pids[0]

    def start(self) -> None:
        """Start the child. Raise Gone (NotStarted)."""
        try:
            self._start()
        except (OSError, ValueError) as exc:  # ValueError: a NUL character
            self.end()
            raise Gone("NotStarted", f"{self.name} cannot be started: {_why(self._program, exc)}") from None
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
        if here:
            spawn = partial(
                posix.posix_spawn,
                file_actions=[(posix.POSIX_SPAWN_DUP2, fd, i) for i, fd in enumerate(streams)],
                setpgroup=0,
                setsigdef=(_SIGPIPE, _SIGXFSZ),  # Python ignores these two, a program expects them
            )
            self._pids.extend(map(spawn, (program.path,), (program.args,), (program.env,)))
        else:  # posix_spawn cannot change directory, and ours is not to change for other threads
            from subprocess import Popen

            stdin, stdout, stderr = streams
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
        """Whether the child has begun to read within that time: its start-up is over then.

        A space is put into a pipe of one page, which is full with it and becomes writable again when the child takes
        the space. White space before a JSON value is no part of it. Raises Gone when the child ends, or writes to
        standard output.
        """
        if not _resize(self._in, _PAGE):
            return True
        self.ready = False
        try:
            posix.write(self._in, b" ")
        except BrokenPipeError:
            raise self._gone(b"", "input") from None
        self._poll.register(self._in, select.POLLOUT)
        deadline = monotonic() + seconds
        event = 0
        while not event and (left := deadline - monotonic()) > 0:
            event = dict(self._look(left * 1000)).get(self._in, 0)
            self._must_be_quiet_and_alive()
        self._poll.unregister(self._in)
        if event & select.POLLERR:
            raise self._gone(b"", "input")
        _resize(self._in, _PIPE)
        self.ready = True
        return bool(event)

    def check(self) -> None:
        """Takes in what has happened since the last answer. Raises Gone when the child has ended or written unasked."""
        self.ready = False
        if self._look(0) or self._extra or self._exited:
            self._must_be_quiet_and_alive()

    def _look(self, milliseconds: float) -> "list[tuple[int, int]]":
        events = self._poll.poll(milliseconds)
        for fd, _ in events:
            if fd == self._err:
                self._read_log()
            elif fd == self._out:
                self._extra = (self._extra + self._read()).lstrip()[:_CHUNK]
            elif fd == self._pidfd:
                self._exited = True
        return events

    def _must_be_quiet_and_alive(self) -> None:
        if self._extra:
            when = f"after answer {self.answered - 1}, " if self.answered else ""
            raise self.bad(f"wrote to standard output {when}before it was asked", self._extra, unread=True)
        if self._closed_output or self._exited:
            raise self._gone(b"", unread=True)

    def ask(self, line: bytes, deadline: "float | None") -> bytes:
        """Writes line, which has its line end, and returns the line that comes back, without. Blank lines are none.

        deadline: on the clock of time.monotonic. Raises Gone when the child ends, closes its output, is still silent at
        the deadline, or begins with anything but a brace.
        """
        self.ready = False
        self._refused = 0
        if self._unsent:
            line = self._unsent + line  # it answered before it had read the whole of the last one
        try:
            sent = posix.write(self._in, line)
        except BlockingIOError:
            sent = 0
        except BrokenPipeError:
            sent = self._refused = len(line)  # it may answer all the same; if it ended, its exit code says more
        unsent = memoryview(line)[sent:]
        if unsent:
            self._poll.register(self._in, select.POLLOUT)
        else:
            self._answers.poll(_LOGS_WAIT)
        parts: list[bytes] = []
        size = 0
        while True:
            wait = None if deadline is None else max(0.0, deadline - monotonic()) * 1000
            events = self._poll.poll(wait)
            chunk = b""
            logs = False
            for fd, _ in events:
                if fd == self._out:
                    chunk = self._read()
                elif fd == self._err:
                    logs = self._read_log()
                elif fd == self._in:
                    unsent = self._send(unsent)
                else:
                    self._exited = True
                    self._poll.unregister(fd)
                    chunk = chunk or self._read()
            while chunk:
                if not size and chunk[0] != _OPEN:
                    chunk = chunk.lstrip()
                end = chunk.find(b"\n")
                if end >= 0:
                    parts.append(chunk[:end])
                    self._extra = chunk[end + 1 :].lstrip()
                    self.answered += 1
                    for _ in range(_LAST_LOGS if logs else 0):
                        if not self._read_log():
                            break
                    if unsent:
                        self._poll.unregister(self._in)
                    self._unsent = bytes(unsent)
                    self.ready = True
                    return b"".join(parts) if size else parts[0]
                if not chunk:
                    break
                if not size and chunk[0] != _OPEN:
                    raise self.bad("wrote something that is no answer", chunk)
                parts.append(chunk)
                size += len(chunk)
                if size > self._largest:
                    raise self.bad("filled a quarter of the memory without a line end", b"".join(parts))
                chunk = self._read() if self._exited else b""  # what a dead child wrote is read to the end
            if self._exited or self._closed_output:
                written = len(line) - len(unsent) - self._refused
                raise self._gone(b"".join(parts), unread=not parts and self._in_pipe() >= written)
            if not events or wait == 0:  # it may go on logging without end
                raise self._silent(b"".join(parts), len(unsent))

    def _send(self, data: memoryview) -> memoryview:
        """What is left of data when the pipe has taken what it can."""
        try:
            data = data[posix.write(self._in, data) :]
        except BlockingIOError:
            return data
        except BrokenPipeError:
            self._refused = len(data)
            data = data[:0]
        if not data:
            self._poll.unregister(self._in)
        return data

    def _in_pipe(self) -> int:
        """Bytes that were written and not yet read."""
        return int.from_bytes(fcntl.ioctl(self._in, _FIONREAD, bytes(4)), sys.byteorder)

    def _read(self) -> bytes:
        """What standard output holds; nothing when it holds nothing or is closed."""
        try:
            chunk = posix.read(self._out, _CHUNK)
        except BlockingIOError:
            return b""
        if not chunk and not self._closed_output:
            self._closed_output = True
            self._poll.unregister(self._out)
        return chunk

    def _read_log(self) -> bool:
        """Takes in a part of it. Whether there may be more."""
        if self._closed_log:
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
            self._closed_log = True
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

    def signal(self, number: int) -> None:
        """Sends a signal to the child and to all it has started that is still in its process group."""
        if not self._ended:
            for pid in self._pids:
                try:
                    posix.killpg(pid, number)
                except (ProcessLookupError, PermissionError):
                    pass

    def end(self, grace: float = 0.0) -> None:
        """Ends the child and what it has started, by SIGKILL when grace seconds have passed, and closes what is open.
        What it still logs is taken in.
        """
        if self._pids and not self._ended:
            self._wait(grace)
            self.signal(_SIGKILL)
            try:
                self._status = posix.waitstatus_to_exitcode(posix.waitpid(self.pid, 0)[1])
            except ChildProcessError:
                pass  # this process ignores SIGCHLD, or something else in it has waited for the child
            self._ended = True
            for _ in range(256):  # one that has left the group may write for ever
                if not self._read_log():
                    break
            if self._log_line:
                self._log(self._log_line + b"\n")
        self._closed_log = True
        while self._fds:
            try:
                _close(self._fds, (-1,))
            except OSError:
                pass  # the function has closed it

    def _wait(self, seconds: float) -> bool:
        """Whether the child ends within that time; its log is taken in meanwhile."""
        if self._pidfd < 0 or seconds <= 0:
            return False
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not self._closed_log:
            poll.register(self._err, select.POLLIN)
        deadline = monotonic() + seconds
        while (left := deadline - monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000):
                if fd == self._pidfd:
                    return True
                if not self._read_log() and self._closed_log:
                    poll.unregister(fd)
        return False

    def bad(self, text: str, data: bytes, unread: bool = False) -> Gone:
        """What is to be said of output that is no answer."""
        advice = "standard output carries answers, one line of JSON each; write logs to stderr"
        return Gone("BadAnswer", f"{self.name} {text}: {_shown(data)}. Note: {advice}{self._last_lines()}", unread)

    def _gone(self, partial: bytes, closed: str = "output", unread: bool = False) -> Gone:
        # A process closes its files a moment before it is gone: after that moment its exit code can be told.
        exited = self._exited or self._wait(0.1)
        self.end()
        code = self._status
        if not exited and code in (None, -_SIGKILL):
            what = f"closed its standard {closed} and was ended for it"
        elif code is None:
            what = "ended; its exit code is not known, as this process ignores SIGCHLD or has waited for it elsewhere"
        elif code < 0:
            what = f"was killed by signal {-code} ({_signal_name(-code)})"
            if code == -_SIGKILL:
                what += ", for want of memory or from outside"
        else:
            what = f"exited with code {code}"
        when = f"after {self.answered} answer(s)" if self.answered else "before its first answer"
        return Gone("Ended", f"{self.name} {what}, {when}{_partial(partial)}{self._last_lines()}", unread)

    def _silent(self, partial: bytes, unsent: int) -> Gone:
        self.end()
        # A program that has answered before does flush.
        none = "no answer" if partial or unsent or self.answered else "no answer, or did not flush it,"
        what = f"{self.name} gave {none} in the time that this invocation had, and was killed{_partial(partial)}"
        if unsent:
            what += f"; {unsent:,} bytes of the request were still unread"
        return Gone("Silent", what + self._last_lines())

    def _last_lines(self) -> str:
        lines = self._tail.decode("utf-8", "backslashreplace").strip().splitlines()[-10:]
        return ". Its last lines on standard error:\n" + "\n".join(lines) if lines else ""


def label(args: "Sequence[str]") -> str:
    """A command in a message: its beginning."""
    text = " ".join(args)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _shown(data: bytes) -> str:
    """The first 200 bytes of data, quoted, unprintable ones escaped."""
    text = repr(data[:_SHOWN].decode("utf-8", "backslashreplace"))
    return text if len(data) <= _SHOWN else f"{text}… ({len(data):,} bytes)"


def _partial(data: bytes) -> str:
    return f"; {_shown(data)} came without the line end that completes an answer" if data else ""


def _signal_name(number: int) -> str:
    from signal import Signals

    try:
        return Signals(number).name
    except ValueError:
        return "real-time"


def _find(program: str, folder: str) -> str:
    """Where program is: as it stands when absolute, in folder when it has a slash, else on PATH, as for a shell."""
    if program.startswith("/"):
        return program
    if "/" in program:
        return f"{folder}/{program.removeprefix('./')}"
    for directory in posix.environ.get(b"PATH", b"/bin:/usr/bin").decode(errors="surrogateescape").split(":"):
        path = f"{directory or '.'}/{program}"
        if posix.access(path, posix.X_OK) and not _is_folder(path):
            return path
    advice = f"a program of your own is named by a path, ./{program}"
    raise Gone("NotStarted", f"{program} cannot be started: it is not on PATH; {advice}")


def _why(program: Program, exc: "OSError | ValueError") -> str:
    """What kept the program from starting, and what to do."""
    path = program.path
    if isinstance(exc, ValueError):
        return f"its command or environment: {exc}"
    if exc.errno not in (_ENOENT, _ENOEXEC, _EACCES):
        return exc.strerror or str(exc)
    if not _is_folder(program.folder or "/"):
        return f"{program.folder}, the folder that it was started in, is gone"
    if _is_folder(path):
        return f"{path} is a folder"
    if not _exists(path):
        return f"there is no {path}"
    if not posix.access(path, posix.X_OK):
        return f"{path} is not executable: chmod +x it before it is packed"
    try:
        with open(path, "rb") as file:
            first = file.readline(200)
    except OSError:
        first = b""
    if first.startswith(b"#!"):
        interpreter = first[2:].strip(b" \t\n").split(b" ")[0].decode(errors="backslashreplace")
        if interpreter.endswith("\r"):
            return f"{path} has Windows line ends: they are part of the interpreter's name in its first line"
        if not _exists(interpreter):
            return f"its first line asks for the interpreter {interpreter}, which is not there"
    elif exc.errno == _ENOENT:
        advice = "build it statically, or on the image it will run in"
        return f"{path} is there, but not the dynamic loader it was linked for: {advice}"
    elif exc.errno == _ENOEXEC:
        return f"{path} is neither a program for this machine nor a script: a script begins with a line like #!/bin/sh"
    return f"{path}: {exc.strerror}"


def _is_folder(path: str) -> bool:
    return _exists(f"{path}/.")


def _exists(path: str) -> bool:
    return posix.access(path, posix.F_OK)


def _resize(fd: int, size: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
    except (AttributeError, OSError):
        return False  # not Linux, or this user's pipes have too many pages already: slower, not wrong
    return True


def _close(fds: "list[int]", at: "Iterable[int]") -> None:
    """Close the descriptors at those places of the list. Each leaves it in the instruction that closes it."""
    any(map(posix.close, map(fds.pop, at)))
