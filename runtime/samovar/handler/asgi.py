"""`asgi:module:application`: an ASGI 3 application answers HTTP events.

An invocation is one call of the application, in a task of its own. Its response is posted when its last message is
sent; what the application does after that runs between the response and the next event. Knows the event loop and the
event sources; knows neither the Runtime API nor the loop.
"""

import asyncio
from time import time

from samovar import aio, hooks, logs
from samovar.environment import environment
from samovar.errors import Fault, is_failure
from samovar.handler import web
from samovar.handler.sources.http import Answer, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from samovar.handler import Handle
    from samovar.handler.sources.http import Request
    from samovar.invocation import Invocation

_RESERVE = 0.2  # s before the time-out: to report what was cancelled, with a fourteenth of a core


def load(rest: str) -> "Handle":
    """Return the application that `module:application` names, as a handler, after its start-up.

    Raises Fault as `function.find` does, or what the application raises at start-up.
    """
    application, other = web.find("asgi", rest)
    lifespan = Lifespan(application)
    lifespan.start_up()
    cycles: list[Cycle] = []  # the one whose application has not returned yet
    streamed: web.Streamed | None = None
    if web.streams():
        from samovar.handler.asgi_stream import StreamedCycle

        def stream(
            request: "Request", event: "dict[str, Any]", invocation: "Invocation", prelude: "web.Prelude"
        ) -> StreamedCycle:
            scope = _scope(request, event, invocation, lifespan.state)
            cycle = StreamedCycle(application, request, scope, _end(invocation), prelude)
            cycles.append(cycle)
            aio.run(cycle.begin())
            return cycle

        streamed = stream

    def call(request: "Request", event: "dict[str, Any]", invocation: "Invocation") -> Answer:
        cycle = Cycle(application, request, _scope(request, event, invocation, lifespan.state), _end(invocation))
        cycles.append(cycle)
        try:
            answer: Answer = aio.run(cycle.answer())
        except BaseException:
            cycles.clear()
            raise
        return answer

    def finish() -> None:
        if cycles:
            aio.run(cycles.pop().finish())

    environment.after_response.insert(0, finish)  # before deferred calls
    environment.at_fork.append(cycles.clear)
    return web.adapt(call, streamed, "asgi", other)


def _end(invocation: "Invocation") -> float:
    """Return the Unix time at which to cancel the application; infinite where the invocation has no time-out."""
    context = invocation.context
    if context is None or context._epoch_deadline_time_in_ms <= 0:
        return float("inf")
    end = context._epoch_deadline_time_in_ms / 1000
    return end - min(_RESERVE, max(0.0, end - time()) / 10)


def _scope(
    request: "Request", event: "dict[str, Any]", invocation: "Invocation", state: "dict[str, Any] | None"
) -> "dict[str, Any]":
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path.decode("utf-8", "replace"),
        "raw_path": request.raw_path,
        "query_string": request.query,
        "root_path": request.root_path,
        "headers": request.headers,
        "client": (request.client, 0) if request.client else None,
        "server": (request.host, request.port),
        "aws.event": event,
        "aws.context": invocation.context,
    }
    if state is not None:
        scope["state"] = state.copy()
    return scope


class Cycle:
    """One request to the application: its messages, and its task, which may go on after the answer."""

    __slots__ = (
        "_answer",
        "_answered",
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
        self._answered: asyncio.Event = asyncio.Event()
        self._posted: asyncio.Event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def answer(self) -> Answer:
        """Start the application and return its answer once it is whole. What it raises before is logged, and the
        client gets 500. Raises TimeoutError where it is cancelled before the invocation's time-out.
        """
        self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            async with asyncio.timeout(self._time_left()):
                await self._answered.wait()
        except TimeoutError:
            self._task.cancel()
            await asyncio.wait([self._task])
            raise TimeoutError("cancelled: the invocation's time was nearly up") from None
        assert self._answer is not None
        return self._answer

    async def finish(self) -> None:
        """Let the application go on to its end, as its response has been posted. What it raises is logged."""
        self._posted.set()
        assert self._task is not None
        await asyncio.wait([self._task], timeout=self._time_left())
        if not self._task.done():
            logs.record("ERROR", "Out of time: what the application did after its response is cancelled")
            self._task.cancel()
            await asyncio.wait([self._task])

    def _time_left(self) -> "float | None":
        return None if self._end == float("inf") else max(0.0, self._end - time())

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
        self._answered.set()

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
            self._body.append(message.get("body", b""))
            if not message.get("more_body"):
                headers = [(bytes(name), bytes(value)) for name, value in self._start.get("headers", ())]
                self._answer = Answer(self._start["status"], headers, b"".join(self._body))
                self._answered.set()
                await self._posted.wait()  # the response leaves, whatever the application does next
        else:
            want = "http.response.start" if self._start is None else "http.response.body"
            raise RuntimeError(f"{kind!r} was sent where {want!r} is due")


class Lifespan:
    """The application's start-up, once in INIT, and its shutdown when Lambda ends the environment.

    state: what it has put into `scope["state"]`; None where it knows no lifespan.
    """

    def __init__(self, application: "Any") -> None:
        self._application = application
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[Any] = asyncio.Queue()  # messages; an exception; None for a return
        self.state: dict[str, Any] | None = {}

    def start_up(self) -> None:
        """Run the start-up. Raises what the application has raised, or Fault for the message it has sent."""
        answer = aio.run(self._begin())
        if isinstance(answer, dict) and answer["type"] == "lifespan.startup.complete":
            hooks.on_shutdown(self.shut_down)
        elif isinstance(answer, dict):
            raised = aio.run(self._answers.get())
            if isinstance(raised, BaseException):
                raise raised
            raise Fault("Runtime.StartupFailed", f"The application's start-up failed: {answer.get('message', '')}")
        else:  # "If an exception is raised … the server must continue" (ASGI, lifespan)
            self.state = None
            if answer is not None and logs.level_name() == "DEBUG":
                logs.record("DEBUG", f"The application has no lifespan: {type(answer).__name__}: {answer}")

    def shut_down(self) -> None:
        """Run the shutdown. Raises what the application raises."""
        if asyncio._get_running_loop() is not None:  # the signal has come within an invocation
            logs.record("WARNING", "The environment ends within an invocation, without the application's shutdown")
            return
        answer = aio.run(self._end())
        if isinstance(answer, BaseException):
            raise answer
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            logs.record("ERROR", f"The application's shutdown failed: {answer.get('message', '')}")

    async def _begin(self) -> "Any":
        self._events.put_nowait({"type": "lifespan.startup"})
        aio.spawn(self._run())
        return await self._answers.get()

    async def _end(self) -> "Any":
        self._events.put_nowait({"type": "lifespan.shutdown"})
        return await self._answers.get()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._application(scope, self._events.get, self._answers.put)
        except Exception as exc:
            self._answers.put_nowait(exc)
        else:
            self._answers.put_nowait(None)
