"""How often an event is asked for again after a failure, and with which pauses.

Knows the Runtime API's failures and the log, and nothing of threads or processes.
"""

from __future__ import annotations

import time

from samovar import logs
from samovar.runtime_api import Ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # s
# Failures in a row at which nobody asks again: after about half a minute, or 1.5 s where the Runtime API has gone.
_FAILURES, _FAILURES_OF_NOBODY = 12, 5


class Patience:
    """That of one client with /next, until it has an event."""

    def __init__(self) -> None:
        self._failures = 0
        self._pause = _FIRST_PAUSE

    def is_over(self, exc: Exception) -> bool:
        """Take note of a failure; return whether there were enough."""
        self._failures += 1
        return self._failures >= (_FAILURES_OF_NOBODY if isinstance(exc, Ended) else _FAILURES)

    def pause(self, exc: Exception, sleep: Callable[[float], object] = time.sleep) -> None:
        """Log a failure, and wait before it is repeated."""
        reason = str(exc) or type(exc).__name__
        logs.record("WARNING", f"Asking for an event failed, and is repeated in {self._pause:g} s: {reason}")
        sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
