"""Looks up country codes in a database whose query takes 50 ms, once a minute at most: what `cached` is for.

COUNTRY_DB names the SQLite file. With COUNTRY_CACHE, the URL of a Redis or Valkey server, environments share what one
has loaded.
"""

import os
import sqlite3
import time
from typing import Any

from samovar import cached
from samovar.caching.redis_tier import RedisTier


def slowly() -> bool:
    """As if the database were busy, and on the other side of a network."""
    time.sleep(0.05)
    return True


database = sqlite3.connect(f"file:{os.environ['COUNTRY_DB']}?mode=ro", uri=True, check_same_thread=False)
database.create_function("slowly", 0, slowly)
shared = RedisTier(os.environ["COUNTRY_CACHE"]) if "COUNTRY_CACHE" in os.environ else None
queries = 0


@cached(ttl=60, tier=shared)
def countries() -> dict[str, str]:
    global queries
    queries += 1
    return dict(database.execute("select code, name from country where (select slowly())"))


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """`{"code": "CI"}` gives its name, None where there is no such code, and how often this environment asked the
    database.
    """
    code = event["code"]
    return {"code": code, "name": countries().get(code), "queries": queries}
