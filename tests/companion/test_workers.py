"""How many processes a companion has that is not told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from samovar.concurrency import settings
from samovar.local.testing.scripted_api import ScriptedRuntimeApi, invocation
from tests.companion.conftest import PRELUDE
from tests.conftest import ROOT

FUNCTION = """
import sys
from samovar import Companion

companion = Companion([sys.executable, "-S", "./program.py"])
told = Companion([sys.executable, "-S", "./program.py"], workers=2)

def handler(event, context):
    return [len(companion._workers), len(told._workers), companion.call(event)]
"""


def answers(api: ScriptedRuntimeApi) -> list[Any]:
    return [json.loads(request.body) for request in api.posted() if request.path.endswith("/response")]


@pytest.mark.parametrize(
    ("at_once", "workers"),
    [(None, 1), (1, 1), (3, min(3, 2 * settings.processors())), (64, 2 * settings.processors())],
)
def test_a_companion_has_a_process_for_each_invocation_and_at_most_two_for_each_processor(
    tmp_path: Path, at_once: int | None, workers: int
) -> None:
    (tmp_path / "app.py").write_text(FUNCTION)
    (tmp_path / "program.py").write_text(PRELUDE + "while True: answer(ask())")
    env = {**os.environ, "LAMBDA_TASK_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT / "runtime")}
    if at_once is not None:
        env |= {"AWS_LAMBDA_MAX_CONCURRENCY": str(at_once), "AWS_LAMBDA_CONCURRENCY_MODE": "thread"}
    with ScriptedRuntimeApi(invocation("hello")) as api:
        env["AWS_LAMBDA_RUNTIME_API"] = api.address
        runtime = subprocess.Popen([sys.executable, "-m", "samovar", "app.handler"], env=env, cwd=tmp_path)
        try:
            api.wait(lambda requests: bool(answers(api)))
        finally:
            runtime.terminate()
            runtime.wait()
    assert answers(api) == [[workers, 2, "hello"]]
