"""Decide by a configuration that takes 300 ms to fetch, without letting any caller wait for it.

It is fetched during INIT and is fresh for THRESHOLDS_TTL seconds (60). After that a caller gets the old one at once,
and a new one is fetched after the response. THRESHOLDS_FILE names the JSON file that stands in for the configuration
service.
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
    """For `{"amount": 120}`, return whether that is allowed, by which version, and how often a version was fetched."""
    limits = thresholds()
    return {"allowed": event["amount"] <= limits["amount"], "version": limits["version"], "fetched": fetched}
