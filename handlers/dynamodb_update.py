"""Read a DynamoDB Streams batch, log each record and return a summary."""

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
    """Convert an item from DynamoDB's typed JSON to plain values. A number stays a string, so that it stays exact."""
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
