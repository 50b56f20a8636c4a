"""bench.concurrency measures what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bench import concurrency
from bench.launcher import Launcher, RuntimeDied
from bench.stage import stage

# In a folder of its own: a process that has the stage locks it, and test_runtime.py's benchmark is another.


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[concurrency._Run]:
    place = stage(tmp_path_factory.mktemp("stage"))
    launcher = Launcher(place.task_root)
    yield concurrency._Run(launcher, place, quick=True)
    launcher.close()


def test_each_row_serves_as_many_at_once_as_it_says(run: concurrency._Run) -> None:
    for row, processes in {concurrency.OFFICIAL: 4, "process": 4, "thread": 1, "hybrid": 2}.items():
        with run._crowd(row, "many_cached", 4) as crowd:
            crowd.all_polling(4)
            answers = [json.loads(answer) for answer in crowd.once(concurrency.EVENT)]
            assert len({pid for pid, _ in answers}) <= processes
            assert [loads for _, loads in answers] == [1] * 4
            assert crowd.memory() > 1


def test_a_rate_is_that_of_the_responses(run: concurrency._Run) -> None:
    with run._crowd(concurrency.ASYNC, "many_async", 4) as crowd:
        crowd.all_polling(4)
        assert 4 < crowd.rate(concurrency.EVENT, 0.1, 0.5) <= 85, "four at once, 50 ms each"


def test_a_runtime_that_ends_is_told_with_what_it_said(run: concurrency._Run) -> None:
    with (
        pytest.raises(RuntimeDied, match=r"No module named .*nothing_here"),
        run._crowd("thread", "nothing_here", 2) as crowd,
    ):
        crowd.all_polling(2)
