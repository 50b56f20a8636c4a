"""100,000 invocations in all, with faults on the wire: no answer is lost, doubled, or sent to another's id."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.concurrency.storm import Posted, Storm, mixed
from tests.conftest import ROOT

FAULTS = {"refused": 0.001, "closed": 0.003, "cut": 0.002, "unavailable": 0.003, "forbidden": 0.003, "silent": 0.003}
PLAIN = {"fast": 70, "slow": 8, "fail": 5, "crash": 3, "stream": 5, "break": 2, "defer": 7}
ASYNC = {"fast": 70, "slow": 15, "fail": 7, "defer": 8}
WORKERS = {**PLAIN, "crash": 0, "exit": 0.05}  # both would end a worker


@pytest.mark.parametrize(
    ("count", "mode", "limit", "handler", "kinds"),
    [
        (5_000, "thread", 1, "handler", PLAIN),
        (15_000, "thread", 4, "handler", PLAIN),
        (25_000, "thread", 16, "handler", PLAIN),
        (20_000, "thread", 64, "handler", PLAIN),
        (15_000, "thread", 16, "async_handler", ASYNC),
        (12_000, "hybrid", 16, "handler", PLAIN),
        (8_000, "process", 4, "handler", WORKERS),
    ],
)
def test_each_event_has_one_answer_its_own(
    count: int, mode: str, limit: int, handler: str, kinds: dict[str, int]
) -> None:
    storm = asyncio.run(_run(count, mode, limit, handler, kinds))
    assert len(storm.given) == count - storm.met["cut"]
    assert set(storm.posted) == set(storm.given)
    assert {each: len(posted) for each, posted in storm.posted.items() if len(posted) != 1} == {}
    loads: dict[int, int] = {}
    for request_id, event in storm.given.items():
        _check(request_id, event, storm.posted[request_id][0], loads)
    processes = {"process": limit, "hybrid": min(limit, len(os.sched_getaffinity(0)))}.get(mode, 1)
    assert set(loads.values()) == {1}, "a cached loader runs once in a process"
    if "exit" not in kinds:
        assert len(loads) <= processes
    assert all(storm.met[name] for name in FAULTS), storm.met
    assert limit * 3 / 4 <= storm.most <= limit, "the most events in flight"


def _check(request_id: str, event: dict[str, object], posted: Posted, loads: dict[int, int]) -> None:
    kind = event["kind"]
    if kind in ("fail", "crash"):
        error = json.loads(posted.body)
        assert (posted.kind, error["errorMessage"], error["requestId"]) == ("error", request_id, request_id)
    elif kind == "exit":
        assert (posted.kind, json.loads(posted.body)["errorType"]) == ("error", "Runtime.ExitError")
    elif kind in ("stream", "break"):
        text = f"{request_id} {request_id}" if kind == "stream" else f"{request_id} "
        assert (posted.kind, posted.body.decode(), posted.failed) == ("response", text, kind == "break")
    else:
        answer = json.loads(posted.body)
        assert (posted.kind, answer["n"], answer["blob"]) == ("response", event["n"], event["blob"])
        assert (answer["ids"], answer["value"]) == ([request_id], 7)
        loads[answer["pid"]] = max(loads.get(answer["pid"], 0), answer["loads"])


async def _run(count: int, mode: str, limit: int, handler: str, kinds: dict[str, int]) -> Storm:
    storm = Storm(mixed(count, kinds, seed=limit), FAULTS)
    environment = {
        **os.environ,
        "AWS_LAMBDA_RUNTIME_API": await storm.start(),
        "AWS_LAMBDA_MAX_CONCURRENCY": str(limit),
        "AWS_LAMBDA_CONCURRENCY_MODE": mode,
        "_HANDLER": f"storm_app.{handler}",
        "LAMBDA_TASK_ROOT": str(Path(__file__).parent),
    }
    runtime = subprocess.Popen(
        [str(ROOT / "bootstrap")], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        ended = asyncio.create_task(asyncio.to_thread(runtime.wait))
        finished = asyncio.create_task(storm.finished(300))
        await asyncio.wait([ended, finished], return_when=asyncio.FIRST_COMPLETED)
        assert not ended.done(), f"the environment has ended with {ended.result()}"
        await finished
        await asyncio.sleep(0.1)  # in which a second answer would come
        runtime.terminate()
        await asyncio.wait_for(ended, 20)
    finally:
        runtime.kill()
        runtime.wait()
        storm.close()
    return storm
