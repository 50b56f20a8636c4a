"""Decides by a configuration that takes 300 ms to fetch, and never lets a caller wait for it.

It is fetched during INIT, lives for THRESHOLDS_TTL seconds (60), and after that is served as it was while a fresh one
is fetched behind the response. THRESHOLDS_FILE names the JSON file that stands for the service which keeps it.
"""

import json
import os
import time
from typing import Any

from samovar import cached, warm

fetched = 0


@warm(required=True)
@cached(ttl=float(os.environ.get("THRESHOLDS_TTL", "60")), stale=3600)
def thresholds() -> dict[str, Any]:
    global fetched
    time.sleep(0.3)
    with open(os.environ["THRESHOLDS_FILE"]) as file:
        found: dict[str, Any] = json.load(file)
    fetched += 1
    return found


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """`{"amount": 120}`: whether that is allowed, and by which version, of how many that were fetched before this
    answer.
    """
    limits = thresholds()
    return {"allowed": event["amount"] <= limits["amount"], "version": limits["version"], "fetched": fetched}
