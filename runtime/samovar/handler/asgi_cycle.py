"""One request to an ASGI application: the messages, and the task, which may go on after the answer.

Knows the event loop and the log; knows nothing of events, the Runtime API or the loop.
"""

import asyncio
from time import time

from samovar import aio, logs
from samovar.errors import is_failure
from samovar.handler.sources.http import Answer, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from samovar.handler.sources.http import Request


class Cycle:
    """One request to the application: its messages, and its task, which may go on after the answer."""

    __slots__ = (
        "_answer",
        "_application",
        "_body",
        "_end",
        "_posted",
        "_request",
        "_scope",
        "_start",
        "_task",
    )

    def __init__(self, application: "Any", request: "Request", scope: "dict[str, Any]", end: float) -> None:
        self._application = application
        self._scope = scope
        self._request: Request | None = request  # None once the application has received it
        self._end = end
        self._start: dict[str, Any] | None = None
        self._body: list[bytes] = []
        self._answer: Answer | None = None
        self._posted: asyncio.Event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def answer(self) -> Answer:
        """Start the application and return its answer once it is whole. What it raises before is logged, and the
        client gets 500. Raises TimeoutError where it is cancelled before the invocation's time-out.
        """
        task = self._task = aio.get_loop().create_task(self._run(), context=aio.fresh())
        if aio.drive(task, lambda: self._answer is not None, self._end):
            raise TimeoutError("cancelled: the invocation's time was nearly up")
        assert self._answer is not None
        return self._answer

    def finish(self) -> None:
        """Let the application go on to its end, as its response has been posted. What it raises is logged."""
        task = self._task
        assert task is not None
        self._posted.set()
        if aio.drive(task, task.done, self._end):
            logs.record("ERROR", "Out of time: what the application did after its response is cancelled")

    async def _run(self) -> None:
        try:
            await self._application(self._scope, self._receive, self._send)
            if self._answer is None:
                raise RuntimeError("the application returned before its response was complete")
        except BaseException as exc:
            if not is_failure(exc):
                raise
            if self._task is None or not self._task.cancelling():  # not by us
                when = "" if self._answer is None else " after its response"
                logs.exception(f"The application failed{when}", exc)
            if self._answer is None:
                self._answer = failed()
                self._tell()
        self._ended()

    def _tell(self) -> None:
        """Let the thread go on that waits for the answer."""
        asyncio.get_running_loop().stop()

    def _ended(self) -> None:
        if self._posted.is_set():  # `finish` waits for the end
            asyncio.get_running_loop().stop()

    async def _receive(self) -> "dict[str, Any]":
        if self._request is not None:
            await asyncio.sleep(0)  # Starlette's is_disconnected() calls this in a cancelled scope: the body must stay
            if self._request is not None:
                body, self._request = self._request.body, None
                return {"type": "http.request", "body": body, "more_body": False}
        await self._posted.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: "dict[str, Any]") -> None:
        kind = message["type"]
        if self._answer is not None:
            raise RuntimeError(f"{kind!r} was sent after the response was complete")
        if kind == "http.response.start" and self._start is None:
            self._start = message
        elif kind == "http.response.body" and self._start is not None:
            self._body.append(bytes(message.get("body", b"")))
            if not message.get("more_body"):
                headers = [(bytes(name), bytes(value)) for name, value in self._start.get("headers", ())]
                self._answer = Answer(self._start["status"], headers, b"".join(self._body))
                self._tell()
                await self._posted.wait()  # the response leaves, whatever the application does next
            elif time() >= self._end:
                await asyncio.sleep(0)  # the timer's turn, which does not come where the application waits for nothing
        else:
            want = "http.response.start" if self._start is None else "http.response.body"
            raise RuntimeError(f"{kind!r} was sent where {want!r} is due")
