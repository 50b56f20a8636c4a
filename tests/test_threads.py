"""What the runtime shares between threads that serve invocations at the same time, outside cache and codec."""

from __future__ import annotations

import linecache
import logging
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from samovar import failure, logging_records, wire
from samovar.handler import function
from samovar.report import Report
from tests.invocations import invocation
from tests.test_report import raised
from tests.threads import interrupted_everywhere, together

THREADS = 8


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("meanwhile", [failure.give_up_reserve, failure.hold_reserve])
def test_what_is_held_back_for_a_report_is_there_once_whatever_another_thread_does_meanwhile(meanwhile: Any) -> None:
    failure.give_up_reserve()
    before = descriptors()

    def fail() -> int:
        failure.hold_reserve()
        held = descriptors() - before
        failure.give_up_reserve()
        failure.give_up_reserve()
        return held

    for code in failure.hold_reserve.__code__, failure.give_up_reserve.__code__:
        for held in interrupted_everywhere(code, fail, meanwhile):
            assert held in (0, 1)
            failure.give_up_reserve()
            assert descriptors() == before


def test_threads_that_fail_at_the_same_time_leave_one_reserve() -> None:
    failure.give_up_reserve()
    before = descriptors()

    def fail(number: int) -> None:
        for _ in range(300):
            failure.hold_reserve()
            failure.give_up_reserve()

    together(THREADS, fail)
    assert descriptors() == before
    together(THREADS, lambda number: failure.hold_reserve())
    assert descriptors() == before + 1
    failure.give_up_reserve()
    assert descriptors() == before


def test_reports_of_several_threads_leave_sys_path_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """One begins and goes on while another one reads its source; meanwhile a handler adds a folder."""
    exc = raised(ValueError("why"))
    path, before, read = sys.path, list(sys.path), linecache.getline
    second_reads, first_is_done = threading.Event(), threading.Event()

    def read_in_turn(*args: Any) -> str:
        if threading.current_thread().name == "second":
            second_reads.set()
            assert first_is_done.wait(60)
        elif not second_reads.is_set():
            second.start()
            assert second_reads.wait(60)
            sys.path.append("/opt/added")
        return read(*args)

    monkeypatch.setattr(linecache, "getline", read_in_turn)
    second = threading.Thread(target=Report, args=(exc, ""), name="second")
    try:
        Report(exc, "")
        first_is_done.set()
        second.join()
        assert sys.path is path
        assert sys.path == [*before, "/opt/added"]
    finally:
        sys.path = path
        sys.path[:] = before


def test_a_record_has_its_own_second_whatever_another_thread_formats_meanwhile() -> None:
    formatter = logging_records.TextFormatter()
    formatter.converter = time.gmtime  # as the runtime sets it for all
    records = [logging.makeLogRecord({"created": 1_767_225_600.0 + second}) for second in range(2)]

    def date(second: int) -> str:
        return formatter.formatTime(records[second], formatter.datefmt)

    for first in range(2):
        date(first)
        for formatted in interrupted_everywhere(formatter.formatTime.__code__, lambda: date(0), lambda: date(1)):
            assert formatted == "2026-01-01T00:00:00"
            assert [date(0), date(1), date(first)] == [f"2026-01-01T00:00:0{second}" for second in (0, 1, first)]


def test_the_first_awaitable_of_two_threads_is_awaited_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second thread comes while the first one is still importing what awaits it."""
    from samovar import aio

    class Awaitable:
        def __await__(self) -> Any:
            yield

    monkeypatch.setattr(aio, "run", lambda awaitable, context, stop_time: stop_time < 0)
    handle = function.adapt(lambda event, context: Awaitable())
    others: list[bytes] = []

    class Finder:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> None:
            if name == "samovar.deadline" and not others:
                others.append(b"")
                other.start()
                other.join(0.2)  # it waits for this import

    other = threading.Thread(target=lambda: others.append(handle(invocation())))  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "samovar.deadline", raising=False)
    monkeypatch.delattr("samovar.deadline", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    assert handle(invocation()) == b"false"
    other.join()
    assert others == [b"", b"false"]


def test_heads_that_threads_parse_at_the_same_time() -> None:
    def parse(number: int) -> bool:
        expected = {f"x-{i}-of-{number}": str(i) for i in range(20)}
        head = "HTTP/1.1 200 OK\r\n" + "\r\n".join(f"X-{i}-Of-{number}: {i}" for i in range(20))
        return all(wire.parse_head(head) == (200, expected) for _ in range(100))

    assert together(THREADS, parse) == [True] * THREADS
    assert len(wire._names) <= 64 + THREADS
    assert wire._statuses["HTTP/1.1 200 OK\r"] == (200, False)


def test_logging_that_several_threads_import_first_is_set_up_once() -> None:
    program = (
        "import threading\n"
        "from samovar import logging_hook\n"
        "logging_hook.install()\n"
        "def work():\n"
        "    barrier.wait()\n"
        "    import logging\n"
        "    logging.getLogger().setLevel('INFO')\n"
        "    logging.getLogger(__name__).info('once')\n"
        "barrier = threading.Barrier(8)\n"
        "threads = [threading.Thread(target=work) for _ in range(8)]\n"
        "for each in threads: each.start()\n"
        "for each in threads: each.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [line.rpartition("\t")[2] for line in done.stdout.splitlines()] == ["once"] * 8
    assert done.stderr == ""
