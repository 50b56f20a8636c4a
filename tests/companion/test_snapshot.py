"""Companions at a snapshot and after a restore; tests/test_snapshot.py has them under the runtime."""

import gc
import os

import pytest

from samovar.companion import Companion, CompanionError, supervisor
from tests.companion.conftest import Start

ECHO = "while True: answer(ask())"
PID = "while True: ask(); answer(os.getpid())"


def suspend_and_resume() -> None:
    supervisor._suspend_all()
    supervisor._resume_all()


def test_no_process_lives_while_the_snapshot_is_taken(start: Start) -> None:
    companion = start(PID, workers=3)
    pids = {companion.call(None) for _ in range(30)}
    supervisor._suspend_all()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    supervisor._resume_all()
    assert companion.call(None) not in pids


def test_failures_and_the_pause_after_them_do_not_outlive_a_restore(start: Start) -> None:
    """The pause is on the monotonic clock, which may have begun anew."""
    companion = start("while True:\n    event = ask()\n    if event: sys.exit(3)\n    answer(event)")
    for _ in range(3):
        with pytest.raises(CompanionError, match="exited with code 3"):
            companion.call(1)
    (worker,) = companion._workers
    worker._not_before = float("inf")
    suspend_and_resume()
    assert companion.call(0) == 0
    with pytest.raises(CompanionError) as caught:
        companion.call(1)
    assert not caught.value.fatal  # the first failure in a row, not the fourth


def test_a_companion_that_was_closed_stays_closed(start: Start) -> None:
    companion = start(ECHO)
    companion.close()
    suspend_and_resume()
    with pytest.raises(CompanionError, match="has been closed"):
        companion.call(1)


def test_a_companion_may_be_closed_while_the_snapshot_is_taken(start: Start) -> None:
    closed, other = start(PID), start(ECHO)
    supervisor._suspend_all()
    closed.close()
    supervisor._resume_all()
    assert other.call(1) == 1
    assert [worker._process for worker in closed._workers] == [None]


def test_when_one_program_cannot_start_again_the_others_can_be_asked(start: Start) -> None:
    fails = start("if os.path.exists(sys.argv[0] + '.snapshot'): sys.exit(4)\n" + ECHO)
    other = start(ECHO)
    supervisor._suspend_all()
    open(f"{fails._workers[0]._program.args[-1]}.snapshot", "w").close()
    with pytest.raises(CompanionError, match="exited with code 4"):
        supervisor._resume_all()
    assert other.call(1) == 1


def test_a_companion_that_is_gone_leaves_nothing_behind() -> None:
    made = Companion(["cat"])
    kept = supervisor._companions[-1]
    assert kept() is made
    made.close()
    del made
    gc.collect()
    assert kept not in supervisor._companions
