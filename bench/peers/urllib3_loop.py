"""A runtime written in an afternoon: a loop over urllib3's pool and orjson, without context, error reports or logs."""

import importlib
import os
import sys

import orjson
import urllib3


def main() -> None:
    sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    handler = getattr(importlib.import_module(module), name)
    host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].rpartition(":")
    pool = urllib3.HTTPConnectionPool(host, int(port), maxsize=1, timeout=None, retries=False)
    base = "/2018-06-01/runtime/invocation"
    while True:
        event = pool.request("GET", f"{base}/next")
        os.environ["_X_AMZN_TRACE_ID"] = event.headers["Lambda-Runtime-Trace-Id"]
        result = handler(orjson.loads(event.data), None)
        request_id = event.headers["Lambda-Runtime-Aws-Request-Id"]
        pool.request(
            "POST",
            f"{base}/{request_id}/response",
            body=orjson.dumps(result),
            headers={"Content-Type": "application/json"},
        )


main()
