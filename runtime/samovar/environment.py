"""The environment: the invocation in flight, and what waits for the end of INIT, a snapshot, a response, a fork, the
shutdown.

The ground floor. The loop walks these lists, and whatever has work for it appends to them; neither side knows the
other. Imports nothing of the package.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from samovar.concurrency.bridge import Bridge
    from samovar.handler import Handle
    from samovar.invocation import Invocation
    from samovar.response import Response
    from samovar.runtime_api import RuntimeClient

    Post = Callable[[Invocation, bytes | Response | BaseException | None], None]  # a response, or a failure


class Environment:
    """One process that serves a function. In any other process `running` stays false and nothing walks the lists.

    running: whether there are invocations, and so a response after which to work.
    shared: whether several invocations are in flight at the same time (`concurrency`).
    times_out: whether Lambda ends the environment when an invocation is out of time; not on Managed Instances.
    companions: how many processes a companion has that is not told: more than 1 only where the environment is shared.
    invocation: the one in flight, from /next until the work after its response is done; where the environment is
    shared, that of the thread or task that asks.
    log_ids: request id and tenant id for log records: those of the invocation in flight, or of the one before, as a
    thread may go on between two.
    at_init_end, after_response, at_fork, at_shutdown: functions to call, in order. at_fork: in the child.
    at_snapshot, at_restore: functions to call, in order, right before a snapshot and right after a restore from it.
    attach: what puts an agent around the handler, where one has attached; the loop asks at the end of INIT, and where
    there is work after a response.
    event_loop: returns the event loop, None where it is closed; None where nothing has imported `aio`.
    bridge: where pollers share the event loop (`concurrency`), their way to it.
    shutdown_hooks: the function's own. Lambda sends SIGTERM only to an environment with an extension, so the loop
    registers one where there is a hook at the end of INIT.
    snapshot_hooks, restore_hooks: the function's own, for before a snapshot and after a restore.
    sigterm: the handler of SIGTERM that runs them; None where nothing has imported it.
    """

    __slots__ = (
        "after_response",
        "at_fork",
        "at_init_end",
        "at_restore",
        "at_shutdown",
        "at_snapshot",
        "attach",
        "bridge",
        "companions",
        "event_loop",
        "in_flight",
        "invocation",
        "log_ids",
        "restore_hooks",
        "running",
        "shared",
        "shutdown_hooks",
        "sigterm",
        "snapshot_hooks",
        "times_out",
    )

    def __init__(self) -> None:
        self.running = False
        self.shared = False
        self.times_out = True
        self.in_flight: set[Invocation] = set()
        self.companions = 1
        self.invocation: Invocation | None = None
        self.log_ids: tuple[str, str | None] = "", None
        self.at_init_end: list[Callable[[], object]] = []
        self.after_response: list[Callable[[], object]] = []
        self.at_fork: list[Callable[[], object]] = []
        self.at_shutdown: list[Callable[[], object]] = []
        self.at_snapshot: list[Callable[[], object]] = []
        self.at_restore: list[Callable[[], object]] = []
        self.attach: Callable[[Handle, RuntimeClient, Post], Handle] | None = None
        self.event_loop: Callable[[], AbstractEventLoop | None] | None = None
        self.bridge: Bridge | None = None
        self.shutdown_hooks: list[Callable[[], object]] = []
        self.snapshot_hooks: list[Callable[[], object]] = []
        self.restore_hooks: list[Callable[[], object]] = []
        self.sigterm: Callable[[int, object], None] | None = None

    def begin(self, invocation: "Invocation") -> None:
        """Make an invocation the one in flight."""
        self.invocation = invocation
        self.log_ids = invocation.id, invocation.tenant_id

    def end(self) -> None:
        """End the invocation in flight, after the work that waits for its response."""
        self.invocation = None


environment = Environment()


def current() -> "Invocation | None":
    """Return the invocation in flight.

    Where several are in flight at the same time, it is that of the thread or task that asks. A thread, a task and work
    for a pool of threads belong to the invocation that has started them, also when it has ended.

    Returns:
        The invocation; None in INIT, outside Lambda, and in a thread that no invocation has started.
    """
    return environment.invocation
