"""A WSGI application answers events as PEP 3333 has it: every application here is behind wsgiref's validator."""

from __future__ import annotations

import json
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest

from samovar import handler
from samovar.concurrency.current import SharedEnvironment
from samovar.environment import environment
from samovar.errors import Fault
from tests import invocations
from tests.handler import events
from tests.handler.events import EVENTS
from tests.invocations import invocation
from tests.threads import together

# The validator complains in __del__ of an answer that was not closed.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")

PLAIN = [("Content-Type", "text/plain")]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    module: Any = types.ModuleType("shop_code")
    monkeypatch.setitem(sys.modules, "shop_code", module)
    monkeypatch.setattr(environment, "after_response", list(environment.after_response))
    monkeypatch.setattr(environment, "at_fork", list(environment.at_fork))

    def made(app: Any, other: str = "", *, validated: bool = True, **names: Any) -> Callable[[Any], Any]:
        module.app = validator(app) if validated else app
        vars(module).update(names)
        handle = handler.load(f"wsgi:shop_code:app{other}")

        def call(event: Any) -> Any:
            answer = handle(invocation(event=json.dumps(event).encode()))
            assert isinstance(answer, bytes)
            return json.loads(answer)

        return call

    yield made
    after()


def after() -> None:
    for work in environment.after_response:
        work()


def test_the_environ_is_that_of_pep_3333_for_every_source(load: Any) -> None:
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append((dict(environ), environ["wsgi.input"].read(100)))
        start_response("200 OK", PLAIN)
        return [b"ok"]

    call = load(app)
    for name, event in EVENTS.items():
        assert call(event)["body"] == "ok"
        after()
        environ, body = seen.pop()
        assert body == "Grüße".encode()
        assert environ["CONTENT_LENGTH"] == "7"
        assert environ["REQUEST_METHOD"] == "POST"
        assert environ["SCRIPT_NAME"] == {"rest_api": "/live", "http_api_1": "/live"}.get(name, "")
        assert environ["PATH_INFO"].encode("latin-1").decode() == "/orders/café au"
        assert environ["RAW_URI"].endswith(f"/orders/caf%C3%A9%20au?{environ['QUERY_STRING']}")
        assert "encoded=a%2Bb" in environ["QUERY_STRING"]
        assert environ["HTTP_COOKIE"] == "a=1; b=2"
        assert environ["HTTP_X_MANY"] == ("two" if name == "alb_single" else "one,two")
        assert environ["CONTENT_TYPE"] == "text/plain"
        assert "HTTP_CONTENT_TYPE" not in environ
        assert environ["REMOTE_ADDR"] == "203.0.113.7"
        assert environ["wsgi.url_scheme"] == ("http" if name.startswith("alb") else "https")
        assert ":" not in environ["SERVER_NAME"]
        assert environ["SERVER_PORT"] == ("8080" if name.startswith("alb") else "443")
        assert (environ["wsgi.multithread"], environ["wsgi.run_once"]) == (False, False)
        assert environ["aws.event"] == event
        assert "aws.context" in environ


def test_threads_that_serve_at_the_same_time_close_their_own_result(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[tuple[str, int]] = []
    seen: list[bool] = []

    class Body(list[bytes]):
        def close(self) -> None:
            closed.append((self[0].decode(), threading.get_ident()))

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(environ["wsgi.multithread"])
        start_response("200 OK", PLAIN)
        return Body([environ["HTTP_X_NUMBER"].encode()])

    call = load(app)
    monkeypatch.setattr(environment, "__class__", SharedEnvironment)
    monkeypatch.setattr(environment, "shared", True)
    answered = threading.Barrier(4)

    def serve(number: int) -> int:
        for i in range(20):
            environment.begin(invocations.invocation())
            assert call(events.http_api(headers={"x-number": f"{number}.{i}", "host": "a"}))["body"] == f"{number}.{i}"
            answered.wait()  # the results of all threads wait to be closed
            after()
            environment.end()
        return threading.get_ident()

    threads = together(4, serve)
    expected = {(f"{number}.{i}", thread) for number, thread in enumerate(threads) for i in range(20)}
    assert (len(closed), set(closed)) == (80, expected)
    assert seen == [True] * 80


def test_a_header_with_an_underscore_cannot_pass_for_another(load: Any) -> None:
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(environ)
        start_response("200 OK", PLAIN)
        return [b""]

    load(app)(events.http_api(headers={"x_user": "forged", "host": "a", "content-length": "900"}))
    assert "HTTP_X_USER" not in seen[0]
    assert (seen[0]["CONTENT_LENGTH"], "HTTP_CONTENT_LENGTH" in seen[0]) == ("7", False)


class Result:
    """An iterable with a close(), as a middleware returns it."""

    def __init__(self, log: list[str], *blocks: bytes, fails: bool = False) -> None:
        self.log = log
        self.blocks = blocks
        self.fails = fails

    def __iter__(self) -> Iterator[bytes]:
        yield from self.blocks
        if self.fails:
            raise LookupError("no such order")

    def close(self) -> None:
        self.log.append("closed")


@pytest.mark.parametrize("fails", [False, True])
def test_close_is_called_once_after_the_response_and_before_deferred_calls(load: Any, fails: bool) -> None:
    log: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("201 Created", [*PLAIN, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return Result(log, b"a", b"", b"b", fails=fails)

    call = load(app, validated=not fails)  # the validator wants to be read to its end
    environment.after_response.append(lambda: log.append("deferred"))
    for _ in range(2):
        made = call(events.function_url())
        if fails:
            assert (made["statusCode"], made["body"]) == (500, "Internal Server Error")
        else:
            assert (made["statusCode"], made["body"], made["cookies"]) == (201, "ab", ["a=1", "b=2"])
        assert log == []
        after()
        assert log == ["closed", "deferred"]
        log.clear()


def test_a_close_that_fails_is_logged(load: Any, capfd: pytest.CaptureFixture[str]) -> None:
    class Failing(Result):
        def close(self) -> None:
            raise LookupError("no such order")

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        return Failing([], b"a")

    assert load(app)(events.function_url())["statusCode"] == 200
    after()
    assert "LookupError: The application failed after its response: no such order" in capfd.readouterr().out


def test_a_failure_is_a_500_and_a_line_in_the_log(load: Any, capfd: pytest.CaptureFixture[str]) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise LookupError("no such order")

    assert load(app)(events.function_url())["statusCode"] == 500
    assert "LookupError: The application failed: no such order" in capfd.readouterr().out


def test_an_error_page_replaces_what_has_not_been_sent(load: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        try:
            raise LookupError("no such order")
        except LookupError:
            start_response("503 Service Unavailable", PLAIN, sys.exc_info())
        return [b"an error page"]

    made = load(app)(events.function_url())
    assert (made["statusCode"], made["body"]) == (503, "an error page")


def test_an_error_after_the_body_has_begun_is_raised_again(load: Any, capfd: pytest.CaptureFixture[str]) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        yield b"half"
        try:
            raise LookupError("no such order")
        except LookupError:
            start_response("503 Service Unavailable", PLAIN, sys.exc_info())
        yield b"never"

    assert load(app)(events.function_url())["statusCode"] == 500
    assert "no such order" in capfd.readouterr().out


def test_write_works(load: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", PLAIN)
        write(b"a")
        write(b"b")
        return [b"c"]

    assert load(app)(events.function_url())["body"] == "abc"


def test_start_response_may_come_with_the_first_block(load: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        yield b"late"

    assert load(app)(events.function_url())["body"] == "late"


@pytest.mark.parametrize(
    ("app", "says"),
    [
        (lambda environ, start_response: [], "did not call start_response"),
        (lambda environ, start_response: [b"a"], "gave a body before it called start_response"),
        (
            lambda environ, start_response: [start_response("200 OK", []), start_response("200 OK", [])],
            "start_response was called twice without exc_info",
        ),
    ],
)
def test_what_pep_3333_does_not_allow_is_a_500(
    load: Any, app: Any, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert load(app, validated=False)(events.function_url())["statusCode"] == 500
    assert says in capfd.readouterr().out


def test_the_answer_to_head_has_no_body(load: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [*PLAIN, ("Content-Length", "4")])
        return [b"text"]

    event = events.http_api()
    event["requestContext"]["http"]["method"] = "HEAD"
    made = load(app)(event)
    assert (made["body"], made["headers"]["Content-Length"]) == ("", "4")


def test_an_event_that_is_no_request_goes_to_the_handler_after_the_comma(load: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise AssertionError

    call = load(app, ", shop_code.jobs", jobs=lambda event, context: {"job": event})
    assert call({"Records": [1]}) == {"job": {"Records": [1]}}
    with pytest.raises(Fault, match=r"wsgi:MODULE:APPLICATION,MODULE.FUNCTION"):
        load(app)({"Records": [1]})
