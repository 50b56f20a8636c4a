"""A coroutine handler whose cached coroutine is stale at every event, so that its refresh needs the event loop."""

import asyncio

from samovar import cached

loads = []


@cached(ttl=0.000001, stale=3600)
async def value():
    await asyncio.sleep(0)
    loads.append(id(asyncio.get_running_loop()))
    return len(loads)


async def handler(event, context):
    return {"value": await value(), "loads": len(loads), "loops": len(set(loads))}
