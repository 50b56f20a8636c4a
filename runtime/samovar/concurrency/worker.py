"""What a worker does from the fork on: INIT, then one invocation at a time as in any other environment, or pollers.

Knows the loop, and how to tell the supervisor something; the supervisor itself is in `workers`.
"""

from __future__ import annotations

from samovar import logs, loop
from samovar.concurrency import sigterm
from samovar.concurrency.flights import GIVES_UP, SERVES, SERVES_ALL, NotingClient
from samovar.concurrency.patience import Patience
from samovar.environment import environment
from samovar.runtime_api import ApiError, NotTaken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

    from samovar.concurrency.flights import Board, Slot
    from samovar.handler import Handle
    from samovar.invocation import Invocation
    from samovar.runtime_api import RuntimeClient, StreamFailure

_ASYNC = 0x80 | 0x200  # of a code object: a coroutine function, an async generator function
_RUNNERS = {"run", "run_until_complete", "run_coroutine_threadsafe"}  # what a plain function calls to run a coroutine


def run(
    name: str,
    address: str,
    board: Board,
    number: int,
    slots: list[Slot],
    *,
    threaded: bool,
    if_async: list[Slot] | None,
) -> NoReturn:
    """Serve as the worker with this number, in the process that was forked for it.

    threaded: whether each slot has a poller; otherwise there is one slot. if_async: the slots that pollers serve where
    the handler is async; None where that has been found out before.
    """
    environment.times_out = False
    if threaded:
        from samovar.concurrency import pollers

        pollers.share(len(slots))

    def serve_with_pollers(handle: Handle, slots: list[Slot]) -> NoReturn:
        from samovar.concurrency import pollers

        pollers.share(len(slots))
        group = pollers.Pollers(lambda number: NotingClient(address, slots[number]), handle, len(slots))
        try:
            group.serve()
        finally:
            if group.gave_up:
                board.say(number, GIVES_UP)

    def serve(client: RuntimeClient, handle: Handle) -> NoReturn:
        if if_async is not None and is_async(handle):
            board.say(number, SERVES_ALL)
            serve_with_pollers(handle, if_async)
        board.say(number, SERVES)
        if threaded:
            serve_with_pollers(handle, slots)
        assert isinstance(client, OneAtATime)
        sigterm.take(client.terminate)
        loop.serve(client, handle)

    first = if_async is not None
    if threaded:
        client = NotingClient(address, slots[0], first=first)
    else:
        client = OneAtATime(address, slots[0], board, number, first=first)
    loop.run(client, name, serve)


def is_async(handle: Handle) -> bool:
    """Return whether a handler is a coroutine function or an async generator function, also behind decorators that
    hand on what it returns.
    """
    handle = getattr(handle, "__wrapped__", handle)  # of an agent
    function: Any = getattr(handle, "function", None)
    if type(function) is type(is_async) and not function.__dict__:  # without decorators
        return bool(function.__code__.co_flags & _ASYNC)
    import inspect  # takes longer than the rest of a worker's start

    for _ in range(100):  # a chain of decorators may be a circle
        for each in (function, type(function).__call__):
            if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
                return True
        if not hasattr(function, "__wrapped__") or _runs_coroutines(function):
            break  # plain for its caller, it may count on being alone
        function = function.__wrapped__
    return False


def _runs_coroutines(decorator: Any) -> bool:
    """Return whether a decorator's function may run a coroutine to its end, by itself or by what it calls."""
    from inspect import getattr_static
    from types import BuiltinMethodType, FunctionType, MethodType

    code = getattr(decorator, "__code__", None)
    if code is None:
        return False
    reached = [decorator.__globals__.get(name) for name in code.co_names]
    for cell in decorator.__closure__ or ():
        try:
            reached.append(cell.cell_contents)
        except ValueError:
            pass  # it is empty
    reached += [getattr_static(each, name, None) for each in reached for name in code.co_names]
    for each in [decorator, *reached]:
        if type(each) in (FunctionType, MethodType, BuiltinMethodType) and each is not decorator.__wrapped__:
            calls = getattr(getattr(each, "__code__", None), "co_names", ())
            if not _RUNNERS.isdisjoint((*calls, each.__name__)):
                return True
    return False


class OneAtATime(NotingClient):
    """The client of a worker that serves one invocation at a time: what fails is repeated or logged, as the other
    workers go on, and SIGTERM lets the invocation in flight finish.
    """

    def __init__(self, address: str, slot: Slot, board: Board, number: int, *, first: bool) -> None:
        super().__init__(address, slot, first=first)
        self._board = board
        self._number = number
        self._asks = False  # in /next
        self._in_flight = False
        self._stopping = False
        self._over = False  # whether what waits for the end of the environment has begun

    def next(self) -> Invocation:
        """Return the next invocation. A failed poll is repeated after a pause."""
        self._in_flight = False
        patience = Patience()
        while not self._stopping:
            self._asks = True
            try:
                invocation = super().next()
                self._in_flight = True
                return invocation
            except ApiError as exc:
                if not environment.running:  # a child that the function has forked got here
                    raise
                if self._stopping:
                    break
                if patience.is_over(exc):
                    self._board.say(self._number, GIVES_UP)
                    raise
                failed = exc
            finally:
                self._asks = False
            patience.pause(failed)
        self._end()

    def stream(
        self,
        invocation: Invocation,
        chunks: Iterable[bytes],
        content_type: str,
        failed: Callable[[], StreamFailure],
        wait: Callable[[int], None] | None,
    ) -> None:
        _log_refusal(lambda: super(OneAtATime, self).stream(invocation, chunks, content_type, failed, wait))

    def _post(self, path: str, headers: str, body: bytes) -> None:
        _log_refusal(lambda: super(OneAtATime, self)._post(path, headers, body))

    def terminate(self, signum: int, frame: object) -> None:
        """End before the next event. What is in flight goes on; where the time for that is up, beside it the hooks."""
        self._stopping = True
        hurry = self._board.in_a_hurry()
        if self._asks and not hurry:
            self.stop_waiting()  # an event that has come is served
        elif self._in_flight:
            if hurry:
                self._run_hooks()
        elif not self._over:
            self._end()

    def _end(self) -> NoReturn:
        self._run_hooks()
        sigterm.die()
        raise SystemExit(1)

    def _run_hooks(self) -> None:
        if not self._over:
            self._over = True
            for end in environment.at_shutdown:
                end()


def _log_refusal(post: Callable[[], None]) -> None:
    """Post, and log a refusal that would end an environment without other workers."""
    try:
        post()
    except NotTaken:
        raise
    except ApiError as exc:
        logs.record("WARNING", f"What was posted for this invocation was refused: {exc}")
