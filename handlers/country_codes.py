"""Look up country codes in a database whose query takes 50 ms, at most once a minute: what `cached` is for.

COUNTRY_DB names the SQLite file. With COUNTRY_CACHE, the URL of a Redis or Valkey server, environments share what one
of them has loaded; each question to that server may take COUNTRY_CACHE_TIMEOUT seconds (0.05).
"""

import os
import sqlite3
import time
from typing import Any

from samovar import cached
from samovar.caching.redis_tier import RedisTier


def slowly() -> bool:
    """Act as a busy database on the other side of a network."""
    time.sleep(0.05)
    return True


database = sqlite3.connect(f"file:{os.environ['COUNTRY_DB']}?mode=ro", uri=True, check_same_thread=False)
database.create_function("slowly", 0, slowly)
timeout = float(os.environ.get("COUNTRY_CACHE_TIMEOUT", "0.05"))
shared = RedisTier(os.environ["COUNTRY_CACHE"], timeout=timeout) if "COUNTRY_CACHE" in os.environ else None
queries = 0


@cached(ttl=60, tier=shared)
def countries() -> dict[str, str]:
    global queries
    queries += 1
    return dict(database.execute("select code, name from country where (select slowly())"))


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """For `{"code": "CI"}`, return its name, or None for an unknown code, and how often this environment has queried
    the database.
    """
    code = event["code"]
    return {"code": code, "name": countries().get(code), "queries": queries}
