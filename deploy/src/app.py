"""A function behind a Function URL or an HTTP API: the greeting is looked up once a minute, whatever the traffic."""

import samovar


@samovar.cached(ttl=60)
def greeting():
    return "Hello from Samovar"


def handler(event, context):
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": greeting()}
