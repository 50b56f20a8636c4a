"""Fail in INIT until the file that FLAG names exists."""

import os

if not os.path.exists(os.environ["FLAG"]):
    raise RuntimeError("no flag yet")


def handler(event, context):
    return "ready"
