"""The function's own redis package: the second tier works with it in a real server, or says what it needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from samovar.local.testing.valkey import Valkey
from tests.attach.harness import OS_ONLY, Function, Recorded, execute, missing

SOURCE = """
    import os

    import redis
    from samovar import cached
    from samovar.caching import RedisTier

    tier = RedisTier(os.environ["TIER"], timeout=20)

    @cached(ttl=60, tier=tier)
    def plain(key):
        return {"loaded": key}

    @cached(ttl=60, tier=tier)
    async def coroutine(key):
        return ["loaded", key]

    async def handler(event, context):
        values = plain(event), await coroutine(event)
        return redis.__version__, values, tier.hits, tier.loads, tier.faults
"""
VERSIONS = ("5", "6", "7")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Valkey() as valkey:
        yield f"redis://127.0.0.1:{valkey.port}"


def _run(function: Function) -> Recorded:
    if names := missing(function):
        pytest.skip(f"run make attach: build/attach has no {', '.join(names)}")
    return execute(function, OS_ONLY)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_one_environment_loads_the_next_one_finds(url: str, version: str) -> None:
    key = f"key of {version}"
    function = Function((f"redis-{version}",), {"app.py": SOURCE}, (key,), env={"TIER": url})
    found = []
    for _ in range(2):
        recorded = _run(function)
        ((used, values, *counts),) = [post.body for post in recorded.posts]
        assert used.partition(".")[0] == version
        assert values == [("object", (("loaded", key),)), ["loaded", key]]
        found.append([int(number) for _, number in counts])
    assert found == [[0, 2, 0], [2, 0, 0]], recorded.output


UNFIT = {
    "version-4": (("redis-4",), {}, "found /var/task/redis/__init__.py: 4.6.0 is too old"),
    "none": ((), {}, "found none: No module named 'redis'"),
    "of-the-functions": (
        (),
        {"redis.py": "URL = 'redis://cache'\n"},
        "found /var/task/redis.py: module 'redis' has no attribute '__version__'",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_without_a_redis_package_to_use_the_tier_says_what_is_needed(name: str) -> None:
    packages, files, found = UNFIT[name]
    source = SOURCE.replace("    import redis\n", "")
    recorded = _run(Function(packages, {"app.py": source, **files}, env={"TIER": "redis://127.0.0.1"}))
    (post,) = recorded.posts
    error = dict(post.body[1])
    assert (post.call.rpartition("/runtime/")[2], error["errorType"]) == ("init/error", "Runtime.ImportModuleError")
    message = f"RedisTier needs the redis package, 5 or later: pip install samovar[redis]; {found}"
    assert error["errorMessage"] == f"Unable to import module 'app': {message}"
