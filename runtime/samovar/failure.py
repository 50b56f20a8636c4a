"""The failure of an invocation or of INIT: logged and posted, whatever the function has done to the interpreter.

What a report needs is imported when there is a failure, and something is kept back for that. Knows the Runtime API
client, the report and the log; knows nothing of the loop.
"""

import posix
from _thread import allocate_lock

from samovar import codec, logs
from samovar.runtime_api import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.invocation import Invocation
    from samovar.runtime_api import RuntimeClient

_RESERVED = 1 << 22  # bytes of address space, never touched: what a report imports needs less
_FALLBACK = (
    b'{"errorMessage":"The failure cannot be described","errorType":"Runtime.Unknown","requestId":"","stackTrace":[]}'
)
_reserve: "list[tuple[bytes, int]]" = []  # memory and a descriptor, in one step for threads that fail at the same time
_holding = allocate_lock()


def report(
    client: "RuntimeClient",
    invocation: "Invocation | None",
    exc: BaseException,
    post: "Callable[[bytes], None] | None" = None,
) -> None:
    """Log a failure and post it. invocation: None in INIT. post: posts the error JSON, instead of the client's method
    for an invocation or INIT.

    Raises NotTaken where the Runtime API does not take it, ApiError where it asks the environment to end.
    """
    request_id = invocation.id if invocation else ""

    def send(body: bytes, error_type: str, xray_cause: bytes) -> None:
        if post is not None:
            post(body)
        elif invocation is None:
            client.fail_init(body, error_type)
        else:
            client.fail(invocation, body, error_type, xray_cause)

    try:
        for _ in range(2):  # with what is there, then with what was kept back
            try:
                from samovar.report import Report

                described = Report(exc, request_id)
                body, cause = described.body(), described.xray_header()
                logs.failure(described.error, described.details)
                send(body, described.error["errorType"], cause)
                return
            except ApiError:
                raise
            except Exception:  # descriptors or memory are used up, or nothing can be imported
                give_up_reserve()
        error = logs.bare_error(exc, request_id)
        try:
            body = codec.dumps(error)
        except Exception:
            body = _FALLBACK
        try:
            logs.failure(error)
        except Exception:
            pass
        send(body, error["errorType"], b"")
    finally:
        hold_reserve()


def hold_reserve() -> None:
    """Keep back some memory and a descriptor, so that a failure can be reported when a function has used up all the
    others.
    """
    if not _holding.acquire(False):
        return  # another thread does it
    try:
        size = _RESERVED
        while not _reserve and size >= _RESERVED // 8:
            try:
                memory = bytes(size)
                _reserve.append((memory, posix.open("/", posix.O_RDONLY)))
            except MemoryError:
                size //= 2
            except OSError:
                return  # they are still used up
    finally:
        _holding.release()


def give_up_reserve() -> None:
    """Free what is kept back: the next step needs it."""
    try:
        _, descriptor = _reserve.pop()
    except IndexError:
        return
    try:
        posix.close(descriptor)
    except OSError:
        pass  # the function has closed it
