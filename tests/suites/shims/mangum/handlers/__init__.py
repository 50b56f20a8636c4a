"""What Mangum's handlers show of an event: the scope and the body that the application receives."""

from typing import Any

from mangum import Mangum


class Handler:
    def __init__(self, event: dict[str, Any], context: Any, config: dict[str, Any]) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            self.scope = scope
            self.body = (await receive())["body"]
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

        Mangum(app)(event, context)
