"""Applications that need no framework: what they do at start-up, after the response and at shutdown is printed."""

import asyncio
import os
from wsgiref.validate import validator

if os.environ.get("RAISES"):
    raise RuntimeError(os.environ["RAISES"])


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if "NO_START" in os.environ:
            await send({"type": "lifespan.startup.failed", "message": os.environ["NO_START"]})
            return
        print("start-up")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": scope["path"].encode() + b" " + body})
    await asyncio.sleep(0.01)
    print("after the response")


@validator
def shop(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode("latin-1"), b" ", environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))]


def jobs(event, context):
    return {"job": event}
