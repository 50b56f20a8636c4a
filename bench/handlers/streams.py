"""Streams: the time of the first yield, and 64 KB chunks."""

from time import perf_counter_ns

CHUNK = b"x" * 65536


def handler(event, context):  # type: ignore[no-untyped-def]
    if not event:
        yield str(perf_counter_ns())
    for _ in range(event):
        yield CHUNK


async def from_async(event, context):  # type: ignore[no-untyped-def]
    if not event:
        yield str(perf_counter_ns())
    for _ in range(event):
        yield CHUNK
