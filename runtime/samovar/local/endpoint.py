"""Lambda's Invoke API in front of one environment: events that come at the same time wait for their turn.

The emulator's own endpoint ends with a panic at a second event (1.170.0), does not say which invocations failed, and is
gone while an environment is replaced.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from queue import SimpleQueue
from socketserver import ThreadingTCPServer
from threading import Condition, Thread

from samovar.local.rie import RIE, FunctionError, Invocation, RIEError

_PATH = re.compile(r"/2015-03-31/functions/[^/]+/invocations")
_TOLD = "POST an event to {url}"


class Endpoint(ThreadingTCPServer):
    """An HTTP server on 127.0.0.1 that answers from threads of its own. Events wait until there is an environment.

    Attributes:
        url: Where to send an event. Any function name in it will do.
        failures: The invocations that failed.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        """Listen. port: 0 for a free one. Raises OSError, for one that is in use."""
        super().__init__(("127.0.0.1", port), _Request)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/2015-03-31/functions/function/invocations"
        self.failures: SimpleQueue[FunctionError] = SimpleQueue()
        self._changed = Condition()
        self._environment: RIE | None = None
        self._busy = False
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __exit__(self, *args: object) -> None:
        self.shutdown()
        self.server_close()

    @contextmanager
    def serving(self, environment: RIE) -> Iterator[None]:
        """Send events to the environment until the block ends, which ends the environment. An event that it has not
        answered then is sent to the next one.
        """
        self._set(environment)
        try:
            yield
        finally:
            self._set(None)
            environment.stop()

    def _set(self, environment: RIE | None) -> None:
        with self._changed:
            self._environment = environment
            self._changed.notify_all()

    def invoke(self, event: bytes, client_context: object) -> Invocation:
        """Send the event once it is its turn. Raises RIEError if the environment has ended by itself."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._environment is not None and not self._busy)
                environment, self._busy = self._environment, True
            assert environment is not None
            try:
                response = environment.invoke(event, client_context=client_context)
                # The emulator may answer with an error of its own when it is ended.
                if self._environment is environment or response.error is None:
                    return response
            except Exception:  # ValueError too, from the emulator's log, which is closed meanwhile
                if self._environment is environment:
                    raise
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a caller that has gone away."""


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "0")
        context = self.headers.get("X-Amz-Client-Context")
        if not length.isdecimal() or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            return self._answer(411, "The event needs a Content-Length header")
        event = self.rfile.read(int(length)) or b"{}"  # as Lambda has it for an invocation without payload
        if not _PATH.fullmatch(self.path.partition("?")[0]):
            return self._answer(404, _TOLD.format(url=self.server.url))
        try:
            client_context = None if context is None else json.loads(base64.b64decode(context))
        except (binascii.Error, ValueError):
            return self._answer(400, "X-Amz-Client-Context is not JSON in base64")
        try:
            response = self.server.invoke(event, client_context)
        except RIEError as exc:
            return self._answer(502, str(exc))
        if response.error:
            self.server.failures.put(response.error)
        # Lambda answers 200 even if the runtime has exited.
        self._send(200, response.body, {"X-Amz-Function-Error": "Unhandled"} if response.error else {})

    def do_GET(self) -> None:
        self._answer(405, _TOLD.format(url=self.server.url))

    def _answer(self, status: int, message: str) -> None:
        self._send(status, json.dumps({"message": message}).encode() + b"\n", {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "X-Amz-Executed-Version": "$LATEST",
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing: the function's own log is what counts."""
