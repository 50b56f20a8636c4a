"""Answers of the Runtime API that are HTTP and not what it usually sends."""

from __future__ import annotations

from samovar.local.testing.scripted_api import RUNTIME, Answer, invocation
from tests.contract.harness import Event, Outcome, Run
from tests.contract.table import Batch, Solo, app

BATCHES: tuple[Batch, ...] = ()

_ECHO = app("""
    def handler(event, context):
        seen = context.client_context.custom if context.client_context else None
        return [event, context.aws_request_id, context._epoch_deadline_time_in_ms == 5, seen]
""")
_FAIL = app("def handler(event, context):\n    raise ValueError(event)\n")
_RESPONSE = f"POST {RUNTIME}/invocation/ID/response"
_ERROR = f"POST {RUNTIME}/invocation/ID/error"
_EVENT = invocation(b'{"n": 1}', "id-1").wire()
_TWICE = (
    b"\r\nLambda-Runtime-Aws-Request-Id: id-2\r\nLambda-Runtime-Deadline-Ms: 5"
    b'\r\nLambda-Runtime-Client-Context: {"custom":{}}\r\nLambda-Runtime-Client-Context: {}'
    b"\r\nContent-Length: 8\r\n\r\n"
)


def _event(name: str, raw: bytes, *, urllib3: bool = True) -> Solo:
    return Solo(f"wire-event-{name}", Run(_ECHO, (Answer(raw=raw, keep=True), Event(b"2"))), urllib3=urllib3)


def _taken(name: str, raw: bytes) -> Solo:
    answer = Answer(raw=raw, keep=True)
    return Solo(f"wire-result-{name}", Run(_ECHO, (Event(b"1"), Event(b"2")), answers=((_RESPONSE, answer),)))


def _lives_on(outcomes: list[Outcome]) -> bool:
    """The first failure is in the log, and the second event is handled."""
    first, second = outcomes[1:]
    return b"of this invocation was not acknowledged: POST" in first.stdout and len(second.requests) == 1


def _quoted(outcomes: list[Outcome]) -> bool:
    return [request.path for request in outcomes[1].requests] == [f"{RUNTIME}/invocation/a%2Fb%20c/response"]


SOLOS = (
    _event("continue", b"HTTP/1.1 100 Continue\r\n\r\n" + _EVENT),
    # http.client, below urllib3, passes over 100 alone.
    _event("early-hints", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + _EVENT, urllib3=False),
    _event("lf-alone", _EVENT.replace(b"\r\n", b"\n")),
    _event("beyond-length", _EVENT + b"more"),
    _event("twice", _EVENT.replace(b"\r\n\r\n", _TWICE)),
    _event("one-zero", _EVENT.replace(b"HTTP/1.1", b"HTTP/1.0")),
    _event("close-in-a-list", _EVENT.replace(b"\r\n\r\n", b"\r\nConnection: foo, Close\r\n\r\n")),
    _taken("continue", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"),
    _taken("ok", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    _taken("no-content", b"HTTP/1.1 204 No Content\r\n\r\n"),
    _taken("no-content-of-a-length", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
    _taken("beyond-length", b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nOK\r\n"),
    *(
        Solo(
            f"wire-refused-{call.rpartition('/')[2]}-{status}",
            Run(files, (Event(b"1"), Event(b"2")), answers=((call, Answer(status=status)),)),
            differs="refused",
            ours=_lives_on,
        )
        for call, files in ((_RESPONSE, _ECHO), (_ERROR, _FAIL))
        for status in (400, 403)
    ),
    *(
        Solo(
            f"wire-server-error-{call.rpartition('/')[2]}",
            Run(files, (Event(b"1"), Event(b"2")), answers=((call, Answer(status=500)),)),
            differs="server-error",
            ours=lambda outcomes: outcomes[-1].exit == 1 and b": status 500 where 202 was" in outcomes[-1].stderr,
        )
        for call, files in ((_RESPONSE, _ECHO), (_ERROR, _FAIL))
    ),
    Solo(
        "wire-lost-answer",
        Run(_ECHO, (Event(b"1"), Event(b"2")), answers=((_RESPONSE, Answer(raw=b"")),)),
        differs="lost-answer",
        ours=lambda outcomes: _lives_on(outcomes) and b"it is not known whether it was taken" in outcomes[1].stdout,
    ),
    Solo(
        "wire-request-id-quoted",
        Run(_ECHO, (Event(b"1", "a/b c"), Event(b"2"))),
        differs="request-id-quoted",
        ours=_quoted,
    ),
)
