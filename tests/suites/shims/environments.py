"""One event in an environment of its own, in this process: INIT, the event, what follows its response, SIGTERM."""

from __future__ import annotations

import asyncio
import json
import sys
import types
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from samovar import aio, handler, hooks
from samovar.environment import environment
from samovar.invocation import Invocation


def answer(kind: str, application: Any, event: dict[str, Any]) -> dict[str, Any]:
    """Return what `asgi:` or `wsgi:`, the kind, answers to an event. Bytes in the event are text."""
    module: Any = types.ModuleType("application_code")
    module.application = application
    invocation = Invocation()
    for name in Invocation.__slots__:
        setattr(invocation, name, None)
    invocation.event = json.dumps(event, default=bytes.decode).encode()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with ExitStack() as stack:
        stack.enter_context(patch.dict(sys.modules, application_code=module))
        stack.enter_context(patch.object(aio, "_event_loop", None))
        for name in ("after_response", "at_fork", "shutdown_hooks"):
            stack.enter_context(patch.object(environment, name, list(getattr(environment, name))))
        try:
            given = handler.load(f"{kind}:application_code:application")(invocation)
            assert isinstance(given, bytes)
            for work in environment.after_response:
                work()
            hooks.shut_down()
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            asyncio.set_event_loop(None)
    made: dict[str, Any] = json.loads(given)
    return made
