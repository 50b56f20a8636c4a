"""bench.streams measures what it says."""

from __future__ import annotations

import pytest

from bench import report, streams
from bench.launcher import Launcher


@pytest.mark.parametrize("row", streams.STREAMS)
def test_every_row_streams_what_it_is_asked_for(row: str) -> None:
    launcher = Launcher(streams.ROOT)
    try:
        runtime = streams._start(launcher, streams.STREAMS[row])
        try:
            runtime.first_next()
            assert runtime.first_byte() > 0
            for chunks in (3, 0, 40):
                _, _, first = runtime.stream(chunks)
                size, _, content = first.partition(b"\r\n")
                assert (int(size or b"10000", 16) == streams.CHUNK) == bool(chunks)
                assert content.startswith(b"x") == bool(chunks and content)
        finally:
            runtime.close()
    finally:
        launcher.close()


def test_a_missed_target_is_said() -> None:
    document = {"targets": [report.target("rate", 0.5, at_least=0.75), report.target("time", 1, at_most=1)]}
    assert report.target_lines(document) == ["rate: 0.5, target ≥ 0.75: MISSED", "time: 1, target ≤ 1: met"]
