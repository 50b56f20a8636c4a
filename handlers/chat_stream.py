"""Server-sent events, a word at a time, for a Function URL with the invoke mode RESPONSE_STREAM.

The generator is read as fast as the caller takes its words, and closed when the response ends, however it does.
"""

import json
import time

import samovar

PAUSE = 0.002  # seconds that the model takes for a word


def model(message):
    for word in f"You said {message!r}, and I have thought about it.".split():
        time.sleep(PAUSE)
        yield word


def handler(event, context):
    message = json.loads(event["body"])["message"]  # a failure here, before the first item, is an ordinary error
    yield samovar.Head(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    for word in model(message):
        yield f"data: {json.dumps({'word': word})}\n\n"
    yield "event: end\ndata: {}\n\n"
