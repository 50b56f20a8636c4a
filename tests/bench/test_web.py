"""bench.web compares equal work."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")

from bench import web
from bench.launcher import Launcher


@pytest.fixture(scope="module", autouse=True)
def adapter() -> None:
    web.build()


@pytest.mark.parametrize("row", web.ROWS)
def test_every_row_gives_the_answer_of_the_application(row: str) -> None:
    launcher = Launcher(web.HANDLERS)
    try:
        with web.start(launcher, row) as runtime:
            assert runtime.first_next() > runtime.started
            for request in (*web.REQUESTS, *web.REQUESTS):
                web.check(runtime, row, request)
            assert len(runtime.started_by_it()) == (row == web.LOOPBACK)
            assert runtime.processor_time() > 0
            assert (runtime.resident() > runtime.memory().peak) == (row == web.LOOPBACK)
    finally:
        launcher.close()


def test_a_wrong_answer_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(web.ANSWERS, "GET", {"item": 43})
    launcher = Launcher(web.HANDLERS)
    try:
        with web.start(launcher, web.OURS) as runtime:
            runtime.first_next()
            with pytest.raises(ValueError, match="answered GET"):
                web.check(runtime, web.OURS, "GET")
    finally:
        launcher.close()
