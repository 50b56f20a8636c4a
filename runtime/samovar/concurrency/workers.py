"""Several processes that serve, and the one that supervises them, which never imports the handler.

The first worker is forked alone: if it finds that the handler is async it serves all by itself, else the others are
forked. A worker that dies is replaced, and what it had in flight is failed; one that fails INIT is replaced only while
another serves.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` makes enums first
import fcntl
import os
import sys
import time

from samovar import codec, logs, loop
from samovar.concurrency import output, settings, sigterm, worker
from samovar.concurrency.flights import GIVES_UP, SERVES_ALL, STARTS, Board, Slot
from samovar.environment import environment
from samovar.runtime_api import ApiError, RuntimeClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_SIGNALS = {signal.SIGCHLD, signal.SIGTERM}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # s, before a worker is replaced that has answered nothing


def shares(count: int, mode: str) -> list[int]:
    """Return how many invocations at once each process serves: one in the mode `process`, else `count` spread over as
    many processes as there are processors.
    """
    if mode == "process":
        return [1] * count
    processes = min(count, settings.processors())
    return [count // processes + (number < count % processes) for number in range(processes)]


def run(name: str, address: str, shares: list[int], *, threaded: bool) -> NoReturn:
    """Run a process for each share, until all have ended. threaded: whether they serve with pollers."""
    loop.connect(address)  # ends here where the address is none
    if threaded:
        from samovar.concurrency import pollers  # noqa: F401 (once, for all of them)
    output.announce(len(shares), sum(shares))
    Supervisor(name, address, shares, threaded).run()


class Place:
    """A worker and its successors, one at a time. pid: 0 where there is none. due: when to start the next."""

    def __init__(self, number: int, slots: list[Slot]) -> None:
        self.number = number
        self.slots = slots
        self.pid = 0
        self.lifeline = -1  # a descriptor that the worker sees close when the supervisor dies
        self.serves = False  # whether its INIT is over
        self.waits = False  # for another worker to serve, as this place's own has failed INIT
        self.pause = 0.0
        self.due: float | None = None


class Supervisor:
    """Forks the workers, replaces them, and ends with them."""

    def __init__(self, name: str, address: str, shares: list[int], threaded: bool) -> None:
        self._name = name
        self._address = address
        self._threaded = threaded
        self._board = Board(len(shares), sum(shares))
        self._places = [
            Place(number, self._board.slots(sum(shares[:number]), share)) for number, share in enumerate(shares)
        ]
        self._all_slots = self._board.slots(0, sum(shares))
        self._scouting = True  # only the first has been forked
        self._stopping_since: float | None = None
        self._status = 1  # to end with
        self._pid = os.getpid()
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

    def run(self) -> NoReturn:
        """Supervise until there is no worker, and none to come."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._places[0].due = 0
        while True:
            self._start_those_due()
            if not any(place.pid or place.due is not None for place in self._places):
                self._end()
            got = signal.sigtimedwait(_SIGNALS, self._time_to_wait())
            if got is not None and got.si_signo == signal.SIGTERM:
                self._terminate()
            self._push()
            self._see_who_serves()
            while (ended := _reap()) is not None:
                self._see_who_serves()  # it may have served since
                self._see_end(*ended)

    def _time_to_wait(self) -> float:
        now = time.monotonic()
        times = [place.due for place in self._places if place.due is not None]
        if self._stopping_since is not None:
            times += [self._stopping_since + seconds for seconds in (sigterm.UNTIL_HOOKS, sigterm.UNTIL_KILL)]
        return min((at - now for at in times if at > now), default=60.0)

    # --- the beginning of a worker

    def _start_those_due(self) -> None:
        for place in self._places:
            if place.due is not None and place.due <= time.monotonic():
                place.due = None
                self._start(place)

    def _start(self, place: Place) -> None:
        self._board.set_state(place.number, STARTS)
        place.serves = False
        pipe: tuple[int, ...] = ()
        try:
            read, write = pipe = os.pipe()
            pid = os.fork()
        except OSError as exc:
            for fd in pipe:
                os.close(fd)
            self._replace(place, f"Worker {place.number} cannot be started: {exc}", answered=False)
            return
        if not pid:
            os.close(write)
            self._become_worker(place, read)
        os.close(read)
        place.pid, place.lifeline = pid, write

    def _become_worker(self, place: Place, lifeline: int) -> NoReturn:
        for other in self._places:
            if other.lifeline >= 0:
                os.close(other.lifeline)
        # The kernel sends SIGTERM when the other end is closed: a supervisor that is killed leaves no worker behind.
        try:
            fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGTERM)
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        except OSError:
            pass  # an emulated kernel may not know that
        if os.getppid() != self._pid:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        output.set_up(len(self._places))
        worker.run(
            self._name,
            self._address,
            self._board,
            place.number,
            place.slots,
            threaded=self._threaded,
            if_async=self._all_slots if self._scouting else None,
        )

    def _see_who_serves(self) -> None:
        for place in self._places:
            state = self._board.state(place.number)
            if place.pid and not place.serves and state != STARTS:
                place.serves = True
                for other in self._places:
                    if other.waits and self._stopping_since is None:
                        other.waits = False
                        other.due = time.monotonic() + other.pause
                if self._scouting:
                    self._scouting = False
                    if state == SERVES_ALL:
                        place.slots = self._all_slots
                        self._places, self._threaded = [place], True
                    elif self._stopping_since is None:
                        for other in self._places[1:]:
                            other.due = 0

    # --- its end

    def _see_end(self, pid: int, status: int) -> None:
        """Take note that a child has ended: a worker, or an orphan where this is process 1."""
        place = next((place for place in self._places if place.pid == pid), None)
        if place is None:
            return
        os.close(place.lifeline)
        place.pid, place.lifeline = 0, -1
        code = os.waitstatus_to_exitcode(status)
        self._status = code if code > 0 else 1
        ending = _ending(status)
        answered = [slot.forget_answer() for slot in place.slots]
        for slot in place.slots:
            if not slot.is_empty():
                self._fail_flight(slot, _exit_error(ending))
        if self._stopping_since is not None:
            return
        what = f"Worker {place.number} ended: {ending}"
        state = self._board.state(place.number)
        if not place.serves:
            what += " in INIT"
            if any(other.pid and other.serves for other in self._places):
                self._replace(place, what, answered=False)
            else:
                place.waits = True
                place.pause = _longer(place.pause)
                logs.record("ERROR", f"{what}. It is not replaced unless another one serves")
            if code < 0:
                self._fail_init(_exit_error(ending))
        elif state == GIVES_UP and any(other.pid for other in self._places):
            place.pause = _LONGEST_PAUSE
            place.due = time.monotonic() + place.pause
            logs.record("ERROR", f"{what}. The Runtime API gave it no event: it is replaced in {place.pause:g} s")
        elif state == GIVES_UP:
            for other in self._places:
                other.due = None
            logs.record("ERROR", f"{what}. The Runtime API gives no worker an event: none is replaced")
        else:
            self._replace(place, what, answered=any(answered))

    def _replace(self, place: Place, what: str, *, answered: bool) -> None:
        """Have a place taken by another worker. answered: whether the last one has answered an invocation."""
        place.pause = 0 if answered else _longer(place.pause)
        place.due = time.monotonic() + place.pause
        logs.record("ERROR", f"{what}. It is replaced {f'in {place.pause:g} s' if place.pause else 'at once'}")

    def _fail_flight(self, slot: Slot, reason: str) -> None:
        """Post the error of an invocation whose worker has ended."""
        invocation = slot.read()
        slot.clear()
        if invocation is None:
            logs.record("ERROR", f"{reason}. An invocation was in flight whose ids are too long to report it")
            return
        environment.begin(invocation)  # for the log
        logs.record("ERROR", reason)
        error = {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: {invocation.id} Error: {reason}"}
        try:
            RuntimeClient(self._address).fail(invocation, codec.dumps(error), "Runtime.ExitError", b"")
        except ApiError as exc:
            logs.record("WARNING", f"The error of this invocation was refused: {exc}")
        environment.end()
        environment.log_ids = "", None

    def _fail_init(self, reason: str) -> None:
        error = {"errorType": "Runtime.ExitError", "errorMessage": f"Error: {reason}"}
        try:
            RuntimeClient(self._address).fail_init(codec.dumps(error), "Runtime.ExitError")
        except ApiError as exc:
            if exc.status != 403:  # another worker serves
                logs.record("WARNING", f"The error of INIT was refused: {exc}")

    # --- the end of all

    def _terminate(self) -> None:
        """Have all workers end, and start no more."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            for place in self._places:
                place.due = None
            self._signal(signal.SIGTERM)

    def _push(self) -> None:
        """Tell those that have not ended in time."""
        if self._stopping_since is not None:
            passed = time.monotonic() - self._stopping_since
            if passed >= sigterm.UNTIL_KILL:
                self._signal(signal.SIGKILL)
            elif passed >= sigterm.UNTIL_HOOKS and not self._board.in_a_hurry():
                self._board.hurry()
                self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for place in self._places:
            if place.pid:
                os.kill(place.pid, number)  # it is there, or a zombie

    def _end(self) -> NoReturn:
        if self._stopping_since is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            sigterm.die()
        else:
            logs.record("ERROR", f"No worker is left: the environment ends with status {self._status}")
        sys.exit(self._status)


def _longer(pause: float) -> float:
    """Return the pause that follows a pause, in s."""
    return min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)


def _reap() -> tuple[int, int] | None:
    """Return id and status of a child that has ended."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _ending(status: int) -> str:
    """Return how a process has ended, in Lambda's words."""
    if not os.WIFSIGNALED(status):
        return f"exit status {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    name = (signal.strsignal(number) or f"signal {number}").lower()
    return f"signal: {name}{' (core dumped)' if os.WCOREDUMP(status) else ''}"


def _exit_error(ending: str) -> str:
    if ending == "exit status 0":
        return "Runtime exited without providing a reason"
    return f"Runtime exited with error: {ending}"
