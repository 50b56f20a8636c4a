"""What the demo shows of the cache beyond a handler's row: two environments with and without a second tier, and where a
refresh goes.

Everything printed is measured in this run. Knows the two handlers that it drives, country_codes.py and thresholds.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from samovar.local import country_db
from samovar.local.rie import RIE
from samovar.local.testing.scripted_api import NEXT, ScriptedRuntimeApi, invocation
from samovar.local.testing.valkey import Valkey

TTL = 0.2  # s
EVENTS = [("fresh", 0), ("stale", TTL), ("sent as soon as that was answered", 0), ("fresh", 0)]  # and idle before, s


def countries(folder: Path) -> dict[str, str]:
    """Makes the database of country_codes.py there; its environment variables."""
    country_db.build(folder / "country.db")
    return {"COUNTRY_DB": str(folder / "country.db")}


def sections(root: Path) -> Iterator[str]:
    """The lines to print, as they come."""
    with tempfile.TemporaryDirectory(prefix="samovar-demo-") as folder:
        yield from _two_environments(root, Path(folder))
        yield from _behind_the_response(root, Path(folder))


def _environment(root: Path, handler: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {"PATH": path, "_HANDLER": handler, "LAMBDA_TASK_ROOT": str(root / "handlers")}


def _two_environments(root: Path, folder: Path) -> Iterator[str]:
    env = _environment(root, "country_codes.handler") | countries(folder)
    yield "\ncountry_codes.handler in two environments at once, three events to each"
    yield f"  {'':<34}{'first ms':>9}{'later ms':>9}{'queries':>9}"
    yield from _compare(root, env, "environment {}")
    with Valkey() as server:
        yield from _compare(root, env | {"COUNTRY_CACHE": server.url}, "environment {}, with a second tier")


def _compare(root: Path, env: Mapping[str, str], label: str) -> Iterator[str]:
    with RIE([str(root / "bootstrap")], env=env) as one, RIE([str(root / "bootstrap")], env=env) as two:
        for number, rie in enumerate((one, two), 1):
            answers = [rie.invoke({"code": "CI"}).json() for _ in range(3)]
            durations = [report.duration_ms - (report.init_ms or 0) for report in rie.log().reports]
            figures = f"{durations[0]:>9.1f}{durations[2]:>9.1f}{answers[2]['queries']:>9}"
            yield f"  {label.format(number):<34}{figures}"


def _behind_the_response(root: Path, folder: Path) -> Iterator[str]:
    """Under a scripted Runtime API: the emulator holds an answer back until the runtime asks for the next event."""
    settings = folder / "thresholds.json"
    settings.write_text(json.dumps({"version": 1, "amount": 100}))
    env = _environment(root, "thresholds.handler")
    env |= {"THRESHOLDS_FILE": str(settings), "THRESHOLDS_TTL": str(TTL)}
    yield f"\nthresholds.handler: 300 ms to fetch, done during INIT; {TTL} s later stale, and fetched behind a response"
    yield f"  {'event':<36}{'answered after ms':>18}{'busy after that, ms':>21}"
    with ScriptedRuntimeApi() as api:
        runtime = subprocess.Popen(
            [root / "bootstrap"],
            env={**os.environ, **env, "AWS_LAMBDA_RUNTIME_API": api.address},
            cwd=root / "handlers",
        )
        try:
            api.wait(lambda requests: len(requests) == 1)  # the first /next
            sent: list[int] = []
            for number, (_, idle) in enumerate(EVENTS, 1):
                if idle:
                    api.wait(lambda requests: requests[-1].call == NEXT)
                    time.sleep(idle)
                sent.append(time.perf_counter_ns())
                api.push(invocation({"amount": 1}, request_id=f"00000000-0000-4000-8000-{number:012}"))
                api.wait(lambda requests: sum(each.call != NEXT for each in requests) == len(sent))
            api.wait(lambda requests: requests[-1].call == NEXT)
            polled = [request.at for request in api.requests if request.call == NEXT]
            for (what, _), begun, answer, free in zip(EVENTS, sent, api.posted(), polled[1:], strict=True):
                yield f"  {what:<36}{(answer.at - begun) / 1e6:>18.1f}{(free - answer.at) / 1e6:>21.1f}"
        finally:
            runtime.kill()
            runtime.wait()
