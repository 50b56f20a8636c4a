"""A program that is kept running: how it is asked, what its answer means, when it is started again.

How a process is run and watched is `process`'s. Knows neither the loop nor the wire.
"""

import posix
import sys
from _json import encode_basestring_ascii as _quote
from _queue import Empty, SimpleQueue
from _thread import get_ident
from _weakref import ref
from time import monotonic, sleep

from samovar import codec, companion, hooks, logs
from samovar.companion.process import EBADF, Gone, Process, Program
from samovar.environment import environment
from samovar.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike
    from typing import Any, TypeVar

    from samovar.context import LambdaContext

    T = TypeVar("T")

_GIVE_UP = 4  # failures in a row; lambda_proc's number
_PAUSES = (0.0, 0.25, 1.0)  # seconds from the first, second, third failure in a row to the next start
_START_UP = 8.0  # seconds that INIT waits for a program to read; Lambda gives INIT 10
_MARGIN = 0.1  # seconds before the deadline that are kept for killing the process and reporting it
_GRACE = 0.3  # seconds from SIGTERM to SIGKILL; Lambda gives the whole shutdown 0.5
_FURTHEST = (1 << 31) - 1  # ms; poll takes no longer wait, and no invocation lasts 24 days
_SIGKILL, _SIGTERM = 9, 15
_BRACE = ord("}")
_LAYOUTS = (b'{"proc_req_id":%d,"error":null,"data":', b'{"proc_req_id": %d, "error": null, "data": ')
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
_LINE_SEPARATOR, _PARAGRAPH_SEPARATOR = b"\xe2\x80\xa8", b"\xe2\x80\xa9"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Companion:
    """A program that is kept running and asked one event at a time. Keep it as a global: its start is then paid once.

    A process that fails is ended with all it started, and another is there for the next event. Threads may share a
    companion: each call gets a free worker, or waits for one. The program inherits the environment; what it writes to
    standard error goes to the log.
    """

    _owner = 0  # the process that has something to close

    def __init__(self, args: "Sequence[str | PathLike[str]]", *, workers: int = 1) -> None:
        """Starts the program, and waits until it reads, for at most 8 seconds, or until the invocation's time is up.

        args: the program and its arguments; a relative path begins at `LAMBDA_TASK_ROOT`, or here. workers: processes.
        A process that is started later has the same path, working directory and environment. Raises Fault
        (`Companion.NotStarted`, `.Ended`, `.BadAnswer`) when it cannot start, ends, or writes to standard output before
        it is asked.
        """
        command = _command(args)
        if workers < 1:
            raise ValueError(f"Companion: {workers} workers can answer nothing; at least 1 is needed")
        folder = posix.environ.get(b"LAMBDA_TASK_ROOT", b"").decode(errors="surrogateescape")
        memory = int(posix.environ.get(b"AWS_LAMBDA_FUNCTION_MEMORY_SIZE") or 0)  # MB
        try:
            program = Program(command, folder, _environment())
        except Gone as gone:
            raise Fault(f"Companion.{gone.kind}", str(gone)) from None
        self._name = program.name
        # An answer without end must not cost the environment its memory.
        self._workers = [_Worker(program, memory * (1 << 20) // 4 or sys.maxsize) for _ in range(workers)]
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        self._closed = False
        self._farewell = _farewell(ref(self))
        self._owner = posix.getpid()
        try:
            if environment.running:
                hooks.on_shutdown(self._farewell)
            else:
                import atexit

                atexit.register(self._farewell)
            for worker in self._workers:
                worker.start()
            until = _start_up_ends()
            for worker in self._workers:
                worker.wait_until_it_reads(until)
            self._give_back(list(self._workers))
        except BaseException:
            self.close()
            for worker in self._workers:
                worker.end()
            raise

    def call(self, event: "Any", context: "Any" = None) -> "Any":
        """The program's answer to an event, both JSON values.

        context: what the program shall know of the invocation; that in flight by default. It gives the deadline:
        without one, the call waits as long as it takes. Raises TypeError or ValueError where event is no JSON value.
        Raises Fault: `Companion.Error` or the program's own type for an error in the answer; `Companion.Ended`,
        `.Silent`, `.BadAnswer` when the process failed and was ended; `.NotStarted` when it could not be started again;
        `.Busy` when no worker was free in time. The fourth failure in a row ends the environment, unless it is caught.
        """
        return self._call(companion.dumps(event), context)[0]

    def call_raw(self, event: bytes, context: "Any" = None) -> bytes:
        """As `call`, with event and answer as JSON documents.

        The event is decoded only where it has a line end or the call fails, as the Invoke API lets nothing through but
        JSON; Fault `Runtime.UnmarshalError` then where it is none. The answer is decoded once, to be sure that it is
        JSON; what is returned are the bytes that the program wrote, or those of its values where the layout is unusual.
        """
        value, document = self._call(event, context)
        return codec.dumps(value) if document is None else document

    def _call(self, event: bytes, context: "Any") -> "tuple[Any, bytes | None]":
        if self._closed:
            raise Fault("Companion.Ended", f"{self._name} has been closed")
        if posix.getpid() != self._owner:
            kept = f"{self._name} answers the process that started it"
            raise Fault("Companion.Forked", f"{kept}, of which this is a fork: start a Companion here")
        if context is None:
            context = _context()
        deadline = _deadline(context)
        request = _request(event, _describe(context))
        wait = None if deadline is None else max(0.0, deadline - monotonic())
        try:
            return self._with_worker(wait, lambda worker: worker.call(event, request, deadline))
        except Empty:
            busy = f"all {len(self._workers)} worker(s) of {self._name} were busy"
            raise Fault("Companion.Busy", f"{busy} for as long as this invocation could wait") from None
        except BaseException:
            if environment.running and any(worker.may_start() for worker in self._workers):
                hooks.defer(self._replace)
            raise

    def _with_worker(self, wait: "float | None", use: "Callable[[_Worker], T]") -> "T":
        """Return use(worker), of a worker that no other call has. Raise Empty when none is free within wait seconds.

        The handler of a signal may raise between any two instructions: a worker is either in the queue or in `held`.
        """
        held: list[_Worker] = []
        try:
            try:
                held.extend(map(self._free.get, (True,), (wait,)))
                held[0].caller = get_ident()
                return use(held[0])
            finally:
                self._give_back(held)
        finally:
            if held:  # the first was interrupted
                self._give_back(held)

    def _give_back(self, held: "list[_Worker]") -> None:
        for worker in held:
            if self._closed:
                worker.end()
            worker.caller = 0
        any(map(self._free.put, map(held.pop, (-1,) * len(held))))

    def _replace(self) -> None:
        """Start the processes that are missing, and wait until they read: the next caller finds them there."""
        for _ in self._workers:
            try:
                self._with_worker(0.0, _Worker.replace)
            except Empty:
                return

    def close(self) -> None:
        """Ends the program: SIGTERM, and SIGKILL after 0.3 seconds. A call in flight fails."""
        if not self._owner or posix.getpid() != self._owner:
            return
        self._closed = True
        for worker in self._workers:
            worker.retire()
        until = monotonic() + _GRACE
        interrupted = [worker for worker in self._workers if worker.caller == get_ident()]  # by a signal, to come here
        for worker in interrupted:
            worker.end(until - monotonic())
        held: list[_Worker] = []
        try:
            for _ in range(len(self._workers) - len(interrupted)):
                held.extend(map(self._free.get, (True,), (max(0.0, until - monotonic()),)))
                held[-1].end(until - monotonic())
        except Empty:  # whoever is in a call sees the process gone, and clears up after it
            for worker in self._workers:
                worker.kill()
        finally:
            self._give_back(held)  # a call that waits for a worker fails then
        hooks.not_on_shutdown(self._farewell)
        atexit = sys.modules.get("atexit")
        if atexit is not None:
            atexit.unregister(self._farewell)
        self._owner = 0

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> "Companion":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


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
        """Starts the process, unless it runs. Raises Fault (`Companion.NotStarted`)."""
        process = self._process
        if process is None and not self._retired:
            try:
                process = self._process = Process(self._program, _to_log, self._largest)
                process.start()
            except Gone as gone:
                self.end()
                raise Fault(f"Companion.{gone.kind}", str(gone)) from None
            if self._retired:  # by another thread, meanwhile
                process.end()
        if process is None or self._retired:
            raise Fault("Companion.NotStarted", f"{self.name} has been closed")
        return process

    def replace(self) -> None:
        """Start the process if it is missing, and wait until it reads."""
        if self.may_start():
            self.wait_until_it_reads(_start_up_ends())

    def may_start(self) -> bool:
        """Return whether there is no process, and one may be started now."""
        return self._process is None and not self._retired and self._not_before <= monotonic()

    def wait_until_it_reads(self, until: float) -> None:
        """Waits for the end of the program's start-up. Raises Fault where it ends, or writes, instead."""
        seconds = max(0.001, until - monotonic())
        try:
            if not self.start().wait_until_it_reads(seconds):
                waited = f"does not read its standard input after {seconds:.3g} s"
                logs.record("WARNING", f"{self.name} {waited}; going on")
        except Gone as gone:
            self.end()
            raise Fault(f"Companion.{gone.kind}", str(gone)) from None

    def retire(self) -> None:
        """Asks the process to end. It is not started again."""
        self._retired = True
        if self._process is not None:
            self._process.signal(_SIGTERM)

    def kill(self) -> None:
        """Kills the process, and leaves the rest to the call that it is in."""
        if self._process is not None:
            self._process.signal(_SIGKILL)

    def end(self, grace: float = 0.0) -> None:
        """Kills the process after grace seconds, unless it has ended by then."""
        if (process := self._process) is not None:
            process.end(grace)
            self._process = None

    def call(self, event: bytes, request: bytes, deadline: "float | None") -> "tuple[Any, bytes | None]":
        """The answer's data, and its JSON where the answer held it as it is. Raises Fault."""
        try:
            process, line = self._ask(request, deadline)
            data, document, error = _answer(line, process)
        except Gone as gone:
            self.end()
            _must_be_json(event)
            raise self._failed(gone) from None
        except BaseException as exc:
            self.end()  # what it had been asked, or had answered in part, must not meet the next event
            if isinstance(exc, OSError) and exc.errno == EBADF:
                by = (
                    "in this call, by a signal's handler"
                    if self._retired
                    else "by the function: its descriptors are gone"
                )
                raise Fault("Companion.Ended", f"{self.name} was closed {by}") from None
            raise
        self._failures = 0
        if error is not None:
            _must_be_json(event)
            raise error
        return data, document

    def _ask(self, request: bytes, deadline: "float | None") -> "tuple[Process, bytes]":
        """The line that answers, and who wrote it. Where the process has ended since its last answer, another gets the
        request, so that no event is lost.
        """
        process = self._process
        if process is not None and not process.ready:
            self.end()  # a call was interrupted: it would be answered in the next one's place
        elif process is not None:
            try:
                process.check()
                return process, process.ask(request, deadline)
            except Gone as gone:
                if not gone.unread or (gone.kind == "BadAnswer" and not process.answered):  # it would do so again
                    raise
                self.end()
                logs.record("ERROR", f"It had no event, and is started again: {gone}")
        pause = self._not_before - monotonic()
        if deadline is not None:
            pause = min(pause, (deadline - monotonic()) / 2)
        if pause > 0:
            sleep(pause)
        try:
            process = self.start()
        except Fault as fault:
            raise Gone("NotStarted", fault.message) from None
        return process, process.ask(request, deadline)

    def _failed(self, gone: "Gone") -> Fault:
        self._failures += 1
        self._not_before = monotonic() + _PAUSES[min(self._failures, len(_PAUSES)) - 1]
        kind, text = f"Companion.{gone.kind}", str(gone)
        if self._failures < _GIVE_UP:
            return Fault(kind, text)
        return Fault(kind, f"Failure {self._failures} in a row, the environment ends: {text}", fatal=True)


def _command(args: "Sequence[str | PathLike[str]]") -> "list[str]":
    """Return the program and its arguments as strings."""
    if isinstance(args, (str, bytes)) or hasattr(args, "__fspath__") or not args:
        raise TypeError(f"Companion({args!r}): give the program and its arguments as a list: ['./main', '--fast']")
    command = []
    for arg in args:
        try:
            path = posix.fspath(arg)
        except TypeError:
            raise TypeError(f"Companion({args!r}): {arg!r} is no string and no path") from None
        command.append(path if isinstance(path, str) else path.decode(errors="surrogateescape"))
    return command


def _farewell(there: "ref[Companion]") -> "Callable[[], None]":
    """Return what closes a companion at the end of the environment, without keeping it until then."""

    def close() -> None:
        if (companion := there()) is not None:
            companion.close()

    return close


def _context() -> "LambdaContext | None":
    """Return the context of the invocation in flight."""
    invocation = environment.invocation
    return None if invocation is None else invocation.context


def _start_up_ends() -> float:
    """Return the time on the monotonic clock at which a program's start-up is no longer waited for."""
    latest = monotonic() + _START_UP
    deadline = _deadline(_context())
    return latest if deadline is None else min(latest, deadline)


def _environment() -> "Mapping[bytes, bytes]":
    """Ours, and where a Python child finds `samovar.companion`, behind its own paths."""
    place = __file__.rpartition("/samovar/")[0]
    if place.endswith("-packages"):
        return posix.environ  # a child of this interpreter finds it, another must not look there
    paths = [path for path in (posix.environ.get(b"PYTHONPATH"), place.encode(errors="surrogateescape")) if path]
    return {**posix.environ, b"PYTHONPATH": b":".join(paths)}


def _deadline(context: "Any") -> "float | None":
    """When, on the monotonic clock, an answer is too late to be reported."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None or not getattr(context, "_epoch_deadline_time_in_ms", True):
        return None
    left: float = min(remaining(), _FURTHEST) / 1000
    return monotonic() + left - min(_MARGIN, left / 2)


_VARIES = "\1"  # a character that no name holds, for what differs from invocation to invocation
_template: "tuple[tuple[object, ...], bytes]" = ((), b"")


def _describe(context: "Any") -> bytes:
    """The context as the protocol has it: lambda_proc's eight members, which are Node's of 2015, and ours.

    All but four values stay the same while function, version and tenant do; they are encoded once.
    """
    global _template
    get = context.__dict__.get if hasattr(context, "__dict__") else {}.get
    version = get("function_version") or ""
    function = (
        get("function_name") or "",
        version,
        get("log_group_name") or "",
        get("log_stream_name") or "",
        get("memory_limit_in_mb") or "",
        get("invoked_function_arn") or "",
        get("tenant_id") or "",
    )
    known, template = _template
    if known != function:
        described = {
            "awsRequestId": _VARIES,
            "functionName": function[0],
            "functionVersion": version,
            "invokeid": _VARIES,
            "isDefaultFunctionVersion": version == "$LATEST",
            "logGroupName": function[2],
            "logStreamName": function[3],
            "memoryLimitInMB": function[4],
            "deadlineMs": _VARIES,
            "invokedFunctionArn": function[5],
            "traceId": _VARIES,
            "tenantId": function[6],
        }
        template = codec.dumps(described).replace(b"%", b"%%").replace(codec.dumps(_VARIES), b"%b")
        _template = function, template
    request_id = _quote(get("aws_request_id") or "").encode()
    deadline = b"%d" % (get("_epoch_deadline_time_in_ms") or 0)
    trace_id = _quote(posix.environ.get(b"_X_AMZN_TRACE_ID", b"").decode("utf-8", "surrogateescape")).encode()
    return template % (request_id, request_id, deadline, trace_id)


def _request(event: bytes, context: bytes) -> bytes:
    """One line. JSON allows a line end only between tokens, where a space is the same; and what else Node's readline
    takes for a line end (U+2028, U+2029) only in strings, where an escape is the same. Raises Fault where the event has
    a line end and is no JSON.
    """
    event = event.removeprefix(_BYTE_ORDER_MARK)
    if b"\n" in event or b"\r" in event:
        _must_be_json(event)
        event = event.translate(_ONE_LINE)
    if b"\xe2" in event and b"\xe2\x80" in event:  # one byte is found faster than two
        event = event.replace(_LINE_SEPARATOR, b"\\u2028").replace(_PARAGRAPH_SEPARATOR, b"\\u2029")
    return b"".join((b'{"event":', event, b',"context":', context, b"}\n"))


def _answer(line: bytes, process: Process) -> "tuple[Any, bytes | None, Fault | None]":
    """The data of an answer, its JSON where the line has it in the usual layout, the error. Raises Gone."""
    number = process.answered - 1
    for layout in _LAYOUTS:
        head = layout % number
        if line.startswith(head) and line[-1] == _BRACE and line[len(head)] < 0x80:  # not a byte order mark
            document = line[len(head) : -1]
            try:
                return companion.loads(document), document, None
            except (ValueError, RecursionError):
                break  # more members than these three, or not JSON
    try:
        answer = companion.loads(line)
    except (ValueError, RecursionError) as exc:
        raise process.bad(f"gave a line that is not JSON ({exc})", line) from None
    if not isinstance(answer, dict) or "proc_req_id" not in answer:
        raise process.bad("gave a line that is no answer, as it has no proc_req_id", line)
    if answer["proc_req_id"] != number:
        wrong = f"answered with proc_req_id {answer['proc_req_id']!r} where {number} was asked"
        raise process.bad(f"{wrong} (they are counted from 0, anew in each process)", line)
    error = answer.get("error")
    return answer.get("data"), None, None if error is None else _error(error)


def _error(error: "Any") -> Fault:
    """The failure that an answer reports: `Type: message` under that type, where the first word looks like one."""
    text = error if isinstance(error, str) else codec.dumps(error).decode()
    kind, colon, message = text.partition(":")
    plain = kind.replace(".", "").replace("_", "")
    if colon and len(kind) <= 100 and plain.isascii() and plain.isalnum() and kind.rpartition(".")[2][:1].isupper():
        return Fault(kind, message.strip())
    return Fault("Companion.Error", text)


def _must_be_json(event: bytes) -> None:
    """An event that is no JSON is the caller's failure, whatever the program has made of it."""
    try:
        companion.loads(event)
    except (ValueError, RecursionError) as exc:
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {exc}") from None


def _to_log(lines: bytes) -> None:
    """Whole lines of standard error to the log: as they are, or each as a record in JSON mode."""
    if logs.is_json():
        for line in lines.split(b"\n")[:-1]:
            logs.record("INFO", line.decode("utf-8", "backslashreplace").rstrip("\r"))
        return
    try:
        logs.write_whole(2, lines)
    except OSError:
        pass  # the function has closed it
