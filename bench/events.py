"""JSON events of a given size that look like those of real functions: nested objects, text, numbers, some null."""

from __future__ import annotations

import json
import random


def make(size: int) -> bytes:
    """A JSON document of exactly `size` bytes, at least 400; the same one every time."""
    dice = random.Random(20261122)
    records: list[object] = []
    document = {"version": "2.0", "routeKey": "POST /orders", "isBase64Encoded": False, "records": records, "pad": ""}
    total = len(_encode(document))
    while True:
        record = _record(dice, len(records))
        total += len(_encode(record)) + bool(records)
        if total > size:
            break
        records.append(record)
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
