"""Whose time a refresh takes, under a Runtime API that notes when each call comes; the RIE holds an answer back until
/next.

The configuration of handlers/thresholds.py is a FIFO here: who fetches it waits until the test writes, so nothing is
left to timing.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from samovar.local.testing.scripted_api import NEXT, ScriptedRuntimeApi, invocation

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path):
    """write(version) ends the fetch that is waiting, or the next one."""
    path = tmp_path / "thresholds.json"
    os.mkfifo(path)

    def write(version):
        deadline = time.monotonic() + 60
        while True:
            try:
                fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError:  # nobody reads it yet
                assert time.monotonic() < deadline, "the runtime does not fetch"
                time.sleep(0.005)
        with open(fifo, "w") as file:
            json.dump({"version": version, "amount": 100}, file)

    write.path = path
    return write


@pytest.fixture
def runtime(source):
    with ScriptedRuntimeApi() as api:
        env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "LAMBDA_TASK_ROOT": str(ROOT / "handlers"),
            "_HANDLER": "thresholds.handler",
            "THRESHOLDS_FILE": str(source.path),
            "THRESHOLDS_TTL": "0.000001",
        }
        process = subprocess.Popen([ROOT / "bootstrap"], env=env)
        try:
            yield api
        finally:
            process.kill()
            process.wait()


def polls(requests):
    return sum(request.call == NEXT for request in requests)


def test_the_caller_has_its_answer_while_the_refresh_still_waits(runtime, source):
    source(1)  # for the load during INIT
    runtime.wait(lambda requests: polls(requests) == 1)
    for version in (1, 2):
        runtime.push(invocation({"amount": 1}))
        runtime.wait(lambda requests, version=version: len(requests) - polls(requests) == version)
        answer = json.loads(runtime.posted()[-1].body)
        assert answer == {"allowed": True, "version": version, "fetched": version}
        # The refresh cannot have ended, as nothing has been written. The environment is busy with it:
        assert polls(runtime.requests) == version
        source(version + 1)
        runtime.wait(lambda requests, version=version: polls(requests) == version + 1)
