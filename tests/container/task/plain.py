"""A function that uses nothing of Samovar: it returns which client runs it."""

import sys


def handler(event, context):
    return {"official_client": "awslambdaric" in sys.modules, "python": "{}.{}".format(*sys.version_info)}
