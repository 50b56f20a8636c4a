"""SAMOVAR_METRICS=emf: a line for an invocation that used the cache, none for one that did not, nothing when off."""

import json
import os
import subprocess
import sys
import time

# Does what the loop does after every response.
SCRIPT = """
import os, sys
from samovar import cached, cache
from samovar.caching import TTLCache
from samovar.environment import environment

moved = [1_700_000_000.0, 0.0]
store = TTLCache(ttl=60, clocks=(lambda: moved[0], lambda: moved[1]))

def slow():
    moved[0] += 0.2501234; moved[1] += 0.2501234
    return 1

def invocation(*calls):
    print("--")
    for call in calls:
        call()
    for work in environment.after_response:
        work()

environment.running = True
invocation()
invocation(lambda: cache.get("nothing"))
load = lambda: store.get_or_load("key", slow, stale=30)
invocation(load, load, load)
moved[0] += 60
invocation(load)
del store
invocation()
@cached(ttl=60)
def other(): return 1
invocation(other)
"""


def run(**env):
    env = {**os.environ, "AWS_LAMBDA_FUNCTION_NAME": "shop", **env}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [part.splitlines() for part in done.stdout.split("--\n")[1:]]


def test_one_line_for_each_invocation_that_used_the_cache():
    began = time.time() * 1000
    parts = run(SAMOVAR_METRICS="emf")
    assert [len(lines) for lines in parts] == [0, 1, 1, 1, 0, 1]
    lines = [json.loads(line) for part in parts for line in part]
    names = ["CacheHits", "CacheMisses", "CacheStale", "CacheLoads", "CacheLoadTime"]
    assert [[line[name] for name in names] for line in lines] == [
        [0, 1, 0, 0, 0],
        [2, 1, 0, 1, 250.123],
        [0, 0, 1, 1, 250.123],  # served at once; the refresh after the response counts too
        [0, 1, 0, 1, lines[3]["CacheLoadTime"]],
    ]
    for line in lines:
        # The embedded metric format's rules: milliseconds, every metric and dimension a member of the root.
        aws = line["_aws"]
        assert began <= aws["Timestamp"] <= time.time() * 1000
        (directive,) = aws["CloudWatchMetrics"]
        assert directive["Namespace"] == "Samovar"
        assert [metric["Name"] for metric in directive["Metrics"]] == names
        assert {metric["Unit"] for metric in directive["Metrics"]} == {"Count", "Milliseconds"}
        assert directive["Dimensions"] == [["FunctionName"]]
        assert line["FunctionName"] == "shop"
        assert all(type(line[name]) in (int, float) for name in names)


def test_metrics_that_fail_are_logged():
    parts = run(SAMOVAR_METRICS="emf", AWS_LAMBDA_FUNCTION_NAME="\udcff")  # not UTF-8
    failed = ["The cache's metrics failed" in "".join(lines) for lines in parts]
    assert failed == [False, True, True, True, False, True]


def test_off_by_default_and_then_not_even_imported():
    assert run(SAMOVAR_METRICS="") == [[], [], [], [], [], []]
    script = "import sys; from samovar import cache; cache.get(1); assert 'samovar.caching.metrics' not in sys.modules"
    env = {key: value for key, value in os.environ.items() if key != "SAMOVAR_METRICS"}
    subprocess.run([sys.executable, "-c", script], env=env, check=True)


def test_a_format_that_there_is_not():
    env = {**os.environ, "SAMOVAR_METRICS": "statsd"}
    done = subprocess.run(
        [sys.executable, "-c", "from samovar import cache"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "SAMOVAR_METRICS='statsd': set it to emf, or leave it empty" in done.stderr
