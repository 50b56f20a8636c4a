"""`Response`, which a handler kind returns where the response is not a JSON document."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Body(Protocol):
        """A streamed body. The runtime pulls a chunk when it has sent the one before, and closes it in every outcome.

        wait: where other work goes on while the socket takes no more: waits until its descriptor can be written.
        """

        wait: "Callable[[int], None] | None"

        def __iter__(self) -> "Body": ...
        def __next__(self) -> bytes: ...
        def close(self) -> None: ...


class Response:
    """A response's body and its content type. A body that is no bytes is streamed: each of its items is a chunk."""

    __slots__ = ("body", "content_type")

    def __init__(self, body: "bytes | Body", content_type: str) -> None:
        self.body = body
        self.content_type = content_type
