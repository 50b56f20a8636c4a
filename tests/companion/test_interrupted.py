"""A signal handler may raise between any two instructions: nothing is lost, and the next call works."""

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from samovar import hooks
from samovar.companion import Companion, CompanionError, supervisor
from samovar.environment import environment
from tests.companion.conftest import alive, context

PACKAGE = str(Path(supervisor.__file__).parent)
# Answers with its process id, and sooner than Python would have started.
PID = """
n=0
while read -r line; do
    case $line in *die*) exit 3;; esac
    echo "{\\"proc_req_id\\":$n,\\"error\\":null,\\"data\\":$$}"
    n=$((n + 1))
done
"""


class Interrupt(BaseException):
    """What the handler of a signal raises."""


def at_each_instruction(call: Callable[[], object], handler: Callable[[], object] = lambda: None) -> Iterator[object]:
    """Run call again for each instruction of the companion's code that it reaches; call handler and raise there.

    Yield between two runs. End when a run has come to its end.
    """
    at = 0
    while True:
        left = at

        def trace(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.startswith(PACKAGE):
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                if left == 0:
                    sys.settrace(None)
                    handler()
                    raise Interrupt
                left -= 1
            return trace

        sys.settrace(trace)
        try:
            result = call()
        except Interrupt:
            at += 1
        else:
            sys.settrace(None)
            assert at > 100
            yield result
            return
        finally:
            sys.settrace(None)
        yield None


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> set[str]:
    """Return the processes that this thread has started and that were not waited for."""
    return set(Path("/proc/thread-self/children").read_text().split())


@pytest.fixture
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check that nothing of a companion is left after the test."""
    monkeypatch.setattr(supervisor, "_GRACE", 0.01)
    gc.collect()
    before, others = descriptors(), children()
    yield
    gc.collect()
    assert descriptors() == before
    assert children() <= others


def test_an_interrupted_call(nothing_left: None) -> None:
    with Companion(["/bin/sh", "-c", PID]) as companion:
        companion.call(1)
        before, others = descriptors(), len(children())
        for _ in at_each_instruction(lambda: companion.call(1, context())):
            assert companion.call(2, context())
            assert descriptors() == before
            assert len(children()) == others


def test_an_interrupted_call_that_has_to_start_the_process(nothing_left: None) -> None:
    def call() -> None:
        with contextlib.suppress(CompanionError):
            companion.call("die", context())
        companion.call(1, context())

    with Companion(["/bin/sh", "-c", PID]) as companion:
        companion.call(1)
        before, others = descriptors(), len(children())
        for _ in at_each_instruction(call):
            assert companion.call(2, context())
            assert descriptors() == before
            assert len(children()) == others


def test_an_interrupted_start(nothing_left: None) -> None:
    for companion in at_each_instruction(lambda: Companion(["/bin/sh", "-c", PID], workers=2)):
        if isinstance(companion, Companion):
            companion.close()


def test_an_interrupted_end(nothing_left: None) -> None:
    def start() -> None:
        companions[:] = [Companion(["/bin/sh", "-c", PID])]
        companions[0].call(1)

    companions: list[Companion] = []
    start()
    for _ in at_each_instruction(lambda: companions[0].close()):
        companions[0].close()
        start()
    companions.pop().close()


def test_the_end_of_the_environment_during_a_start_or_a_call(
    nothing_left: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # As SIGTERM does it: the hooks run in the middle, and nothing of the runtime runs after them.
    def run() -> Companion:
        companion = Companion(["/bin/sh", "-c", "trap '' TERM\n" + PID])
        companion.call(1)
        return companion

    def end() -> None:
        hooks.shut_down()
        for pid in children() - others:
            while alive(int(pid)):
                pass

    monkeypatch.setattr(environment, "running", True)
    others = children()
    for companion in at_each_instruction(run, end):
        if isinstance(companion, Companion):
            companion.close()


def test_an_interrupted_replacement(nothing_left: None) -> None:
    def fail() -> None:
        with contextlib.suppress(CompanionError):
            companion.call("die", context())

    with Companion(["/bin/sh", "-c", PID]) as companion:
        companion.call(1)
        before, others = descriptors(), len(children())
        fail()
        for _ in at_each_instruction(companion._replace):
            assert companion.call(2, context())
            assert descriptors() == before
            assert len(children()) == others
            fail()
