"""Read a cached value that takes 100 ms to load; return the process and how often it has loaded it."""

import os
import time

import samovar

loads: list[int] = []


@samovar.cached(ttl=300)
def value():  # type: ignore[no-untyped-def]
    loads.append(1)
    time.sleep(0.1)
    return 7


def handler(event, context):  # type: ignore[no-untyped-def]
    value()
    return [os.getpid(), len(loads)]
