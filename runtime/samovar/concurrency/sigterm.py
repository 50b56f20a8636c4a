"""SIGTERM in a process of ours and in the children that the function forks, which it ends as any other process."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` makes enums first
import os
from _thread import get_ident

from samovar.environment import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# s from SIGTERM until the hooks run, what is in flight is cut off, a worker is killed, and a process of pollers ends.
# Lambda kills an environment with internal extensions alone after 0.5 s, else after 2 s ("Lambda execution environment
# lifecycle").
UNTIL_HOOKS, UNTIL_CUT, UNTIL_KILL, UNTIL_END = 0.3, 1.8, 1.9, 2.0

_SIGTERM = {signal.SIGTERM}


def take(handler: Callable[[int, object], None]) -> None:
    """Handle SIGTERM from now on, unless the function does. Called in the main thread."""
    if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, environment.sigterm):
        return
    masks = {}

    # A signal that comes right after a fork finds a handler that Python does not call any more, and would be lost.
    def hold() -> None:
        masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGTERM)

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop(get_ident()))

    def release_in_child() -> None:
        if signal.getsignal(signal.SIGTERM) == handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        release()

    signal.signal(signal.SIGTERM, handler)
    environment.sigterm = handler  # a stream ends by an exception, and then calls it
    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=release_in_child)


def die() -> None:
    """End the process by SIGTERM. Returns where that is not possible: it is blocked, or this is process 1."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
