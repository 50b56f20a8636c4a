"""`asgi:module:application`: an ASGI 3 application answers HTTP events.

An invocation is one call of the application, in a task of its own. Its response is posted when its last message is
sent; what the application does after that runs between the response and the next event. Knows the event loop and the
event sources; knows neither the Runtime API nor the loop.
"""

import asyncio

from samovar import aio, hooks, logs
from samovar.deadline import stop_time
from samovar.environment import environment
from samovar.errors import Fault
from samovar.handler import web
from samovar.handler.asgi_cycle import Cycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from samovar.handler import Handle
    from samovar.handler.sources.http import Answer, Request
    from samovar.invocation import Invocation


def load(rest: str) -> "Handle":
    """Return the application that `module:application` names, as a handler, after its start-up.

    Raises Fault as `function.find` does, or what the application raises at start-up.
    """
    application, other = web.find("asgi", rest)
    lifespan = Lifespan(application)
    lifespan.start_up()
    cycles: dict[Invocation | None, Cycle] = {}  # those whose application has not returned yet
    make: type[Cycle] = Cycle
    if environment.shared:
        from samovar.handler.asgi_shared import SharedCycle as make
    streamed: web.Streamed | None = None
    if web.streams():
        from samovar.handler.asgi_stream import StreamedCycle

        make_streamed: type[StreamedCycle] = StreamedCycle
        if environment.shared:
            from samovar.handler.asgi_shared import SharedStreamedCycle as make_streamed

        def stream(
            request: "Request", event: "dict[str, Any]", invocation: "Invocation", prelude: "web.Prelude"
        ) -> StreamedCycle:
            scope = _scope(request, event, invocation, lifespan.state)
            cycle = make_streamed(application, request, scope, stop_time(invocation), prelude)
            cycles[environment.invocation] = cycle
            aio.run(cycle.begin())
            return cycle

        streamed = stream

    def call(request: "Request", event: "dict[str, Any]", invocation: "Invocation") -> "Answer":
        cycle = make(application, request, _scope(request, event, invocation, lifespan.state), stop_time(invocation))
        cycles[environment.invocation] = cycle
        return cycle.answer()

    def finish() -> None:
        if cycle := cycles.pop(environment.invocation, None):
            cycle.finish()
            aio.warn_of_tasks()

    environment.after_response.insert(0, finish)  # before deferred calls
    environment.at_fork.append(cycles.clear)
    return web.adapt(call, streamed, "asgi", other)


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


class Lifespan:
    """The application's start-up, once in INIT, and its shutdown when Lambda ends the environment.

    state: what it has put into `scope["state"]`; None where it knows no lifespan.
    """

    def __init__(self, application: "Any") -> None:
        self._application = application
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[Any] = asyncio.Queue()  # messages; an exception; None for its end
        self._starting = False  # it has been told to start
        self._failed = False  # it has said that it could not
        self._due = "lifespan.startup"  # what its next message is about
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
            if answer is not None and self._starting:
                logs.exception("The application's start-up failed, and it is served without a lifespan", answer)
            elif answer is not None and logs.level_name() == "DEBUG":
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
        answer = None
        try:
            await self._application(scope, self._receive, self._send)
        except Exception as exc:
            answer = exc
        except asyncio.CancelledError:
            pass
        self._answers.put_nowait(answer)

    async def _receive(self) -> "dict[str, Any]":
        if self._failed:  # there is no more to come, and INIT waits for its end
            raise asyncio.CancelledError("the start-up failed")
        self._starting = True
        return await self._events.get()

    async def _send(self, message: "dict[str, Any]") -> None:
        kind = message["type"]
        if kind not in (f"{self._due}.complete", f"{self._due}.failed"):  # one that takes each scope for a request
            raise RuntimeError(f"{kind!r} was sent where '{self._due}.complete' is due")
        self._due = "lifespan.shutdown"
        self._failed = kind == "lifespan.startup.failed"
        self._answers.put_nowait(message)
