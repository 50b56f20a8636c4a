"""Requests to an ASGI application where several are in flight at the same time: another thread than the one that waits
for the answer runs the event loop, and it goes on beside that.

Imported with `AWS_LAMBDA_MAX_CONCURRENCY`. Knows the event loop and the log; knows nothing of events, the Runtime API
or the loop.
"""

from samovar import aio, logs
from samovar.environment import environment
from samovar.handler.asgi_cycle import Cycle
from samovar.handler.asgi_stream import StreamedCycle
from samovar.handler.sources.http import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

    from samovar.concurrency.bridge import Bridge


class SharedCycle(Cycle):
    """One request to the application, whose task runs in the event loop's thread."""

    def answer(self) -> Answer:
        """Do what `Cycle.answer` does."""
        bridge, loop = _bridge()
        watch = bridge.watch(loop)
        context = aio.fresh()

        def begin() -> "asyncio.Future[None]":
            self._told = loop.create_future()
            self._task = watch.start(self._run(), context, self._end)
            self._task.add_done_callback(lambda ended: self._tell())
            return self._told

        bridge.wait(loop, begin)
        if watch.late:
            raise TimeoutError("cancelled: the invocation's time was nearly up")
        if self._answer is None:
            assert self._task is not None
            self._task.result()  # raises: what ends the environment, or that it was cancelled before it began
        assert self._answer is not None
        return self._answer

    def finish(self) -> None:
        """Do what `Cycle.finish` does."""
        _finish(self)

    def _tell(self) -> None:
        if not self._told.done():
            self._told.set_result(None)

    def _ended(self) -> None:
        pass  # the event loop goes on


class SharedStreamedCycle(StreamedCycle):
    """One request to the application, and the body of its response, which is sent beside the event loop."""

    def finish(self) -> None:
        """Do what `Cycle.finish` does."""
        _finish(self)

    def close(self) -> None:
        """Do what `StreamedCycle.close` does."""
        if not self._whole:
            aio.run(self._left())
            self.finish()

    async def _left(self) -> None:
        self._leave()

    def _ended(self) -> None:
        pass  # the event loop goes on


def _bridge() -> "tuple[Bridge, asyncio.AbstractEventLoop]":
    bridge = environment.bridge
    assert bridge is not None
    return bridge, bridge.loop()


def _finish(cycle: Cycle) -> None:
    task = cycle._task
    if task is None or task.done():
        return
    bridge, loop = _bridge()
    watch = bridge.watch(loop)

    def begin() -> "asyncio.Future[None]":
        cycle._posted.set()
        watch.begin(task, cycle._end)
        return task

    bridge.wait(loop, begin)
    if watch.late:
        logs.record("ERROR", "Out of time: what the application did after its response is cancelled")
