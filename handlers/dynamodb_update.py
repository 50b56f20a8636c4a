"""Reads a DynamoDB Streams batch, logs each record and returns a summary."""

import logging
from collections import Counter

logger = logging.getLogger()
logger.setLevel(logging.INFO)


def handler(event, context):
    counts = Counter()
    for record in event["Records"]:
        counts[record["eventName"]] += 1
        change = record["dynamodb"]
        logger.info("%s %s %s", record["eventID"], record["eventName"], plain(change["Keys"]))
        if record["eventName"] == "MODIFY" and "OldImage" in change and "NewImage" in change:
            old, new = plain(change["OldImage"]), plain(change["NewImage"])
            for name in sorted(old.keys() | new.keys()):
                if old.get(name) != new.get(name):
                    logger.info("%s %s: %r -> %r", record["eventID"], name, old.get(name), new.get(name))
    return {"records": sum(counts.values()), **counts}


def plain(image):
    """An item in DynamoDB's typed JSON as plain values; a number stays the exact string that it travels as."""
    return {name: value(*typed.items()) for name, typed in image.items()}


def value(typed):
    kind, content = typed
    if kind == "NULL":
        return None
    if kind == "M":
        return plain(content)
    if kind == "L":
        return [value(*element.items()) for element in content]
    return content
