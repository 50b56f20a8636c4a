"""JSON events of a given size that look like those of real functions: many small records, or one uploaded file."""

from __future__ import annotations

import base64
import json
import random


def upload(size: int) -> bytes:
    """Return an uploaded file as API Gateway sends it: JSON of exactly `size` bytes, nearly all of it Base64."""
    content = base64.b64encode(random.Random(20261122).randbytes(size)).decode()
    document = {"version": "2.0", "routeKey": "PUT /file", "isBase64Encoded": True, "queryString": None, "body": ""}
    document["body"] = content[: size - len(_encode(document))]
    return _encode(document)


def records(size: int) -> bytes:
    """Return nested objects, text, numbers and some nulls: JSON of exactly `size` bytes, at least 400.

    The same size always gives the same document.
    """
    dice = random.Random(20261122)
    made: list[object] = []
    document = {"version": "2.0", "routeKey": "POST /orders", "isBase64Encoded": False, "records": made, "pad": ""}
    total = len(_encode(document))
    while True:
        record = _record(dice, len(made))
        total += len(_encode(record)) + bool(made)
        if total > size:
            break
        made.append(record)
    document["pad"] = "x" * (size - len(_encode(document)))
    return _encode(document)


def request(method: str, path: str, query: str = "", body: str | None = None) -> bytes:
    """Return a browser's request as a Function URL sends it. body: JSON."""
    host = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-west-1.on.aws"
    agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
    headers = {
        "accept": "application/json, text/plain, */*",
        "accept-encoding": "gzip, deflate, br, zstd",
        "accept-language": "en-GB,en;q=0.9,de;q=0.8",
        "authorization": f"Bearer {'x' * 200}",
        "host": host,
        "origin": "https://shop.example.com",
        "referer": "https://shop.example.com/",
        "sec-fetch-dest": "empty",
        "sec-fetch-mode": "cors",
        "sec-fetch-site": "cross-site",
        "user-agent": agent,
        "x-amzn-tls-cipher-suite": "TLS_AES_128_GCM_SHA256",
        "x-amzn-tls-version": "TLSv1.3",
        "x-amzn-trace-id": "Root=1-5759e988-bd862e3fe1be46a994272793",
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    }
    document = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": host.partition(".")[0],
            "domainName": host,
            "domainPrefix": host.partition(".")[0],
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": agent,
            },
            "requestId": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
            "routeKey": "$default",
            "stage": "$default",
            "time": "22/Nov/2026:05:00:00 +0000",
            "timeEpoch": 1795323600000,
        },
        "isBase64Encoded": False,
    }
    if body is not None:
        headers |= {"content-type": "application/json", "content-length": str(len(body))}
        document["body"] = body
    return _encode(document)


def _record(dice: random.Random, number: int) -> dict[str, object]:
    words = ("samovar", "kettle", "tea", "Zürich", "naïve", "line\nbreak", 'a "quoted" word', "茶")
    return {
        "id": f"{dice.getrandbits(64):016x}",
        "sequence": number,
        "price": round(dice.random() * 1000, 2),
        "ratio": dice.random(),
        "active": dice.random() < 0.5,
        "parent": None if dice.random() < 0.3 else dice.randrange(10**6),
        "title": " ".join(dice.choice(words) for _ in range(5)),
        "tags": [dice.choice(words) for _ in range(dice.randrange(4))],
        "address": {
            "street": f"{dice.randrange(200)} Main Street",
            "zip": f"{dice.randrange(10**5):05d}",
            "geo": [round(dice.uniform(-90, 90), 6), round(dice.uniform(-180, 180), 6)],
        },
    }


def _encode(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
