"""Wait 50 ms, as for a database, then return."""

import time


def handler(event, context):  # type: ignore[no-untyped-def]
    time.sleep(0.05)
    return event
