"""The cache's handlers under the real RIE: values that are kept, refreshed after the response, and shared by two
environments.
"""

import json
from pathlib import Path

import pytest

from samovar.local.demo.country_db import build
from samovar.local.testing.valkey import Valkey


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "country.db"
    build(path)
    return {"COUNTRY_DB": str(path)}


@pytest.fixture
def settings(tmp_path):
    """Provide the configuration file of thresholds.py: a function that writes the version given."""
    path = tmp_path / "thresholds.json"

    def write(version, amount=100):
        path.write_text(json.dumps({"version": version, "amount": amount}))

    write(1)
    # No sleep: a ttl of 1 µs has passed by the next event.
    write.env = {"THRESHOLDS_FILE": str(path), "THRESHOLDS_TTL": "0.000001"}
    write.path = path
    return write


@pytest.fixture
def valkey():
    with Valkey() as server:
        yield server


def ours(rie):
    return "\n".join(rie.log().lines)


def test_ten_events_one_query(environment, database):
    with environment("country_codes.handler", env=database) as rie:
        answers = [rie.invoke({"code": code}).json() for code in ["CI", "GB"] * 5]
        assert answers[0] == {"code": "CI", "name": "Côte d'Ivoire", "queries": 1}
        assert [answer["queries"] for answer in answers] == [1] * 10
        assert rie.invoke({"code": "XX"}).json() == {"code": "XX", "name": None, "queries": 1}
        first = rie.log().reports[0].runtime_ms
    assert first >= 50  # the query itself; a loaded machine may delay the later ones, so only the demo shows them


def test_a_failed_invocation_keeps_what_was_learned(environment, database):
    with environment("country_codes.handler", env=database) as rie:
        rie.invoke({"code": "CI"})
        assert rie.invoke({"no code": 1}).error.error_type == "KeyError"
        assert rie.invoke({"code": "CI"}).json()["queries"] == 1


def test_each_environment_starts_cold(environment, database):
    for _ in range(2):
        with environment("country_codes.handler", env=database) as rie:
            assert [rie.invoke({"code": "GB"}).json()["queries"] for _ in range(2)] == [1, 1]


def test_with_the_second_tier_the_second_environment_starts_warm(environment, database, valkey):
    env = {**database, "COUNTRY_CACHE": valkey.url, "COUNTRY_CACHE_TIMEOUT": "20"}
    with environment("country_codes.handler", env=env) as first:
        assert [first.invoke({"code": "GB"}).json()["queries"] for _ in range(2)] == [1, 1]
        with environment("country_codes.handler", env=env) as second:
            answer = second.invoke({"code": "CI"}).json()
            assert answer == {"code": "CI", "name": "Côte d'Ivoire", "queries": 0}
            valkey.kill()
            assert second.invoke({"code": "GB"}).json()["name"] == "United Kingdom"


def test_a_second_tier_that_is_down_costs_a_warning_and_no_invocation(environment, database, valkey):
    valkey.kill()
    with environment("country_codes.handler", env={**database, "COUNTRY_CACHE": valkey.url}) as rie:
        assert [rie.invoke({"code": "GB"}).json()["queries"] for _ in range(3)] == [1, 1, 1]
        assert ours(rie).count("loading without it") == 1
        assert "[WARNING]" in ours(rie)


def test_a_stale_value_is_refreshed_when_the_caller_has_its_answer(environment, settings):
    with environment("thresholds.handler", env=settings.env) as rie:
        first = rie.invoke({"amount": 120}).json()
        assert first == {"allowed": False, "version": 1, "fetched": 1}  # during INIT
        settings(2, amount=200)
        answers = [rie.invoke({"amount": 120}).json() for _ in range(2)]
        # The emulator returns the response when the runtime asks for the next event, so each refresh is over by then.
        # The one after the first event read version 1 again, the one after the second reads 2.
        assert [answer["version"] for answer in answers] == [1, 2]
        assert [answer["fetched"] for answer in answers] == [2, 3]
        assert answers[1]["allowed"] is True


def test_a_stale_coroutine_is_refreshed_on_the_environments_event_loop(environment):
    with environment("cached_coroutine.handler", task_root=Path(__file__).parent / "functions") as rie:
        answers = [rie.invoke({}).json() for _ in range(3)]
    # Loaded for the first event, served stale to the second, refreshed after that.
    assert answers == [{"value": n, "loads": n, "loops": 1} for n in (1, 1, 2)]


def test_a_refresh_that_fails_leaves_the_old_value_and_a_line_in_the_log(environment, settings):
    with environment("thresholds.handler", env=settings.env) as rie:
        rie.invoke({"amount": 1})
        settings.path.unlink()
        answers = [rie.invoke({"amount": 1}).json() for _ in range(3)]
        assert [answer["version"] for answer in answers] == [1, 1, 1]
        settings(2)
        rie.invoke({"amount": 1})
        assert rie.invoke({"amount": 1}).json()["version"] == 2
        lines = [line for line in ours(rie).splitlines() if "refresh" in line]
    assert len(lines) == 3
    assert "thresholds.thresholds: the refresh of () failed, the old value serves" in lines[0]
    assert "FileNotFoundError" in lines[0]
    requests = [line.split("\t")[2] for line in lines]
    assert len(set(requests)) == 3  # each has the id of the request after which it failed
    assert all(len(request) == 36 for request in requests)


def test_what_must_be_warmed_fails_init(environment, settings):
    settings.path.unlink()
    with environment("thresholds.handler", env=settings.env) as rie:
        failed = rie.invoke({"amount": 1}).error
        assert failed.error_type == "FileNotFoundError"
        assert failed.request_id == ""  # no invocation had begun
        assert [init.ok for init in rie.log().inits] == [False]


def test_metrics_on_standard_output(environment, settings):
    with environment("thresholds.handler", env={**settings.env, "SAMOVAR_METRICS": "emf"}) as rie:
        for _ in range(3):
            rie.invoke({"amount": 1})
        lines = [json.loads(line) for line in ours(rie).splitlines() if line.startswith('{"_aws"')]
    assert [line["CacheStale"] for line in lines] == [1, 1, 1]
    assert [line["CacheLoads"] for line in lines] == [2, 1, 1]  # with the one during INIT
    assert all(line["CacheLoadTime"] >= 300 for line in lines)
    assert len({line["requestId"] for line in lines}) == 3
