"""Every way in which Samovar is seen to differ from the official client, and why. A case names one or must be the same.

`make compatibility` writes docs/compatibility.md from these, and a test compares the two.
"""

from __future__ import annotations

from typing import NamedTuple


class Difference(NamedTuple):
    """A deviation on purpose. `title` and `reason` are the page's words."""

    title: str
    reason: str
    by_version: bool = False
    """Some of its cases differ only with some versions of Python."""


EXCHANGE = {  # left out of the comparison by the harness, and held by tests of their own
    "compact-json": Difference(
        "JSON is written compact and in UTF-8",
        "Fewer bytes to encode and send: no space after `,` and `:`, no `\\u` escapes but where UTF-8 has no bytes. "
        "The values are the same",
    ),
    "error-type-header": Difference(
        "`Lambda-Runtime-Function-Error-Type` on invocation errors",
        "The Runtime API documents it; the official client sends it for INIT errors only",
    ),
    "init-content-type": Difference(
        "`Content-Type: application/json` on `/init/error` and `/restore/error`",
        "The body is JSON; the official client sends no content type there",
    ),
    "user-agent": Difference("`User-Agent`", "It names the runtime that asks"),
    "start-record": Difference(
        "At DEBUG, INIT logs the runtime's version and interpreter",
        "So that an operator can see which runtime runs; the official client logs nothing there",
    ),
    "update-warning": Difference(
        "No warning about managed-runtime updates when INIT fails",
        "A custom runtime is updated with the function, so the advice would mislead",
    ),
    "init-frames": Difference(
        "Stack traces of INIT begin with the function's own frames",
        "The official client shows six frames of `importlib` first",
    ),
    "call-frame": Difference(
        "The stack trace of a call that never entered the handler is empty",
        "Wrong arity, or not callable: the official client shows its own frame",
    ),
}
VALUES = {
    "richer-results": Difference(
        "dataclass, datetime, date, time, UUID and Enum are serialised",
        "The official client answers with Runtime.MarshalError",
    ),
    "coroutine": Difference(
        "A coroutine that the handler returns is awaited",
        "On one event loop for the life of the environment, whatever decorators are around the `async def`. "
        "The official client answers with Runtime.MarshalError",
    ),
    "stream": Difference(
        "A generator, or another iterator, that the handler returns is streamed",
        "Also an async one, and of a generator function. Its items are bytes or str: [Streaming](streaming.md). "
        "The official client answers with Runtime.MarshalError",
    ),
    "nan-event": Difference(
        "NaN and infinities in an event are read",
        "As Python's `json` does; the official client's simplejson refuses them. "
        "Lambda lets none through: the Invoke API takes JSON only",
    ),
    "json-wording": Difference(
        "The words after `Unable to unmarshal input:` and `Unable to marshal response:`",
        "Error type and prefix are the same; "
        "the rest is Python's own `json` message where it differs from simplejson's",
        by_version=True,
    ),
}
SURVIVED = {
    "attached-fails": Difference(
        "A failure in what replaces `handle_event_request` or a post is reported, and the environment lives on",
        "As the failure of the invocation, or in the log, and the response is posted. The official client exits",
    ),
    "response-too-large": Difference(
        "A result over 6,291,556 bytes is reported and the environment lives on",
        "The official client raises at the API's 413 and exits, which costs a new INIT",
    ),
    "refused": Difference(
        "A result or an error that the Runtime API refuses (4xx) is logged, and the environment lives on",
        "The platform knows what became of the invocation. The official client exits, which costs a new INIT",
    ),
    "lost-answer": Difference(
        "A result whose connection is lost before the answer is logged, and the environment lives on",
        "It is not known whether it was taken, so neither client posts it again. The official client exits",
    ),
    "missing-content-type": Difference(
        "An event without a content type is handled",
        "As JSON; one with an empty content type as bytes. The official client crashes (SIGSEGV)",
    ),
    "bad-deadline": Difference(
        "A deadline that is no number is handled",
        "An error of that invocation, 0 where it is empty. The official client aborts",
    ),
    "exception-without-text": Difference(
        "An exception whose `__str__` fails is reported",
        "With a remark instead of its message. The official client exits",
    ),
    "lone-surrogate-log": Difference(
        "A failure whose message has a lone surrogate is reported",
        "Escaped in the log, as it is in the error JSON. The official client exits when it writes its text log",
    ),
    "error-too-large": Difference(
        "An error over 6,291,556 bytes is reported with the beginning of its message",
        "The Runtime API refuses a larger one, which costs the environment; the log has all of it",
    ),
    "log-closed": Difference(
        "A failure that cannot be logged is reported",
        "The handler has closed `sys.stdout`, descriptor 1 or the telemetry descriptor. The official client exits",
    ),
    "folder-removed": Difference(
        "A failure in a working directory that the handler has removed is reported",
        "Its name is left empty in the X-Ray cause. The official client exits",
    ),
    "cancelled": Difference(
        "A CancelledError is a failure of its invocation",
        "It is no Exception to Python: the official client exits",
    ),
    "alarm": Difference(
        "An alarm that an invocation leaves behind is cancelled",
        "Set by `signal.alarm`, or `signal.setitimer` without an interval. With the official client it goes off in the "
        "next invocation, or ends the process",
    ),
    "memory": Difference(
        "A failure is reported when the handler has used up the memory and keeps it",
        "4 MB of address space are kept back for that. The official client exits",
    ),
    "no-imports": Difference(
        "A failure is reported without its stack where nothing can be imported any more",
        "The handler has emptied `sys.modules` or `sys.meta_path`. What a report needs is imported with the first one, "
        "so that no cold start pays for it",
    ),
    "managed-lone-surrogate": Difference(
        "A lone surrogate in a result is escaped whatever `AWS_EXECUTION_ENV` says",
        "With that of Python 3.12 and later the official client exits",
    ),
    "request-id-quoted": Difference(
        "A request id goes percent-encoded into the path",
        "The official client puts it there as it is: one with a slash is another path, at a space it exits",
    ),
}
SNAPSHOT = {
    "reseeded": Difference(
        "A restored environment has random numbers of its own",
        "`random`, `tempfile`, OpenSSL and numpy's global generator are seeded anew. With the official client `random` "
        "gives the same numbers in all environments that are restored from one snapshot",
    ),
    "hook-coroutine": Difference(
        "A hook that is a coroutine function is run to its end",
        "The official client calls it, and does not await what it returns",
    ),
    "restore-refused": Difference(
        "The message when the Runtime API refuses `/restore/next`",
        "It names the call and the status. Both post `Runtime.BeforeSnapshotError` and exit with 64",
    ),
}
LOGS = {
    "chained": Difference(
        "Causes, contexts, notes and the members of a group are in the log",
        "After the official lines, or as `cause`, `context`, `notes` and `exceptions` in a JSON record. "
        "The error JSON is the official one",
    ),
    "json-record": Difference(
        "A JSON log record is JSON whatever it holds",
        "NaN, infinities, keys that are no strings and a container in itself are logged as their text. "
        "The official client writes NaN, which is no JSON, and raises into the handler for the others",
    ),
    "log-encoding": Difference(
        "Log records are in UTF-8 whatever encoding `sys.stdout` has",
        "A lone surrogate is escaped. The official client raises into the handler, and exits where it cannot write "
        "the record of a failure",
    ),
    "traceback-line-end": Difference(
        "A text record with a traceback ends with a line end",
        "With the official client the next record begins on the traceback's last line",
    ),
    "exc-info-without-exception": Difference(
        "`exc_info=True` with no exception is logged as JSON",
        "The official client's formatter raises AttributeError into the handler",
    ),
    "preview-warning": Difference(
        "The preview warning of Python 3.15 is not logged",
        "It speaks of a managed runtime",
    ),
}
PROCESS = {
    "shadowed-stdlib": Difference(
        "A module of the function may have the name of one of Python's",
        "A `json.py` or `types.py` beside the handler keeps the official client from starting, a `traceback.py` from "
        "living through the first failure",
    ),
    "forked-child": Difference(
        "A child that the handler forks posts nothing, and asks for no event",
        "When it leaves the handler, its failure is logged and it exits with 1. With the official client it answers in "
        "its parent's place, and both read the events of one connection",
    ),
    "native-stdout": Difference(
        "`sys.stdout` and `sys.stderr` are Python's own streams, unbuffered",
        "`write` returns the count and leaving `with sys.stdout` closes it, as everywhere; "
        "the official client wraps them",
    ),
    "replaced-elsewhere": Difference(
        "What is replaced elsewhere in the official client has no effect",
        "Samovar calls what is put in the place of `bootstrap.handle_event_request`, of the `post_` methods of "
        "`LambdaRuntimeClient`, and of its `marshaller`. The other functions, and the module `runtime_client`, are not "
        "on an event's way here",
    ),
}
WORDS = {
    "request-id-refused": Difference(
        "The message for an answer to `/next` without a usable request id",
        "One line on stderr that names the call; both exit with 1",
    ),
    "recursion-depth": Difference(
        "How deep a RecursionError is",
        "There are fewer frames of the runtime below the handler, so it has a few more of its own",
    ),
    "log-handler-frames": Difference(
        "Frames inside the log handler when a record cannot be formatted",
        "They are the runtime's own, between the caller's and `logging`'s",
    ),
    "server-error": Difference(
        "At a 5xx the environment ends with one line on stderr",
        'Both exit with 1, as the Runtime API\'s guide asks ("Runtime should exit promptly"); '
        "the official client shows a traceback",
    ),
}

GROUPS = {
    "In every exchange": EXCHANGE,
    "In values": VALUES,
    "Where the official client fails or ends its environment": SURVIVED,
    "With SnapStart": SNAPSHOT,
    "In the log": LOGS,
    "In the process around the handler": PROCESS,
    "In messages and stack traces": WORDS,
}
DIFFERENCES = {name: difference for group in GROUPS.values() for name, difference in group.items()}
