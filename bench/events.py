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
