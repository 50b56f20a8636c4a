"""Many invocations at once in one environment, on Lambda Managed Instances: AWS_LAMBDA_MAX_CONCURRENCY turns it on.

Not imported otherwise. `pollers` serves from threads of one process, `workers` from several processes; `current` says
what belongs to which invocation. Knows the loop, whose INIT and posts these are.
"""

from __future__ import annotations

from samovar import loop
from samovar.concurrency import settings

TYPE_CHECKING = False  # importing `typing` would cost INIT more than all that is here
if TYPE_CHECKING:
    from typing import NoReturn

_ONE_PROCESS = "asgi:", "exec:"  # one event loop serves all; the program has processes of its own


def run(name: str, address: str) -> NoReturn:
    """Run the environment until the platform ends it. name: of the handler. address: of the Runtime API.

    Exits 1 after a failure in INIT, for a variable with an unusable value, and where the Runtime API is gone.
    """
    try:
        count, mode = settings.read()
    except ValueError as exc:
        loop.die(str(exc))
    if mode == "thread" or name.startswith(_ONE_PROCESS):
        from samovar.concurrency import pollers

        pollers.run(name, address, count)
    from samovar.concurrency import workers

    workers.run(name, address, workers.shares(count, mode), threaded=mode == "hybrid")
