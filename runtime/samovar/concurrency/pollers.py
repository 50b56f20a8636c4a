"""N threads that each serve one invocation at a time: one process, one INIT, one handler, one memory.

The main thread waits: it runs the environment's event loop where there is one, gets the signals, and ends the
environment. Knows the loop's steps and the Runtime API client.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NoReturn

from samovar import codec, logs, loop
from samovar.concurrency import current, handed_on, output, settings, sigterm, trace, xray
from samovar.concurrency.bridge import Bridge
from samovar.concurrency.patience import Patience
from samovar.context import Contexts
from samovar.environment import environment
from samovar.errors import Fault
from samovar.runtime_api import ApiError, RuntimeClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.handler import Handle
    from samovar.invocation import Invocation

_LOOK = 1.0  # s between two looks whether a handler has ended its thread
_STEP = 0.005  # s between two looks whether an invocation is still in flight


def share(count: int) -> None:
    """Have the environment know the invocation of each thread and task from now on. count: how many at once."""
    environment.companions = min(count, 2 * settings.processors())
    for module in current, handed_on, trace:
        module.set_up()


def run(name: str, address: str, count: int) -> NoReturn:
    """Run INIT, then `count` pollers until the environment ends."""
    output.announce(count, count)
    output.set_up(1)
    share(count)
    loop.run(
        loop.connect(address),
        name,
        lambda client, handle: Pollers(lambda number: RuntimeClient(address), handle, count).serve(),
    )


class Pollers:
    """The pollers of a process, and its end. connect: makes the client of the poller with this number."""

    def __init__(self, connect: Callable[[int], RuntimeClient], handle: Handle, count: int) -> None:
        self._connect = connect
        self._handle = handle
        self._context = copy_context()  # that of INIT; each invocation has a copy
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()  # for the main thread
        self._pollers = [self._poller(number) for number in range(count)]
        self._bridge = Bridge(self.call)
        self.stopping = False
        self.stopped = threading.Event()  # the same, to wait for
        self._ends = False  # by an exception
        self._terminates = False
        self.gave_up = False  # whether the Runtime API has given no poller an event for long
        xray.adapt()

    def _poller(self, number: int) -> Poller:
        return Poller(self, self._connect(number), self._handle, self._context, number)

    def serve(self) -> NoReturn:
        """Serve every invocation from now on. Called in the main thread."""
        os.register_at_fork(after_in_child=self._forked)
        sigterm.take(lambda signum, frame: self.call(self._terminate))
        for poller in self._pollers:
            if not poller.start():
                poller.polls = False
                self.gives_up()
        while True:
            if (call := self._next_call()) is None:
                self._look()
            else:
                call()

    def _next_call(self) -> Callable[[], object] | None:
        """Run the event loop, or wait, until there is something to call; None where there is nothing for a while."""
        try:
            self._bridge.run_loop(_LOOK)
            return self._calls.get(timeout=0 if self._bridge.has_loop() else _LOOK)
        except Empty:
            pass
        except (SystemExit, KeyboardInterrupt) as exc:
            if isinstance(exc, SystemExit) or not self._bridge.has_raised(exc):  # else a poller reports it
                self.end(exc)
        except BaseException as exc:  # from a signal handler, which knows no invocation
            logs.exception("The main thread was interrupted", exc)
        return None

    def call(self, f: Callable[[], object]) -> None:
        """Have the main thread call f(). Any thread may ask, and a signal handler."""
        self._calls.put(f)
        self._bridge.interrupt()

    def end(self, exc: BaseException) -> None:
        """End the environment by an exception, in the main thread, after what is in flight. The first one counts."""
        if self._ends:
            return
        self._ends = True

        def raise_it() -> NoReturn:
            self._stop_polling()
            self._wait_for_flights(sigterm.UNTIL_END)
            environment.at_shutdown.append(lambda: _end_in_time(exc))
            raise exc

        self.call(raise_it)

    def gives_up(self) -> None:
        """Take note that a poller has ended, or fails for long. The last one ends the environment."""
        if not (self.stopping or self._ends or any(poller.polls and not poller.fails for poller in self._pollers)):
            self.gave_up = True
            self.end(SystemExit(1))

    def _look(self) -> None:
        """Replace pollers whose thread a handler has ended from below Python."""
        for at, poller in enumerate(self._pollers):
            if poller.polls and not poller.is_alive():
                logs.record("ERROR", f"A handler has ended its thread, samovar-{at}: it is replaced")
                new = self._poller(at)
                new.lost = poller.invocation
                if new.start():  # else at the next look
                    self._pollers[at] = new

    def _terminate(self) -> None:
        """End the environment as Lambda asks: no new polls, and the hooks run once. What is in flight has the time that
        there is; after that coroutines are cancelled, and what is streamed is closed.
        """
        if self._terminates:
            return
        self._terminates = True
        began = time.monotonic()
        self._stop_polling()
        self._wait_for_flights(sigterm.UNTIL_HOOKS)
        for end in environment.at_shutdown:
            end()
        self._wait_for_flights(sigterm.UNTIL_CUT - (time.monotonic() - began))
        self._cut_off()
        self._wait_for_flights(sigterm.UNTIL_END - (time.monotonic() - began))
        sigterm.die()
        raise SystemExit(1)

    def _stop_polling(self) -> None:
        self.stopping = True
        self.stopped.set()
        for poller in self._pollers:
            poller.stop()

    def _wait_for_flights(self, seconds: float) -> None:
        """Wait until all pollers have ended, which those do at once that have nothing in flight. What they have the
        main thread call is called meanwhile.
        """
        end = time.monotonic() + seconds
        while any(poller.polls for poller in self._pollers) and time.monotonic() < end:
            self._stop_polling()  # again: a poller may have begun to ask at the same time
            with suppress(Exception, SystemExit):  # the environment ends already
                self._bridge.sleep(_STEP)
            with suppress(Exception, SystemExit):
                self._calls.get_nowait()()

    def _cut_off(self) -> None:
        flying = [poller for poller in self._pollers if poller.invocation is not None]
        if flying:
            ids = ", ".join(poller.invocation.id for poller in flying if poller.invocation is not None)
            logs.record("WARNING", f"The environment ends: out of time for the invocations {ids}")
        for poller in flying:
            poller.cut_off()
        self._bridge.cancel()

    def _forked(self) -> None:
        """Leave events and responses to the parent, in a child that a handler has forked."""
        self.stopping = True
        for poller in self._pollers:
            poller.disown()


class Poller:
    """A thread that serves one invocation after the other over a connection of its own.

    invocation: the one in flight. polls: whether it asks for more. fails: whether that has failed for long. lost: an
    invocation whose thread has gone, to be failed first.
    """

    def __init__(self, group: Pollers, client: RuntimeClient, handle: Handle, context: Context, number: int) -> None:
        self._group = group
        self._client = client
        self._handle = handle
        self._context = context
        self._begin = Contexts(_leave_trace_id).begin
        self._thread = threading.Thread(target=self._run, name=f"samovar-{number}", daemon=True)
        self.invocation: Invocation | None = None
        self.lost: Invocation | None = None
        self.polls = True
        self.fails = False
        self.number = number

    def start(self) -> bool:
        """Start the thread; return whether there is one. What is too much for the process is a matter of this one."""
        try:
            self._thread.start()
        except RuntimeError as exc:
            logs.record("ERROR", f"{self._thread.name} cannot be started: {exc}")
            return False
        return True

    def is_alive(self) -> bool:
        """Return whether the thread is there, for the kernel too: pthread_exit() goes past Python."""
        native = self._thread.native_id
        return native is None or os.path.exists(f"/proc/self/task/{native}")

    def stop(self) -> None:
        """End the wait for an event: none that comes now is taken."""
        if self.invocation is None:
            self._client.stop_waiting()

    def cut_off(self) -> None:
        """End a response that is being streamed, also where its reader takes no more."""
        self._client.stop_waiting()

    def disown(self) -> None:
        self._client.disown()

    def _run(self) -> None:
        try:
            if self.lost is not None:
                self._context.copy().run(self._fail_lost, self.lost)
                self.lost = None
            while (invocation := self._next()) is not None:
                self.invocation = invocation
                self._context.copy().run(self._serve, invocation)
                self.invocation = invocation = None
        except BaseException as exc:
            self._group.end(exc)
        finally:
            self.polls = False
            self.invocation = None
        self._group.gives_up()  # where none has ended the environment

    def _next(self) -> Invocation | None:
        """Return the next invocation; None where there shall be no more. A failed poll is repeated after a pause."""
        patience = Patience()
        while not self._group.stopping:
            try:
                invocation = self._client.next()
                self.fails = False
                return invocation
            except Exception as exc:  # an ApiError; or memory is used up, or there is a fault of ours
                if self._group.stopping:
                    break
                if patience.is_over(exc):
                    self.fails = True
                    self._group.gives_up()
                patience.pause(exc, self._group.stopped.wait)
        return None

    def _serve(self, invocation: Invocation) -> None:
        """Serve one invocation, whatever becomes of it; only SystemExit gets out."""
        environment.begin(invocation)
        try:
            self._answer(invocation)
            for work in environment.after_response:
                work()
            codec.upgrade()
        except SystemExit:
            raise
        except BaseException as exc:  # a fault of ours, or of a hook
            logs.exception("The runtime failed after a response", exc)
        finally:
            output.end_lines(self._group.call)
            environment.end()

    def _fail_lost(self, invocation: Invocation) -> None:
        environment.begin(invocation)
        self._report(invocation, Fault("Runtime.ExitError", "The handler has ended its thread"))
        environment.end()

    def _answer(self, invocation: Invocation) -> None:
        try:
            self._begin(invocation)
            self._handle = loop.attached(self._client, self._handle)  # an agent may have come with another invocation
            response = self._handle(invocation)
        except SystemExit:
            raise
        except BaseException as exc:
            self._report(invocation, exc)
            return
        try:
            loop.respond(self._client, invocation, response)
        except ApiError as exc:
            logs.record("WARNING", f"The response of this invocation was refused: {exc}")

    def _report(self, invocation: Invocation, exc: BaseException) -> None:
        try:
            loop.fail(self._client, invocation, exc)
        except ApiError as refused:
            logs.record("WARNING", f"The error of this invocation was refused: {refused}")


def _end_in_time(exc: BaseException) -> None:
    """Have the process end, which otherwise waits for all threads that the function has left running."""
    code = exc.code if isinstance(exc, SystemExit) else 1

    def end() -> None:
        time.sleep(sigterm.UNTIL_END)
        os._exit(code & 0xFF if isinstance(code, int) else int(code is not None))

    threading.Thread(target=end, daemon=True).start()


def _leave_trace_id(trace_id: str | None) -> None:
    """Leave the variable of the trace id alone: the process has one, and each invocation another id."""
