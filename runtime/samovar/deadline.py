"""When the runtime ends a handler by itself, so that there is time to report that it did.

Imported by what can be ended: a coroutine, a stream. Knows the time that an invocation has, and nothing of the package.
"""

from time import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from samovar.invocation import Invocation

_REPORT = 0.2  # s: what a first report takes with 128 MB of memory, about a fourteenth of a core


def stop_time(invocation: "Invocation") -> float:
    """Return the Unix time at which to end the handler: 0.2 s before the time-out, a tenth of the time that is left
    where that is less. Infinite where there is no time-out.
    """
    context = invocation.context
    if context is None or context._epoch_deadline_time_in_ms <= 0:
        return float("inf")
    end = context._epoch_deadline_time_in_ms / 1000
    return end - min(_REPORT, max(0.0, end - time()) / 10)
