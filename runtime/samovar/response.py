"""`Response`, which a handler kind returns where the response is not a JSON document."""


class Response:
    """A response's body and its content type."""

    __slots__ = ("body", "content_type")

    def __init__(self, body: bytes, content_type: str) -> None:
        self.body = body
        self.content_type = content_type
