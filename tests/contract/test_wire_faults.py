"""A Runtime API that misbehaves: what is tolerated, what ends the process; no event is lost and no answer repeated."""

from __future__ import annotations

import re
import socket
import subprocess
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from samovar.local.testing.scripted_api import NEXT, RESPONSE_LIMIT, Answer, ScriptedRuntimeApi, invocation
from tests.contract.harness import OURS, OURS_URLLIB3, Outcome, Run, command, environment, execute
from tests.contract.table import app

pytestmark = pytest.mark.parametrize("runtime", [OURS, OURS_URLLIB3], ids=["wire", "urllib3"])

ECHO = app("def handler(event, context):\n    return event\n")
BODY = b'{"text":"' + b"0123456789" * 30 + b'"}'
RESPONSE = "POST /2018-06-01/runtime/invocation/ID/response"
ERROR = "POST /2018-06-01/runtime/invocation/ID/error"

# Returns once the kernel has seen the server close the connection to the Runtime API: the next call finds it closed.
UNTIL_CLOSED = app("""
    import os

    PORT = ":%04X" % int(os.environ["AWS_LAMBDA_RUNTIME_API"].rpartition(":")[2])

    def closed():
        with open("/proc/self/net/tcp") as table:
            rows = [line.split() for line in table]
        return any(row[2].endswith(PORT) and row[3] == "08" for row in rows[1:])  # 08: CLOSE_WAIT

    def handler(event, context):
        while not closed():
            pass
        return event
""")


def responses(outcomes: Sequence[Outcome]) -> list[tuple[str, bytes]]:
    """(request id, body) of every result posted."""
    return [
        (request.path.split("/")[4], request.body)
        for outcome in outcomes
        for request in outcome.requests
        if request.call == RESPONSE
    ]


def events(count: int, **wire: Any) -> tuple[Answer, ...]:
    """So many events with ids and bodies of their own."""
    return tuple(invocation(b"%d" % n, f"id-{n}", **wire) for n in range(count))


def expected(count: int) -> list[tuple[str, bytes]]:
    """What must be posted for them: each once, in order."""
    return [(f"id-{n}", b"%d" % n) for n in range(count)]


@pytest.mark.parametrize(
    "wire",
    [
        {"chunk": 1},
        {"chunk": 7},
        {"chunk": 1000},
        {"piece": 1},
        {"piece": 3},
        {"piece": 64},
        {"chunk": 5, "piece": 1},
        {"chunk": 100, "piece": 7},
        {"case": str.upper},
        {"case": str.lower},
        {"case": str.swapcase},
    ],
    ids=lambda wire: "-".join(f"{key}-{getattr(value, '__name__', value)}" for key, value in wire.items()),
)
def test_any_form_of_answer_is_read(runtime: str, wire: dict[str, Any]) -> None:
    answers = (
        invocation(BODY, "first", headers=[("Lambda-Runtime-Invocation-Id", "inv-1")], **wire),
        invocation(b"2", "second", **wire),
    )
    accepted = Answer(b'{"status":"OK"}', 202, **wire)
    outcomes = execute(Run(ECHO, answers, answers=((RESPONSE, accepted), (RESPONSE, accepted))), runtime)
    assert responses(outcomes) == [("first", BODY), ("second", b"2")]
    assert outcomes[1].post.invocation_id == "inv-1"
    assert outcomes[-1].stderr == b""


@pytest.mark.parametrize("close", ["announced", "silent"])
def test_connection_closed_after_an_event(runtime: str, close: str) -> None:
    """The response goes over a new connection, once."""
    files = UNTIL_CLOSED if close == "silent" else ECHO
    outcomes = execute(Run(files, events(5, close=close)), runtime)
    assert responses(outcomes) == expected(5)
    assert len({outcome.requests[0].connection for outcome in outcomes[1:]}) == 5
    assert outcomes[-1].stderr == b""


@pytest.mark.parametrize("close", ["announced", "silent"])
def test_connection_closed_after_a_result(runtime: str, close: str) -> None:
    """/next goes over a new connection, and no event is taken twice or dropped."""
    accepted = Answer(status=202, close=close)  # type: ignore[arg-type]
    outcomes = execute(Run(ECHO, events(20), answers=((RESPONSE, accepted),) * 20), runtime)
    assert responses(outcomes) == expected(20)
    assert len({outcome.requests[0].connection for outcome in outcomes[1:]}) == 20
    assert outcomes[-1].stderr == b""


def test_connection_closed_in_place_of_an_event(runtime: str) -> None:
    """As when the API's own idle time-out strikes: /next is asked again, once."""
    outcomes = execute(Run(ECHO, (*events(1), Answer(raw=b""), invocation(b"1", "id-1"))), runtime)
    assert responses(outcomes) == expected(2)


def died_at_next(outcomes: list[Outcome]) -> str:
    """What the process said of /next when it ended."""
    last = outcomes[-1]
    assert last.exit == 1
    said = last.stderr.decode()
    assert said.startswith(f"samovar: {NEXT}: "), said
    assert said.count("\n") == 1, "one line, no traceback"
    return said


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (Answer(raw=b"SSH-2.0-OpenSSH_9.6\r\n"), "not HTTP"),
        (Answer(raw=b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" * 20), "not HTTP"),
        (Answer(raw=b"HTTP/1.1 two hundred\r\n\r\n"), "not HTTP"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"), "Content-Length"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}"), "Content-Length"),
        (
            Answer(b'{"errorMessage":"broken"}', 500),
            'status 500 where 200 was expected: b\'{"errorMessage":"broken"}\'',
        ),
        (Answer(b"", 403), "status 403 where 200 was expected"),
        (Answer(b"", 202), "status 202 where 200 was expected"),
        (invocation(BODY, cut=-1), "truncated"),
        (invocation(BODY, cut=-200), "truncated"),
        (invocation(BODY, chunk=50, cut=-100), "truncated"),
        (invocation(BODY, chunk=50, cut=-5), "truncated"),
        (invocation(BODY, cut=60), ""),
        (
            Answer(
                raw=b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
            ),
            "chunk size",
        ),
    ],
)
def test_unusable_answer_to_next_ends_the_process(runtime: str, answer: Answer, what: str) -> None:
    outcomes = execute(Run(ECHO, (*events(1), answer, *events(1))), runtime)
    said = died_at_next(outcomes)
    if runtime == OURS or what.startswith("status"):
        assert what in said
    assert responses(outcomes) == expected(1)


@pytest.mark.parametrize(
    ("request_id", "segment"),
    [
        ("a.b", "a.b"),
        ("a_b~", "a_b~"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a b", "a%20b"),
        ("a%2Fb", "a%252Fb"),
        ("a?b", "a%3Fb"),
        ("a#b", "a%23b"),
        ("\u00c3\u00a9", "%C3%A9"),  # é: headers are bytes, given here decoded as Latin-1
        ("\u00e9", "%E9"),
        ("a\tb", "a%09b"),
        ("../../../2018-06-01/x", "..%2F..%2F..%2F2018-06-01%2Fx"),
    ],
)
@pytest.mark.parametrize(
    ("call", "body"), [("response", "return context.aws_request_id"), ("error", "raise ValueError(event)")]
)
def test_any_request_id_is_served(runtime: str, request_id: str, segment: str, call: str, body: str) -> None:
    source = app(f"def handler(event, context):\n    {body}\n")
    outcomes = execute(Run(source, (invocation(b"1", request_id), *events(1))), runtime)
    (request,) = outcomes[1].requests
    assert request.path == f"/2018-06-01/runtime/invocation/{segment}/{call}"
    if call == "response":
        assert outcomes[1].value == request_id.encode("latin-1").decode("utf-8", "surrogateescape")
    assert len(outcomes) == 3


def test_no_request_id_ends_the_process(runtime: str) -> None:
    outcomes = execute(Run(ECHO, (invocation(b"1", ""),)), runtime)
    assert "the answer has no request id" in died_at_next(outcomes)


def test_request_id_cannot_add_a_header(runtime: str) -> None:
    """CR LF in a header's value is the end of that header: what follows is another one, and goes nowhere."""
    outcomes = execute(Run(ECHO, (invocation(b"1", "a\r\nX-Evil: 1"),)), runtime)
    (request,) = outcomes[1].requests
    assert request.path == "/2018-06-01/runtime/invocation/a/response"
    assert request.header("X-Evil") is None


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (Answer(b'{"errorMessage":"no"}', 403), 'status 403 where 202 was expected: b\'{"errorMessage":"no"}\''),
        (Answer(b"", 301), "status 301 where 202 was expected"),
        (Answer(b"", 403), "status 403 where 202 was expected"),
        (Answer(b"", 400), "status 400 where 202 was expected"),
        (Answer(b'{"status":"OK"}', 202, cut=-3), "truncated"),
        (Answer(raw=b"garbage\r\n\r\n"), "not HTTP"),
    ],
)
@pytest.mark.parametrize(("call", "body"), [(RESPONSE, "return event"), (ERROR, "raise ValueError(event)")])
def test_refused_answer_is_logged_and_not_repeated(
    runtime: str, call: str, body: str, answer: Answer, what: str
) -> None:
    """The platform knows what became of the invocation; the environment has nothing to gain from dying."""
    outcomes = execute(
        Run(app(f"def handler(event, context):\n    {body}\n"), events(2), answers=((call, answer),)), runtime
    )
    first, second = outcomes[1:]
    assert [request.call for request in (*first.requests, *second.requests)] == [call, call]
    assert re.search(rf"\[ERROR\]\t\S+\tid-0\t.*{call.replace('ID', 'id-0')}: ", first.stdout.decode())
    if runtime == OURS or what.startswith("status"):
        assert what in first.stdout.decode()
    assert second.exit is None


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize(("call", "body"), [(RESPONSE, "return event"), (ERROR, "raise ValueError(event)")])
def test_a_server_error_ends_the_process(runtime: str, call: str, body: str, status: int) -> None:
    """The guide to the Runtime API: "Container error. Non-recoverable state. Runtime should exit promptly."."""
    source = app(f"""
        import samovar
        samovar.on_shutdown(lambda: print("the hook has run"))

        def handler(event, context):
            {body}
    """)
    refused = Answer(b'{"errorMessage":"broken"}', status)
    _, ended = execute(Run(source, events(2), answers=((call, refused),)), runtime)
    assert [request.call for request in ended.requests if "/extension/" not in request.path] == [call]
    assert ended.exit == 1
    assert ended.stderr.decode() == (
        f"samovar: {call.replace('ID', 'id-0')}: status {status} where 202 was expected: "
        'b\'{"errorMessage":"broken"}\'\n'
    )
    assert b"the hook has run" in ended.stdout


@pytest.mark.parametrize("status", [200, 201, 204])
def test_any_success_takes_a_result(runtime: str, status: int) -> None:
    answers = ((RESPONSE, Answer(status=status)),) * 2
    outcomes = execute(Run(ECHO, events(2), answers=answers), runtime)
    assert responses(outcomes) == expected(2)
    assert outcomes[-1].stdout == outcomes[-1].stderr == b""


def test_a_result_whose_answer_is_lost_is_not_repeated_and_the_log_says_so(runtime: str) -> None:
    outcomes = execute(Run(ECHO, events(2), answers=((RESPONSE, Answer(raw=b"")),)), runtime)
    assert responses(outcomes) == expected(2)
    said = outcomes[1].stdout.decode()
    assert re.search(r"\[ERROR\]\t\S+\tid-0\tThe response of this invocation was not acknowledged: ", said)
    assert said.endswith("; it is not known whether it was taken\n")


def test_registration_without_an_identifier_is_named(runtime: str) -> None:
    source = app("import samovar\nsamovar.on_shutdown(print)\ndef handler(event, context):\n    return event\n")
    register = "POST /2020-01-01/extension/register"
    (init,) = execute(Run(source, answers=((register, Answer(b"{}")),)), runtime)
    assert init.exit == 1
    assert dict(init.posts[-1].body[1])["errorMessage"] == f"{register}: the answer has no Lambda-Extension-Identifier"


def test_result_called_too_large_is_reported_as_that(runtime: str) -> None:
    outcomes = execute(Run(ECHO, events(2), answers=((RESPONSE, Answer(b"", 413)),)), runtime)
    response, error = outcomes[1].posts
    assert (response.call, error.call) == (RESPONSE, ERROR)
    assert dict(error.body[1])["errorType"] == "Function.ResponseSizeTooLarge"
    assert outcomes[2].post.call == RESPONSE


def test_refused_init_error_is_said(runtime: str) -> None:
    outcomes = execute(
        Run(app("1 / 0\n"), answers=(("POST /2018-06-01/runtime/init/error", Answer(b"x", 500)),)), runtime
    )
    assert outcomes[0].exit == 1
    assert (
        outcomes[0].stderr == b"samovar: POST /2018-06-01/runtime/init/error: status 500 where 202 was expected: b'x'\n"
    )


@pytest.mark.parametrize(
    "wire", [{}, {"chunk": 65_536}, {"piece": 100_000}, {"chunk": 100_001, "piece": 65_537}], ids=str
)
def test_six_megabytes_in_and_out(runtime: str, wire: dict[str, Any]) -> None:
    text = b'"' + b"0123456789abcdef" * (RESPONSE_LIMIT // 16) + b'12"'
    assert len(text) == RESPONSE_LIMIT
    outcomes = execute(Run(ECHO, (invocation(text, "large", **wire), *events(1))), runtime)
    assert responses(outcomes) == [("large", text), *expected(1)]


def test_bytes_of_six_megabytes(runtime: str) -> None:
    raw = bytes(range(256)) * 24_000
    outcomes = execute(Run(ECHO, (invocation(raw, "raw", content_type="application/octet-stream"),)), runtime)
    assert outcomes[1].post.body == raw
    assert outcomes[1].post.content_type == "application/unknown"


def start(runtime: str, change: Callable[[dict[str, str]], object]) -> subprocess.CompletedProcess[str]:
    """One process whose environment was changed, to its end."""
    env = environment(runtime, "operator.eq", "/", "127.0.0.1:1", {})
    change(env)
    return subprocess.run(
        command(runtime, "operator.eq"), env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_nobody_listens(runtime: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    ended = start(runtime, lambda env: env.update(AWS_LAMBDA_RUNTIME_API=address))
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"samovar: {NEXT}: ")
    assert "Connection refused" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("level", ["", "INFO", "DEBUG"])
def test_the_end_of_the_runtime_api_between_events_is_said_at_debug_alone(
    runtime: str, tmp_path: Path, count: int, level: str
) -> None:
    """As `sam local invoke` ends an environment. AWS's client exits with 1 as well, with a traceback."""
    (tmp_path / "app.py").write_text(ECHO["app.py"])
    with ScriptedRuntimeApi(*events(count)) as api:
        env = environment(runtime, "app.handler", str(tmp_path), api.address, {"AWS_LAMBDA_LOG_LEVEL": level})
        process = subprocess.Popen(
            command(runtime, "app.handler"), env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        api.wait(lambda requests: sum(request.call == NEXT for request in requests) > count)
    out, err = process.communicate(timeout=60)
    assert (err, process.returncode) == (b"", 1)
    if level == "DEBUG":
        started, ended = out.splitlines()
        assert b"\tSamovar " in started
        assert ended.startswith(b"[DEBUG]\t")
        assert b"The environment ends, as the Runtime API has gone: " in ended
    else:
        assert out == b""


def test_the_end_of_the_runtime_api_during_an_invocation_is_said(runtime: str, tmp_path: Path) -> None:
    """The response is lost, which is no ordinary end."""
    source = textwrap.dedent(UNTIL_CLOSED["app.py"]).replace(
        "    while not closed", "    print('begun')\n    while not closed"
    )
    (tmp_path / "app.py").write_text(source)
    with ScriptedRuntimeApi(*events(1)) as api:
        env = environment(runtime, "app.handler", str(tmp_path), api.address, {})
        process = subprocess.Popen(
            command(runtime, "app.handler"), env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
    out, err = process.communicate(timeout=60)
    assert b"The response of this invocation was not acknowledged: POST " in out
    assert (err, process.returncode) == (b"", 1)


@pytest.mark.parametrize(
    "address", ["", "nonsense", ":80", "host:", "host:0", "host:99999", "http://127.0.0.1:80", "a b:80"]
)
def test_address_that_is_none(runtime: str, address: str) -> None:
    ended = start(runtime, lambda env: env.update(AWS_LAMBDA_RUNTIME_API=address))
    assert ended.returncode == 1
    assert ended.stderr.startswith("samovar: ")
    assert ended.stderr.count("\n") == 1, ended.stderr


@pytest.mark.parametrize("name", ["AWS_LAMBDA_RUNTIME_API", "_HANDLER"])
def test_missing_variable_is_named(runtime: str, name: str) -> None:
    ended = start(runtime, lambda env: env.pop(name))
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"samovar: {name} is not set: ")
    assert ended.stderr.count("\n") == 1


def test_unknown_transport_is_refused(runtime: str) -> None:
    ended = start(runtime, lambda env: env.update(SAMOVAR_TRANSPORT="http2"))
    assert ended.returncode == 1
    assert ended.stderr == "samovar: SAMOVAR_TRANSPORT='http2': want urllib3, or nothing for the built-in transport\n"
