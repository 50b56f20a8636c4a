"""SnapStart: the hooks before a snapshot and after a restore, and what each restored environment has of its own again.

Imported only where `AWS_LAMBDA_INITIALIZATION_TYPE` is snap-start. Knows the Runtime API client and the environment's
lists; knows nothing of the caches and companions that have put their work there.

Lambda takes the snapshot while /restore/next waits, at the publication of a version. Every environment that is restored
from it goes on from there, with the same memory: the same random numbers, open sockets that nobody else knows, and a
monotonic clock that may have jumped.
"""

import posix
import sys

from samovar import failure
from samovar.environment import environment
from samovar.runtime_api import Ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from samovar.runtime_api import RuntimeClient

    Registered = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]  # by snapshot_restore_py

_BEFORE, _AFTER = "Runtime.BeforeSnapshotError", "Runtime.AfterRestoreError"


def until_restored(client: "RuntimeClient") -> None:
    """Call the hooks before a snapshot, wait until an environment is restored from it, and call the hooks after that.

    A failure is logged and posted, and ends the process with 64 before the restore and 65 after it, as the official
    client does. Raises ApiError where the failure cannot be posted, and where the Runtime API has gone.
    """
    try:
        _before_snapshot()
        client.restore_next()
    except Ended:
        raise
    except BaseException as exc:
        failure.report(client, None, exc, lambda body: client.fail_init(body, _BEFORE))
        sys.exit(64)
    try:
        _after_restore()
    except BaseException as exc:
        failure.report(client, None, exc, lambda body: client.fail_restore(body, _AFTER))
        sys.exit(65)


def _before_snapshot() -> None:
    registered = _registered("get_before_snapshot")
    while registered:
        f, args, kwargs = registered.pop()
        _call(f, *args, **kwargs)
    while environment.snapshot_hooks:
        _call(environment.snapshot_hooks.pop())
    for work in environment.at_snapshot:
        work()


def _after_restore() -> None:
    _reseed()
    for work in environment.at_restore:
        work()
    for hook in environment.restore_hooks:
        _call(hook)
    for f, args, kwargs in _registered("get_after_restore"):
        _call(f, *args, **kwargs)


def _registered(get: str) -> "list[Registered]":
    """Return the hooks of the package snapshot_restore_py, where the function has imported it."""
    package = sys.modules.get("snapshot_restore_py")
    return [] if package is None else getattr(package, get)()


def _call(f: "Callable[..., Any]", *args: "Any", **kwargs: "Any") -> None:
    result = f(*args, **kwargs)
    if hasattr(type(result), "__await__"):
        from samovar import aio

        aio.finish(result)


def _reseed() -> None:
    """Give new seeds to the generators that processes have, as far as they are loaded. The kernel's, and so
    `os.urandom`, `secrets` and `uuid4`, needs none.
    """
    modules = sys.modules
    if (generator := getattr(modules.get("random"), "_inst", None)) is not None:
        generator.seed()
    if (tempfile := modules.get("tempfile")) is not None:
        tempfile._name_sequence = None  # type: ignore[attr-defined]
    if (openssl := modules.get("_ssl")) is not None:
        # OpenSSL takes entropy by itself after a fork, as the process id is another then, but not after a restore.
        openssl.RAND_add(posix.urandom(32), 32.0)
    if (seed := getattr(modules.get("numpy.random"), "seed", None)) is not None:
        seed()
