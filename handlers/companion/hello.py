"""A companion in Python: _HANDLER='exec:python3 hello.py'. The same handler runs in process: _HANDLER=hello.handler."""

from typing import Any

from samovar.companion import serve

calls = 0  # lives as long as the environment


def handler(event: Any, context: Any) -> Any:
    global calls
    if isinstance(event, dict) and event.get("fail"):
        raise RuntimeError(event["fail"])
    calls += 1
    print(f"python: call {calls} of request {context.aws_request_id}")
    return {"language": "python", "calls": calls, "event": event}


if __name__ == "__main__":
    serve(handler)
