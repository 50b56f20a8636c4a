"""Sends a streamed response, and ends its body in every outcome: whole, failed, refused, reset, out of time, SIGTERM.

Imported with the first one. A failure after the response has begun goes into the trailers and the log: `/error` may be
called only before ("Using the Lambda runtime API"). Knows the Runtime API client and the log; nothing of the loop.
"""

import posix
from time import time

from samovar import codec, deadline, failure, logs
from samovar.environment import environment
from samovar.errors import is_failure
from samovar.runtime_api import ApiError, NotTaken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from samovar.invocation import Invocation
    from samovar.response import Body
    from samovar.runtime_api import RuntimeClient, StreamFailure

# bytes of the error JSON. Lambda's server is written in Go, whose net/http reads trailers of 4,096 bytes in all, and
# takes the response for cut off where there are more; Base64 makes four bytes of three.
_LARGEST = 2800


def send(client: "RuntimeClient", invocation: "Invocation", body: "Body", content_type: str) -> None:
    """Post a response whose body is an iterator. Raises ApiError at a 5xx; what is refused otherwise is logged."""
    with _Sigterm() as sigterm:
        outgoing = _Outgoing(invocation, body, sigterm)
        try:
            client.stream(invocation, outgoing, content_type, outgoing.failure, body.wait)
        except NotTaken as exc:
            logs.record("ERROR", f"The streamed response ended after {outgoing.taken} bytes of its body: {exc}")
        finally:
            sigterm.raises = False
            outgoing.failed = None  # its frames hold this object, and the event
            _close(body)


def _close(body: "Body") -> None:
    try:
        body.close()
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as exc:  # also the group in which TaskGroup puts GeneratorExit, before Python 3.15
        logs.exception("Closing what the response was streamed from failed", exc)


class _Outgoing:
    """A body on its way: ends where it fails, and remembers how.

    taken: bytes of the chunks that have been asked for.
    """

    def __init__(self, invocation: "Invocation", body: "Body", sigterm: "_Sigterm") -> None:
        self._invocation = invocation
        self._body = body
        self._sigterm = sigterm
        self._process = posix.getpid()
        self._stop_time = deadline.stop_time(invocation)
        self.failed: BaseException | None = None
        self.taken = 0

    def __iter__(self) -> "Iterator[bytes]":
        body = iter(self._body)
        while True:
            try:
                if time() >= self._stop_time:
                    raise TimeoutError("the response was still streaming when the invocation's time was nearly up")
                chunk = next(body)
                if self._sigterm.came:  # the generator has caught the exception
                    raise _Terminated
            except StopIteration:
                return
            except BaseException as exc:
                if not is_failure(exc):
                    raise
                self.failed = exc
                return
            if posix.getpid() != self._process:
                raise ApiError("POST", 0, "this is a process that the function forked; the response is its parent's")
            self.taken += len(chunk)
            yield chunk

    def failure(self) -> "StreamFailure":
        """Return the trailers' error type and error JSON, where the body has failed, and log that."""
        if self.failed is None:
            return None
        if isinstance(self.failed, MemoryError):
            failure.give_up_reserve()
        reported = _Reported()
        failure.report(reported, self._invocation, self.failed)  # type: ignore[arg-type]
        return reported.trailers


class _Reported:
    """Takes a report as the Runtime API client does, and keeps it for the trailers."""

    trailers: "StreamFailure" = None

    def fail(self, invocation: "Invocation", body: bytes, error_type: str, xray_cause: bytes) -> None:
        # Lambda counts a type without one of its categories as unknown.
        if not error_type.startswith(("Function.", "Runtime.")):
            error_type = f"Function.{error_type}"
        self.trailers = error_type, _fitting(body)


def _fitting(body: bytes) -> bytes:
    """Return an error JSON that fits into the trailers: without the outermost frames, then the message's end."""
    if len(body) <= _LARGEST:
        return body
    error = codec.loads(body)
    trace = error["stackTrace"]
    while trace and len(body) > _LARGEST:
        del trace[: (len(trace) + 1) // 2]
        body = codec.dumps(error)
    message = error["errorMessage"]
    while message and len(body) > _LARGEST:
        message = message[: len(message) // 2]
        error["errorMessage"] = f"{message}… (cut; the log has all of it)"
        body = codec.dumps(error)
    return body


class _Terminated(SystemExit):
    """SIGTERM while a response is streamed. asyncio lets no other exception out of its loop."""


class _Sigterm:
    """Ends a stream at SIGTERM by an exception, which goes through the function's generator and lets it clean up.

    Then the signal is sent again, to what would have got it. A handler of the function's own is left alone.
    """

    def __init__(self) -> None:
        self.raises = True
        self.came = False

    def __enter__(self) -> "_Sigterm":
        import _signal  # type: ignore[import-not-found]

        self._module: Any = _signal
        self._before = _signal.getsignal(_signal.SIGTERM)
        # The handler that runs the shutdown hooks ends the process without leaving the generator.
        self._set = self._before is not None and self._before in (_signal.SIG_DFL, environment.sigterm)
        if self._set:
            try:
                _signal.signal(_signal.SIGTERM, self._on_sigterm)
            except ValueError:
                self._set = False  # not in the main thread
        return self

    def _on_sigterm(self, signum: int, frame: object) -> None:
        raises = self.raises and not self.came
        self.came = True
        if raises:
            raise _Terminated(128 + signum)

    def __exit__(self, *exc_info: object) -> None:
        if self._set:
            sigterm = self._module.SIGTERM
            if self._module.getsignal(sigterm) == self._on_sigterm:
                # Hooks that the generator has added found this one, and added no handler.
                self._module.signal(sigterm, environment.sigterm or self._before)
            if self.came:
                posix.kill(posix.getpid(), sigterm)
