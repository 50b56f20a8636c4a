"""A program that is kept running: how it is asked, what its answer means, when it is started again.

How a process is run and watched is `process`'s. Knows neither the loop nor the wire.
"""

import posix
import sys
from _json import encode_basestring_ascii as _quote
from _queue import Empty, SimpleQueue
from _thread import get_ident
from time import monotonic, sleep

from samovar import codec, hooks, logs
from samovar.companion.process import Gone, Process, label
from samovar.environment import environment
from samovar.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_GIVE_UP = 4  # failures in a row; lambda_proc's number
_PAUSES = (0.0, 0.25, 1.0)  # seconds from the first, second, third failure in a row to the next start
_START_UP = 8.0  # seconds that INIT waits for a program to read; Lambda gives INIT 10
_MARGIN = 0.1  # seconds before the deadline that are kept for killing the process and reporting it
_GRACE = 0.3  # seconds from SIGTERM to SIGKILL; Lambda gives the whole shutdown 0.5
_SIGKILL, _SIGTERM = 9, 15
_BRACE = ord("}")
_LAYOUTS = (b'{"proc_req_id":%d,"error":null,"data":', b'{"proc_req_id": %d, "error": null, "data": ')
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
_LINE_SEPARATOR, _PARAGRAPH_SEPARATOR = b"\xe2\x80\xa8", b"\xe2\x80\xa9"


class Companion:
    """A program that is kept running and asked one event at a time. Keep it as a global: its start is then paid once.

    A process that fails is ended with all it started, and another is there for the next event. Threads may share a
    companion: each call gets a free worker, or waits for one. The program inherits the environment; what it writes to
    standard error goes to the log.
    """

    def __init__(self, args: "Sequence[str]", *, workers: int = 1) -> None:
        """Starts the program, and waits until it reads, for at most 8 seconds.

        args: the program and its arguments; a relative path begins at `LAMBDA_TASK_ROOT`, or here. workers: processes.
        Raises Fault (`Companion.NotStarted`, `.Ended`, `.BadAnswer`) when it cannot start, ends, or writes to standard
        output before it is asked.
        """
        if isinstance(args, str) or not args:
            raise TypeError(f"Companion({args!r}): give the program and its arguments as a list: ['./main', '--fast']")
        if workers < 1:
            raise ValueError(f"Companion: {workers} workers can answer nothing; at least 1 is needed")
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        self._workers = [_Worker(args) for _ in range(workers)]
        self._closed = False
        self._owner = posix.getpid()
        try:
            for worker in self._workers:
                worker.start()
            until = monotonic() + _START_UP
            for worker in self._workers:
                worker.wait_until_it_reads(until)
                self._free.put(worker)
        except BaseException:
            for worker in self._workers:
                worker.end()
            raise
        if environment.running:
            hooks.on_shutdown(self.close)
        else:
            import atexit

            atexit.register(self.close)

    def call(self, event: "Any", context: "Any" = None) -> "Any":
        """The program's answer to an event, both JSON values.

        context: what the program shall know of the invocation; that in flight by default. It gives the deadline:
        without one, the call waits as long as it takes. Raises Fault: `Companion.Error` or the program's own type for
        an error in the answer; `Companion.Ended`, `.Silent`, `.BadAnswer` when the process failed and was ended;
        `.NotStarted` when it could not be started again; `.Busy` when no worker was free in time. The fourth failure in
        a row ends the environment.
        """
        return self._call(codec.dumps(event), context)[0]

    def call_raw(self, event: bytes, context: "Any" = None) -> bytes:
        """As `call`, with event and answer as JSON documents.

        The event is not decoded unless the call fails, as the Invoke API lets nothing through but JSON; Fault
        `Runtime.UnmarshalError` then where it is none. The answer is decoded once, to be sure that it is JSON, and what
        is returned are the bytes that the program wrote.
        """
        value, document = self._call(event, context)
        return codec.dumps(value) if document is None else document

    def _call(self, event: bytes, context: "Any") -> "tuple[Any, bytes | None]":
        if self._closed:
            raise Fault("Companion.Ended", f"{self._workers[0].name} has been closed")
        if posix.getpid() != self._owner:
            kept = f"{self._workers[0].name} answers the process that started it"
            raise Fault("Companion.Forked", f"{kept}, of which this is a fork: start a Companion here")
        if context is None:
            context = environment.invocation and environment.invocation.context
        deadline = _deadline(context)
        try:
            worker = self._free.get(True, None if deadline is None else max(0.0, deadline - monotonic()))
        except Empty:
            busy = f"all {len(self._workers)} worker(s) of {self._workers[0].name} were busy"
            raise Fault("Companion.Busy", f"{busy} for as long as this invocation could wait") from None
        worker.caller = get_ident()
        try:
            return worker.call(event, _describe(context), deadline)
        finally:
            worker.caller = 0
            self._free.put(worker)

    def close(self) -> None:
        """Ends the program: SIGTERM, and SIGKILL after 0.3 seconds. A call in flight fails."""
        if self._closed or posix.getpid() != self._owner:
            return
        self._closed = True
        for worker in self._workers:
            worker.retire()
        until = monotonic() + _GRACE
        interrupted = [worker for worker in self._workers if worker.caller == get_ident()]  # by a signal, to come here
        for worker in interrupted:
            worker.end(until - monotonic())
        try:
            for _ in range(len(self._workers) - len(interrupted)):
                self._free.get(True, max(0.0, until - monotonic())).end(until - monotonic())
        except Empty:  # whoever is in a call sees the process gone, and clears up after it
            for worker in self._workers:
                worker.kill()
        atexit = sys.modules.get("atexit")
        if atexit is not None:
            atexit.unregister(self.close)

    def __enter__(self) -> "Companion":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _Worker:
    """One process, and the next one when that has failed."""

    def __init__(self, args: "Sequence[str]") -> None:
        self.name = label(args)
        self.caller = 0  # the thread whose call this worker is in
        self._args = list(args)
        self._process: Process | None = None
        self._failures = 0  # in a row
        self._not_before = 0.0  # on the monotonic clock: when the next process may start
        self._retired = False

    def start(self) -> Process:
        """Starts the process, unless it runs. Raises Fault (`Companion.NotStarted`)."""
        if self._retired:
            raise Fault("Companion.NotStarted", f"{self.name} has been closed")
        if self._process is None:
            folder = posix.environ.get(b"LAMBDA_TASK_ROOT", b".").decode(errors="surrogateescape")
            memory = int(posix.environ.get(b"AWS_LAMBDA_FUNCTION_MEMORY_SIZE") or 0)  # MB
            # An answer without end must not cost the environment its memory.
            largest = memory * (1 << 20) // 4 or sys.maxsize
            try:
                self._process = Process(self._args, folder, _environment(), _to_log, largest)
            except Gone as gone:
                raise Fault(f"Companion.{gone.kind}", str(gone)) from None
        return self._process

    def wait_until_it_reads(self, until: float) -> None:
        """Waits for the end of the program's start-up. Raises Fault where it ends, or writes, instead."""
        try:
            if not self.start().wait_until_it_reads(max(0.001, until - monotonic())):
                logs.write("WARNING", f"{self.name} does not read its standard input after {_START_UP:.0f} s; going on")
        except Gone as gone:
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
        process, self._process = self._process, None
        if process is not None:
            process.end(grace)

    def call(self, event: bytes, context: bytes, deadline: "float | None") -> "tuple[Any, bytes | None]":
        """The answer's data, and its JSON where the answer held it as it is. Raises Fault."""
        try:
            process, line = self._ask(_request(event, context), deadline)
            data, document, error = _answer(line, process)
        except Gone as gone:
            self.end()
            _must_be_json(event)
            raise self._failed(gone) from None
        except BaseException as exc:
            self.end()  # what it had been asked, or had answered in part, must not meet the next event
            if self._retired and isinstance(exc, OSError):
                raise Fault("Companion.Ended", f"{self.name} was closed in this call, by a signal's handler") from None
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
        if process is not None:
            try:
                process.check()
                return process, process.ask(request, deadline)
            except Gone as gone:
                if not gone.unread or (gone.kind == "BadAnswer" and not process.answered):  # it would do so again
                    raise
                self.end()
                logs.write("ERROR", f"It had no event, and is started again: {gone}")
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
        kind, text = f"Companion.{gone.kind}", str(gone)
        if self._failures >= _GIVE_UP:
            end = f"Failure {self._failures} in a row, the environment ends"
            return Fault(kind, f"{end}: {text}", fatal=True)
        pause = _PAUSES[self._failures - 1]
        self._not_before = monotonic() + pause
        if not pause and environment.running:
            hooks.defer(self.start)  # its start-up is on nobody's clock then
        return Fault(kind, text)


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
    left: float = remaining() / 1000
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
    takes for a line end (U+2028, U+2029) only in strings, where an escape is the same.
    """
    if b"\n" in event or b"\r" in event:
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
                return codec.loads(document), document, None
            except (ValueError, RecursionError):
                break  # more members than these three, or not JSON
    try:
        answer = codec.loads(line)
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
        codec.loads(event)
    except (ValueError, RecursionError) as exc:
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {exc}") from None


def _to_log(lines: bytes) -> None:
    """Whole lines of standard error to the log: as they are, or each as a record in JSON mode."""
    if logs.is_json():
        for line in lines.split(b"\n")[:-1]:
            logs.write("INFO", line.decode("utf-8", "backslashreplace").rstrip("\r"))
        return
    try:
        logs.write_whole(2, lines)
    except OSError:
        pass  # the function has closed it
