"""An ASGI application's answer, streamed: each message is a chunk, sent before the application goes on.

Imported where `SAMOVAR_RESPONSE_MODE` is `stream`. Knows the event loop; knows neither the Runtime API nor the loop.
"""

import asyncio
from time import time

from samovar import aio, logs
from samovar.environment import environment
from samovar.errors import is_failure
from samovar.handler.asgi_cycle import Cycle
from samovar.handler.sources.http import failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from samovar.handler.sources.http import Request
    from samovar.handler.web import Prelude


class StreamedCycle(Cycle):
    """One request to the application, and the body of its response: the prelude, then what it sends."""

    def __init__(
        self, application: "Any", request: "Request", scope: "dict[str, Any]", end: float, prelude: "Prelude"
    ) -> None:
        super().__init__(application, request, scope, end)
        self.wait: Callable[[int], None] | None = None if environment.shared else _wait
        self.status = 0
        self._prelude = prelude
        self._head: bytes | None = None  # not sent yet
        self._chunk = b""
        self._begun = False  # the first message with a body has come
        self._whole = False  # the last message has come
        self._failure: BaseException | None = None
        self._gone = False  # nobody takes the answer any more
        self._silent = request.method == "HEAD"
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()

    async def begin(self) -> None:
        """Start the application and wait for the first message with its body, or for its failure."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self._news_in_time()
        if self._failure is not None and not self._begun:
            raise self._failure

    def __iter__(self) -> "StreamedCycle":
        return self

    def __next__(self) -> bytes:
        if self._head is not None:
            head, self._head = self._head, None
            return head
        while True:
            chunk, self._chunk = self._chunk, b""
            if chunk and not self._silent:
                return chunk
            if self._failure is not None:
                failure, self._failure = self._failure, None
                try:
                    raise failure
                finally:
                    del failure  # the traceback holds this frame
            if self._whole:
                raise StopIteration
            aio.run(self._next())

    def close(self) -> None:
        """Let the application end, where its answer is not whole: by an OSError from `send`, or cancelled where it
        does not wait there. At once, as after SIGTERM there is no later.
        """
        if not self._whole:
            self._leave()
            self.finish()

    def _leave(self) -> None:
        self._gone = True
        if self._wanted.is_set() and self._task is not None:
            self._task.cancel()
        self._wanted.set()

    async def _next(self) -> None:
        self._news.clear()
        self._wanted.set()
        await self._news_in_time()

    async def _news_in_time(self) -> None:
        try:
            async with asyncio.timeout(self._time_left()):
                await self._news.wait()
        except TimeoutError:
            assert self._task is not None
            self._gone = True
            self._task.cancel()
            await asyncio.wait([self._task])
            raise TimeoutError("cancelled: the invocation's time was nearly up") from None

    def _time_left(self) -> "float | None":
        return None if self._end == float("inf") else max(0.0, self._end - time())

    async def _run(self) -> None:
        try:
            await self._application(self._scope, self._receive, self._send)
            if not self._whole and not self._gone:
                raise RuntimeError("the application returned before its response was complete")
        except BaseException as exc:
            if not is_failure(exc):
                self._failure = exc
                self._news.set()
                raise
            assert self._task is not None
            if self._gone or self._task.cancelling():
                pass  # what has ended the response has been logged
            elif self._whole:
                logs.exception("The application failed after its response", exc)
            elif not self._begun:
                logs.exception("The application failed", exc)
                answer = failed()
                self.status = answer.status
                self._head, self._chunk = self._prelude(answer.status, answer.headers), answer.body
                self._whole = True
            else:
                self._failure = exc  # into the trailers, and the log
        self._news.set()
        self._ended()

    async def _send(self, message: "dict[str, Any]") -> None:
        kind = message["type"]
        if self._gone:
            raise OSError("the response is taken no longer")
        if self._whole:
            raise RuntimeError(f"{kind!r} was sent after the response was complete")
        if kind == "http.response.start" and self._start is None:
            headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
            self._head = self._prelude(message["status"], headers)
            self.status = message["status"]
            self._start = message
        elif kind == "http.response.body" and self._start is not None:
            self._begun = True
            self._chunk = bytes(message.get("body", b""))
            self._whole = not message.get("more_body")
            self._news.set()
            if self._whole:
                await self._posted.wait()  # the response leaves, whatever the application does next
            else:
                self._wanted.clear()
                await self._wanted.wait()
                if self._gone:
                    raise OSError("the response is taken no longer")
        else:
            want = "http.response.start" if self._start is None else "http.response.body"
            raise RuntimeError(f"{kind!r} was sent where {want!r} is due")


def _wait(fd: int) -> None:
    """Let the tasks of the event loop go on until a descriptor can be written."""
    aio.run(_writable(fd))


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
