"""The variable `_X_AMZN_TRACE_ID`, which each of several invocations reads and writes for itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest

from samovar.concurrency import current, trace
from tests import invocations
from tests.concurrency.serving import event, serving

NAME = "_X_AMZN_TRACE_ID"


@pytest.fixture
def environ() -> Any:
    """An os.environ of the test's own."""
    real: Any = os.environ
    made = os._Environ({b"A": b"1"}, real.encodekey, real.decodekey, real.encodevalue, real.decodevalue)
    made.__class__ = trace._TracedText
    return made


def within(trace_id: str | None, f: Callable[[], object]) -> object:
    """Call f() in an invocation with this trace id."""

    def call() -> object:
        current.variable.set(invocations.invocation(trace_id=trace_id))
        return f()

    return copy_context().run(call)


READS: dict[str, Callable[[Any], object]] = {
    "get": lambda environ: environ.get(NAME),
    "in": lambda environ: NAME in environ and environ[NAME],
    "pop": lambda environ: environ.pop(NAME, None),
    "copy": lambda environ: environ.copy().get(NAME),
    "dict": lambda environ: dict(environ).get(NAME),
    "unpacked": lambda environ: {**environ}.get(NAME),
    "or": lambda environ: (environ | {}).get(NAME),
    "items": lambda environ: dict(environ.items()).get(NAME),
    "setdefault": lambda environ: environ.setdefault(NAME, "mine") != "mine" and environ[NAME],
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_every_way_of_reading_gives_the_invocations_own(environ: Any, read: Callable[[Any], object]) -> None:
    assert within("one", lambda: read(environ)) == "one"
    assert within("two", lambda: read(environ)) == "two"
    assert not within(None, lambda: read(environ))
    assert not within("", lambda: read(environ))


def test_an_invocation_without_a_trace_id_has_no_such_variable(environ: Any) -> None:
    environ._data[NAME.encode()] = b"of the process"
    with pytest.raises(KeyError, match=NAME):
        within(None, lambda: environ[NAME])
    with pytest.raises(KeyError, match=NAME):
        within(None, lambda: environ.__delitem__(NAME))
    assert within(None, lambda: (list(environ), len(environ))) == (["A"], 1)
    assert within("one", lambda: (list(environ), len(environ))) == (["A", NAME], 2)
    assert environ[NAME] == "of the process"
    assert (list(environ), len(environ)) == (["A", NAME], 2)


def test_what_a_handler_sets_or_deletes_is_its_invocations_alone(environ: Any) -> None:
    def set_it() -> object:
        environ[NAME] = "mine \udc80"
        return environ[NAME], os.environ.get(NAME)

    def delete_it() -> object:
        del environ[NAME]
        return environ.get(NAME)

    assert within("one", set_it) == ("mine \udc80", None)
    assert within("one", delete_it) is None
    assert within("two", lambda: environ[NAME]) == "two"
    assert NAME not in environ
    assert NAME.encode() not in environ._data
    with pytest.raises(TypeError, match="str expected"):
        within("one", lambda: environ.__setitem__(NAME, 1))


def test_other_variables_are_those_of_the_process(environ: Any) -> None:
    try:
        within("one", lambda: environ.update(SAMOVAR_TEST="1"))
        assert (environ["A"], environ["SAMOVAR_TEST"]) == ("1", "1")
        del environ["SAMOVAR_TEST"]
        assert "SAMOVAR_TEST" not in environ
        with pytest.raises(TypeError, match="str expected"):
            environ[1]
    finally:
        os.unsetenv("SAMOVAR_TEST")


def test_a_child_process_gets_it_from_os_environ_and_never_anothers() -> None:
    source = """
        import os, subprocess, threading

        together = threading.Barrier(8)

        def child(**options):
            program = ["sh", "-c", "echo $_X_AMZN_TRACE_ID"]
            return subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True, **options).stdout.strip()

        def handler(event, context):
            together.wait()
            if event % 2:
                os.environ["_X_AMZN_TRACE_ID"] += "!"
            together.wait()
            return child(), child(env=os.environ), child(env={**os.environ}), os.environb[b"_X_AMZN_TRACE_ID"].decode()
    """
    events = [event(number, f"id-{number}", trace_id=f"Root={number}") for number in range(8)]
    with serving(source, *events, count=8) as server:
        assert server.answers(8) == {
            f"id-{number}": ["", *[f"Root={number}{'!' * (number % 2)}"] * 3] for number in range(8)
        }
