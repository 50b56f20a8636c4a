"""The floor of a request to an ASGI application: a loop over a raw socket that calls it, with a scope without the
event's headers, and posts status and body.
"""

import asyncio
import json
import os
from _socket import AF_INET, IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY, socket
from typing import Any

from web import app  # type: ignore[import-not-found]


def main() -> None:
    host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].rpartition(":")
    sock = socket(AF_INET, SOCK_STREAM)
    sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    sock.connect((host, int(port)))
    ask = f"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    run = asyncio.new_event_loop().run_until_complete
    while True:
        sock.sendall(ask)
        got = sock.recv(65536)
        head, _, event = got.partition(b"\r\n\r\n")
        at = head.find(b"Lambda-Runtime-Aws-Request-Id: ") + 31
        request_id = head[at:].partition(b"\r\n")[0].decode()
        body = run(_answer(json.loads(event)))
        sock.sendall(
            f"POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        if not sock.recv(65536):
            return


async def _answer(event: dict[str, Any]) -> bytes:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": event["requestContext"]["http"]["method"],
        "scheme": "https",
        "path": event["rawPath"],
        "raw_path": event["rawPath"].encode(),
        "query_string": event["rawQueryString"].encode(),
        "root_path": "",
        "headers": [(b"content-type", b"application/json")],
        "client": None,
        "server": ("localhost", 443),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": event.get("body", "").encode(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, body = sent
    return json.dumps({"statusCode": start["status"], "body": body["body"].decode()}).encode()


main()
