"""Many requests at once, over connections that INIT opens and later invocations find open.

One event loop serves all of the environment's life, so an async client is made once. A function would use one of
httpx or aiohttp; this one has what the example needs, and nothing to install.
"""

import asyncio
import os

import samovar


class Client:
    """Requests to one server, over connections that are kept."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.opened = 0
        self._idle = []

    async def get(self, path):
        if not self._idle:
            self._idle.append(await asyncio.open_connection(self.host, self.port))
            self.opened += 1
        reader, writer = connection = self._idle.pop()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        body = await reader.readexactly(length)
        self._idle.append(connection)
        return body.decode()


client = Client(os.environ["API_HOST"], int(os.environ["API_PORT"]))


@samovar.warm
async def connect():
    await asyncio.gather(*(client.get("/") for _ in range(4)))


async def handler(event, context):
    bodies = await asyncio.gather(*(client.get(path) for path in event["paths"]))
    return {"answers": bodies, "connections": client.opened}
