"""Wait 50 ms on the event loop."""

import asyncio


async def handler(event, context):  # type: ignore[no-untyped-def]
    await asyncio.sleep(0.05)
    return event
