"""Several threads that do the same at the same time, switched as often as the interpreter can."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

WITH_GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


def together(count: int, f: Callable[[int], Any]) -> list[Any]:
    """Return what f(number) returns in each thread. Raises what the first of them raised."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count
    failures: list[BaseException] = []

    def run(number: int) -> None:
        barrier.wait()
        try:
            results[number] = f(number)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    if failures:
        raise failures[0]
    return results


def elsewhere(f: Callable[[], Any]) -> Any:
    """Return what f() returns in another thread, which this one waits for."""
    return together(1, lambda number: f())[0]


def interrupted_everywhere(code: CodeType, f: Callable[[], Any], meanwhile: Callable[[], object]) -> list[Any]:
    """Return what f() returns if meanwhile() comes between two instructions of `code`, for each place in turn: what
    another thread may do there.
    """
    results: list[Any] = []
    before = sys.gettrace()
    while True:
        left = len(results) + 1

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal left
            if frame.f_code is not code:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                left -= 1
                if not left:
                    meanwhile()
            return trace

        sys.settrace(trace)
        try:
            result = f()
        finally:
            sys.settrace(before)
        if left > 0:
            assert results, "the code was not run"
            return results
        results.append(result)
