"""A typical handler: six modules of the standard library, and one log line for each event."""

import datetime
import decimal
import json
import logging
import re
import uuid

logger = logging.getLogger()
logger.setLevel("INFO")
_WORD = re.compile(r"[a-z]+")


def handler(event, context):  # type: ignore[no-untyped-def]
    logger.info("event with %d fields", len(event))
    at = datetime.datetime.fromtimestamp(1_700_000_000, datetime.timezone.utc)  # noqa: UP017
    total = decimal.Decimal("12.30") * 3
    name = _WORD.match("samovar")
    return {
        "statusCode": 200,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(
            {"id": str(uuid.UUID(int=7)), "at": at.isoformat(), "total": str(total), "name": name and name[0]}
        ),
    }
