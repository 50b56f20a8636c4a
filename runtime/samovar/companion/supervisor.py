"""A program that is kept running: which call has it, until when it must answer, and when it is started again.

`protocol` knows what a line means, `process` how a child is run and watched. Knows neither the loop nor the wire.
"""

import posix
import sys
from _queue import Empty, SimpleQueue
from _thread import get_ident
from _weakref import ref
from time import monotonic, sleep

from samovar import codec, hooks, logs
from samovar.companion import protocol
from samovar.companion.error import CompanionError
from samovar.companion.process import EBADF, Process, ProcessFailed, Program
from samovar.environment import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike
    from typing import Any

    from samovar.companion.process import Limit
    from samovar.companion.protocol import Answer
    from samovar.context import LambdaContext

_FATAL_FAILURES = 4  # in a row; lambda_proc's number
_PAUSES = (0.0, 0.25, 1.0)  # seconds from the first, second, third failure in a row to the next start
_START_UP = 8.0  # seconds that INIT waits for a program to read; Lambda gives INIT 10
_MARGIN = 0.1  # seconds before the deadline that are kept for killing the process and reporting it
_GRACE = 0.3  # seconds from SIGTERM to SIGKILL; Lambda gives the whole shutdown 0.5
_TIMEOUT = 60.0  # seconds of a call that has neither a deadline nor a timeout
_WITHIN_TIMEOUT = f"within {_TIMEOUT:g} s (timeout= sets another limit)"
_LONGEST_WAIT = (1 << 31) - 1  # ms, for poll; no invocation lasts 24 days
_SIGKILL, _SIGTERM = 9, 15

_pid = posix.getpid()  # kept here, as each call would ask the kernel


def _forked() -> None:
    global _pid
    _pid = posix.getpid()


posix.register_at_fork(after_in_child=_forked)


class Companion:
    """A program that is kept running and asked one event at a time. Keep it as a global: its start is then paid once.

    A process that fails is ended with all it started, and the next event has another one. Threads may share a
    companion: each call gets a free worker, or waits for one. The program inherits the environment; what it writes to
    standard error goes to the log.
    """

    _owner = 0  # the process that has something to close

    def __init__(self, args: "Sequence[str | PathLike[str]]", *, workers: "int | None" = None) -> None:
        """Start the program, and wait until it reads: for at most 8 seconds, and no longer than the invocation lasts.

        A process that is started later has the same path, working directory and environment.

        Args:
            args: The program and its arguments. A relative path begins at `LAMBDA_TASK_ROOT` if that is set, else at
                the working directory.
            workers: How many processes to keep. Each answers one event at a time. By default 1; where a process serves
                many invocations at once, one for each of them, and at most two for each processor.

        Raises:
            CompanionError: The program cannot start (kind `NotStarted`), ends (`Ended`), or writes to standard output
                before it is asked (`BadAnswer`).
            TypeError: args is not a list of strings and paths.
            ValueError: workers is less than 1.
        """
        command = _command(args)
        if workers is None:
            workers = environment.companions
        if workers < 1:
            raise ValueError(f"Companion: workers must be at least 1, not {workers}")
        folder = posix.environ.get(b"LAMBDA_TASK_ROOT", b"").decode(errors="surrogateescape")
        memory = int(posix.environ.get(b"AWS_LAMBDA_FUNCTION_MEMORY_SIZE") or 0)  # MB
        try:
            program = Program(command, folder, _environment())
        except ProcessFailed as failed:
            raise CompanionError(failed.kind, str(failed)) from None
        self._name = program.name
        # An answer without end must not cost the environment its memory.
        self._workers = [_Worker(program, memory * (1 << 20) // 4 or sys.maxsize) for _ in range(workers)]
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        self._held: list[_Worker] = []  # from a snapshot to the restore
        self._closed = False
        self._close_at_end = _closer(ref(self))
        self._owner = _pid
        try:
            self._start()
        except BaseException:
            self.close()
            for worker in self._workers:
                worker.end()
            raise
        _companions.append(ref(self, _companions.remove))

    def _start(self) -> None:
        if environment.running:
            hooks.on_shutdown(self._close_at_end)
        else:
            import atexit

            atexit.register(self._close_at_end)
        for worker in self._workers:
            worker.start()
        until = _start_up_ends()
        for worker in self._workers:
            worker.wait_until_it_reads(until)
        self._give_back(list(self._workers))

    def call(self, event: "Any", context: "Any" = None, *, timeout: "float | None" = None) -> "Any":
        """Ask the program, and return its answer.

        Args:
            event: A JSON value.
            context: The context to send; defaults to the current invocation's. It also gives the deadline.
            timeout: Seconds to wait for the answer, and for a free worker, if the deadline is not earlier. Without
                timeout and deadline (in INIT, outside Lambda) it is 60. A process that has not answered by then is
                ended, as its answer would meet the next event.

        Returns:
            The answer's data, a JSON value.

        Raises:
            CompanionError: Its `kind` says why there is no answer. The fourth failure in a row ends the environment,
                unless caught.
            TypeError, ValueError: event is not a JSON value, or timeout is not a number above 0.
        """
        return self._call(protocol.dumps(event), context, timeout)[0]

    def call_raw(self, event: bytes, context: "Any" = None, *, timeout: "float | None" = None) -> bytes:
        """Ask the program, as `call` does, with JSON documents for event and answer.

        The event is decoded only if it has a line end or the call fails, as the Invoke API accepts nothing but JSON.
        The answer is decoded once, to be sure that it is JSON.

        Args:
            event: A JSON document.
            context: As for `call`.
            timeout: As for `call`.

        Returns:
            The bytes of the answer's data as the program wrote them; encoded anew if the answer's layout is unusual.

        Raises:
            CompanionError: As `call`, and if the event is not JSON.
        """
        value, document, _ = self._call(event, context, timeout)
        return codec.dumps(value) if document is None else document

    def _call(self, event: bytes, context: "Any", timeout: "float | None") -> "Answer":
        if self._closed:
            raise CompanionError("Ended", f"{self._name} has been closed")
        if self._owner != _pid:
            belongs = f"{self._name} belongs to the parent process"
            raise CompanionError("Forked", f"{belongs}; create a new Companion after fork()")
        if context is None:
            context = _current_context()
        limit = _limit(context, timeout)
        description = protocol.encode_context(context, _trace_id())
        request = protocol.encode_request(event, description)
        try:
            return self._ask(event, request, limit)
        except Empty:
            count = len(self._workers)
            busy = "the only worker" if count == 1 else f"all {count} workers"
            none = "was busy, and did not become" if count == 1 else "were busy, and none became"
            raise CompanionError("Busy", f"{busy} of {self._name} {none} free {limit[1]}") from None
        except BaseException:
            if environment.running and any(worker.may_start() for worker in self._workers):
                hooks.defer(self._replace)
            raise

    def _ask(self, event: bytes, request: bytes, limit: "Limit") -> "Answer":
        """Return a free worker's answer. Raise Empty.

        A signal handler may raise between any two instructions: a worker is either in the queue or in `held`.
        """
        held: list[_Worker] = []
        try:
            try:
                self._take(held, limit[0])
                return held[0].call(event, request, limit)
            finally:
                self._give_back(held)
        finally:
            if held:  # the first was interrupted
                self._give_back(held)

    def _replace(self) -> None:
        """Start the processes that are missing, and wait until they read: the next caller finds them there."""
        try:
            for _ in self._workers:
                held: list[_Worker] = []
                try:
                    try:
                        self._take(held, 0.0)
                        held[0].replace()
                    finally:
                        self._give_back(held)
                finally:
                    if held:  # the first was interrupted
                        self._give_back(held)
        except Empty:
            pass  # the calls that have the other workers replace what fails

    def _suspend(self) -> None:
        """End the processes and hold the workers: a call in another thread waits for one, or fails."""
        for worker in self._workers:
            worker.terminate()
        for kill in (False, True):
            until = monotonic() + _GRACE
            try:
                while len(self._held) < len(self._workers):
                    self._take(self._held, until)
                    self._held[-1].end(until - monotonic())
                return
            except Empty:  # a call in another thread sees its process gone, and clears up after it
                if not kill:
                    for worker in self._workers:
                        worker.kill()

    def _take(self, held: "list[_Worker]", until: float) -> None:
        """Move a free worker into `held`. Raise Empty."""
        try:
            held.extend(map(self._free.get, (False,)))
        except Empty:
            held.extend(map(self._free.get, (True,), (max(0.0, until - monotonic()),)))
        held[-1].caller = get_ident()

    def _give_back(self, held: "list[_Worker]") -> None:
        while held:
            worker = held[-1]
            if self._closed:
                worker.end()
            worker.caller = 0
            any(map(self._free.put, map(held.pop, (-1,))))

    def close(self) -> None:
        """End the program: SIGTERM, and SIGKILL after 0.3 seconds. A call in flight fails."""
        if self._owner != _pid:
            return
        self._closed = True
        for worker in self._workers:
            worker.retire()
        self._end_workers(monotonic() + _GRACE)
        hooks.not_on_shutdown(self._close_at_end)
        atexit = sys.modules.get("atexit")
        if atexit is not None:
            atexit.unregister(self._close_at_end)
        self._owner = 0

    def _end_workers(self, until: float) -> None:
        interrupted = [worker for worker in self._workers if worker.caller == get_ident()]  # by the signal that closes
        for worker in interrupted:
            worker.end(until - monotonic())
        held: list[_Worker] = []
        try:
            for _ in range(len(self._workers) - len(interrupted)):
                held.extend(map(self._free.get, (True,), (max(0.0, until - monotonic()),)))
                held[-1].end(until - monotonic())
        except Empty:  # a call in another thread sees its process gone, and clears up after it
            for worker in self._workers:
                worker.kill()
        finally:
            self._give_back(held)  # a call that waits for a worker gets one, and fails

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> "Companion":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


_companions: "list[ref[Companion]]" = []  # all companions that there are


def _suspend_all() -> None:
    """End all processes before a snapshot: one that lived through it would give the same random numbers in each
    environment that is restored, have a clock that jumps, and connections that are gone.
    """
    for companion in _made():
        if not companion._closed:
            companion._suspend()


def _resume_all() -> None:
    """Start them again after the restore, side by side, and wait until they read. Raise CompanionError."""
    companions = _made()
    try:
        workers = [worker for companion in companions if not companion._closed for worker in companion._held]
        for worker in workers:
            worker.start_anew()
        until = _start_up_ends()
        for worker in workers:
            worker.wait_until_it_reads(until)
    finally:
        for companion in companions:
            companion._give_back(companion._held)


def _made() -> "list[Companion]":
    return [companion for each in list(_companions) if (companion := each()) is not None]


environment.at_snapshot.append(_suspend_all)
environment.at_restore.append(_resume_all)


class _Worker:
    """One process, and the next one when that has failed."""

    def __init__(self, program: Program, largest: int) -> None:
        self.name = program.name
        self.caller = get_ident()  # the thread that uses it
        self._program = program
        self._largest = largest  # bytes of an answer
        self._process: Process | None = None
        self._failures = 0  # in a row
        self._not_before = 0.0  # on the monotonic clock: when the next process may start
        self._retired = False

    def start(self) -> Process:
        """Start the process, unless it runs. Raise CompanionError (NotStarted)."""
        process = self._process
        if process is None and not self._retired:
            try:
                process = self._process = Process(self._program, _to_log, self._largest)
                process.start()
            except ProcessFailed as failed:
                self.end()
                raise CompanionError(failed.kind, str(failed)) from None
            if self._retired:  # by another thread, meanwhile
                process.end()
        if process is None or self._retired:
            raise CompanionError("NotStarted", f"{self.name} has been closed")
        return process

    def replace(self) -> None:
        """Start the process if it is missing, and wait until it reads."""
        if self.may_start():
            self.wait_until_it_reads(_start_up_ends())

    def may_start(self) -> bool:
        """Return whether there is no process, and one may be started now."""
        return self._process is None and not self._retired and self._not_before <= monotonic()

    def wait_until_it_reads(self, until: float) -> None:
        """Wait for the end of the program's start-up. Raise CompanionError if it ends, or writes, instead."""
        seconds = max(0.001, until - monotonic())
        try:
            if not self.start().wait_until_it_reads(seconds):
                waited = f"has not read its standard input after {seconds:.3g} s"
                logs.record("WARNING", f"{self.name} {waited}; going on without waiting for it")
        except ProcessFailed as failed:
            self.end()
            raise CompanionError(failed.kind, str(failed)) from None

    def retire(self) -> None:
        """Ask the process to end. It is not started again."""
        self._retired = True
        self.terminate()

    def terminate(self) -> None:
        """Ask the process to end."""
        if self._process is not None:
            self._process.signal(_SIGTERM)

    def start_anew(self) -> None:
        """Start the process in a restored environment: the pause is on a clock that may have jumped."""
        self._failures, self._not_before = 0, 0.0
        self.start()

    def kill(self) -> None:
        """Kill the process, and leave the rest to the call that it is in."""
        if self._process is not None:
            self._process.signal(_SIGKILL)

    def end(self, grace: float = 0.0) -> None:
        """End the process, by SIGKILL after grace seconds."""
        if (process := self._process) is not None:
            process.end(grace)
            self._process = None

    def call(self, event: bytes, request: bytes, limit: "Limit") -> "Answer":
        """Return the answer to a request. Raise CompanionError."""
        try:
            answer = self._ask(request, limit)
        except ProcessFailed as failed:
            self.end()
            protocol.require_json(event)
            raise self._failed(failed) from None
        except BaseException as exc:
            self.end()  # what it had been asked, or had answered in part, must not meet the next event
            if isinstance(exc, OSError) and exc.errno == EBADF:
                how = "was closed during this call, by a signal handler"
                if not self._retired:
                    how = "was cut off: the function closed the file descriptors of its pipes"
                raise CompanionError("Ended", f"{self.name} {how}") from None
            raise
        self._failures = 0
        if answer[2] is not None:
            protocol.require_json(event)
            raise answer[2]
        return answer

    def _ask(self, request: bytes, limit: "Limit") -> "Answer":
        """Return the answer. If the process failed before it read the request, another one gets it."""
        process = self._process
        if process is not None and not process.ready:
            self.end()  # a call was interrupted: its answer would be taken for this one's
        elif process is not None:
            try:
                process.check()
                return _exchange(process, request, limit)
            except ProcessFailed as failed:
                # One that writes before its first request would do so again.
                if not failed.unread or (failed.kind == "BadAnswer" and not process.answered):
                    raise
                self.end()
                logs.record("ERROR", f"The idle companion failed and is restarted; no event is lost: {failed}")
        return _exchange(self._restart(limit[0]), request, limit)

    def _restart(self, until: float) -> Process:
        """Start a process, after what is left of the pause. Raise ProcessFailed (NotStarted)."""
        pause = min(self._not_before - monotonic(), (until - monotonic()) / 2)
        if pause > 0:
            sleep(pause)
        try:
            return self.start()
        except CompanionError as error:
            raise ProcessFailed("NotStarted", error.message) from None

    def _failed(self, failed: ProcessFailed) -> CompanionError:
        """Count a failure, and return it as the invocation's."""
        self._failures += 1
        self._not_before = monotonic() + _PAUSES[min(self._failures, len(_PAUSES)) - 1]
        if self._failures < _FATAL_FAILURES:
            return CompanionError(failed.kind, str(failed))
        text = f"Failure {self._failures} in a row, the environment ends: {failed}"
        return CompanionError(failed.kind, text, fatal=True)


def _exchange(process: Process, request: bytes, limit: "Limit") -> "Answer":
    line = process.ask(request, limit)
    try:
        return protocol.decode_answer(line, process.answered - 1)
    except protocol.NotAnAnswer as exc:
        raise process.bad_answer(str(exc), line) from None


def _command(args: "Sequence[str | PathLike[str]]") -> "list[str]":
    """Return the program and its arguments as strings."""
    if isinstance(args, (str, bytes)) or hasattr(args, "__fspath__") or not args:
        raise TypeError(f"Companion({args!r}): give the program and its arguments as a list: ['./main', '--fast']")
    command = []
    for arg in args:
        try:
            path = posix.fspath(arg)
        except TypeError:
            raise TypeError(f"Companion({args!r}): {arg!r} is neither a string nor a path") from None
        command.append(path if isinstance(path, str) else path.decode(errors="surrogateescape"))
    return command


def _closer(companion_ref: "ref[Companion]") -> "Callable[[], None]":
    """Return a function that closes a companion, and does not keep it alive until then."""

    def close() -> None:
        if (companion := companion_ref()) is not None:
            companion.close()

    return close


def _current_context() -> "LambdaContext | None":
    invocation = environment.invocation
    return None if invocation is None else invocation.context


def _trace_id() -> bytes:
    if not environment.shared:
        return posix.environ.get(b"_X_AMZN_TRACE_ID", b"")
    invocation = environment.invocation
    return ((invocation and invocation.trace_id) or "").encode("utf-8", "surrogateescape")


def _start_up_ends() -> float:
    """Return the time on the monotonic clock until which a program's start-up is waited for."""
    latest = monotonic() + _START_UP
    deadline = _deadline(_current_context())
    return latest if deadline is None else min(latest, deadline)


def _environment() -> "Mapping[bytes, bytes]":
    """Return our environment, with the place where a Python child finds `samovar.companion` behind its own paths."""
    package_root = __file__.rpartition("/samovar/")[0]
    if package_root.endswith("-packages"):
        return posix.environ  # a child of this interpreter finds it, another must not look there
    paths = (posix.environ.get(b"PYTHONPATH"), package_root.encode(errors="surrogateescape"))
    return {**posix.environ, b"PYTHONPATH": b":".join(path for path in paths if path)}


def _limit(context: "Any", timeout: "float | None") -> "Limit":
    """Return the limit of a call: the earlier of the deadline and the timeout."""
    deadline = _deadline(context)
    if timeout is None:
        if deadline is not None:
            return deadline, "before this invocation's deadline"
        return monotonic() + _TIMEOUT, _WITHIN_TIMEOUT
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout={timeout!r}: give a number of seconds")
    if not timeout > 0:
        raise ValueError(f"timeout={timeout!r}: give a number of seconds above 0")
    until = monotonic() + min(timeout, _LONGEST_WAIT / 1000)
    if deadline is not None and deadline <= until:
        return deadline, "before this invocation's deadline"
    return until, f"within {timeout:g} s"


def _deadline(context: "Any") -> "float | None":
    """Return when, on the monotonic clock, an answer is too late to be reported."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None or not getattr(context, "_epoch_deadline_time_in_ms", True):
        return None
    left = remaining()
    if not left and not environment.times_out:
        return None  # the code runs on after a time-out
    left = (left if left < _LONGEST_WAIT else _LONGEST_WAIT) / 1000
    # Near the end, half of what is left.
    return monotonic() + (left - _MARGIN if left > 2 * _MARGIN else left / 2)


def _to_log(lines: bytes) -> None:
    """Write whole lines of standard error to the log: as they are, or each as a record in JSON mode."""
    if logs.is_json():
        for line in lines.split(b"\n")[:-1]:
            logs.record("INFO", line.decode("utf-8", "backslashreplace").rstrip("\r"))
        return
    try:
        logs.write_whole(2, lines)
    except OSError:
        pass  # the function has closed it
