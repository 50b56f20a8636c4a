"""Ctrl-C, SIGTERM and a closed terminal (SIGHUP) end a command in one way: KeyboardInterrupt, and it cleans up.

Python drops an exception that a signal's handler raises while a finalizer runs. A loop that waits calls `check`, so
that no signal is lost.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_DEFAULT = (signal.SIG_DFL, signal.default_int_handler)  # another handler, as nohup's SIG_IGN, is left alone
_received: list[int] = []


@contextmanager
def raised() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block for each of the signals."""
    _received.clear()
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    before = {number: signal.getsignal(number) for number in (getattr(signal, name, None) for name in names) if number}
    ours = [number for number, handler in before.items() if handler in _DEFAULT]
    hook = sys.unraisablehook
    sys.unraisablehook = lambda lost: None if lost.exc_type is KeyboardInterrupt else hook(lost)
    for number in ours:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number in ours:
            signal.signal(number, before[number])


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    _received.append(number)
    raise KeyboardInterrupt


def check() -> None:
    """Raise KeyboardInterrupt if one of the signals came."""
    if _received:
        raise KeyboardInterrupt


def status() -> int:
    """Return the exit status for the signal that came first."""
    return 128 + (_received[0] if _received else signal.SIGINT)
