"""A Runtime API with many connections, in this thread, that breaks some of what it is asked, and accounts for each
event: which ids it gave, and what was posted for them.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'


@dataclass
class Posted:
    """What was posted for an event. kind: response or error. failed: whether its body ended in error trailers."""

    kind: str
    body: bytes
    failed: bool = False


@dataclass
class Storm:
    """The events to come, and what has become of them.

    faults: how often, of 1, a request meets each fault: `refused` and `closed` before /next is answered, `cut` in the
    middle of an event, `unavailable` (500), `forbidden` (403) and `silent` (closed without an answer) after a POST.
    """

    events: Iterator[dict[str, object]]
    faults: dict[str, float] = field(default_factory=dict)
    seed: int = 1

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.given: dict[str, dict[str, object]] = {}  # event by request id, once it is sent whole
        self.posted: defaultdict[str, list[Posted]] = defaultdict(list)
        self.met: Counter[str] = Counter()
        self.polling = 0  # connections in /next
        self.most = 0  # of events without an answer at the same time
        self._server: asyncio.Server | None = None
        self._done = asyncio.Event()
        self._number = 0

    async def start(self) -> str:
        """Listen on a free port and return the address."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=512, limit=1 << 24)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def finished(self, seconds: float) -> None:
        """Wait until all events are given and something was posted for each."""
        try:
            async with asyncio.timeout(seconds):
                await self._done.wait()
        except TimeoutError:
            missing = [event for each, event in self.given.items() if each not in self.posted]
            raise AssertionError(f"no answer for {len(missing)} events: {missing[:5]}") from None

    def close(self) -> None:
        assert self._server is not None
        self._server.close()

    def _fault(self, *names: str) -> str:
        for name in names:
            if self._random.random() < self.faults.get(name, 0):
                self.met[name] += 1
                return name
        return ""

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the runtime has closed it, or the test is over
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if method == "GET":
            return await self._next(writer)
        body, failed = await self._body(reader, headers)
        *_, request_id, kind = path.split("/")
        self.posted[request_id].append(Posted(kind, body, failed))
        if self._events_are_over and len(self.posted) >= len(self.given):
            self._done.set()
        match self._fault("unavailable", "forbidden", "silent"):
            case "unavailable":
                writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")
            case "forbidden":
                writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
            case "silent":
                return False
            case _:
                writer.write(ACCEPTED)
        return "transfer-encoding" not in headers

    _events_are_over = False

    async def _next(self, writer: asyncio.StreamWriter) -> bool:
        match self._fault("refused", "closed"):
            case "refused":
                writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")
                return True
            case "closed":
                return False
        event = next(self.events, None)
        if event is None:
            self._events_are_over = True
            if len(self.posted) >= len(self.given):
                self._done.set()
            self.polling += 1
            await asyncio.Event().wait()  # as /next without an event
        self._number += 1
        request_id = f"id-{self._number}-{self._random.getrandbits(64):x}"
        body = json.dumps(event).encode()
        answer = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: {request_id}\r\n"
            f"Lambda-Runtime-Deadline-Ms: 9999999999999\r\nLambda-Runtime-Invoked-Function-Arn: arn:{request_id}\r\n"
            f"Lambda-Runtime-Trace-Id: Root={request_id}\r\nLambda-Runtime-Aws-Tenant-Id: tenant-{request_id}\r\n"
            f"Lambda-Runtime-Invocation-Id: i-{request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        if self._fault("cut"):
            writer.write(answer[: self._random.randrange(1, len(answer) - 1)])
            return False
        self.given[request_id] = event
        self.most = max(self.most, len(self.given) - len(self.posted))
        writer.write(answer)
        await writer.drain()
        return True

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> tuple[bytes, bool]:
        """Return a request's body, and whether its trailers report an error."""
        if "transfer-encoding" not in headers:
            return await reader.readexactly(int(headers["content-length"])), False
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        failed = False
        while (line := await reader.readline()) != b"\r\n":
            failed = failed or line.startswith(b"Lambda-Runtime-Function-Error-Type:")
        return body, failed


def mixed(count: int, kinds: dict[str, int], seed: int) -> Iterator[dict[str, object]]:
    """Return events of these kinds, by their weights, with bodies of random sizes up to 60 KB, few of them large."""
    draw = random.Random(seed)
    names, weights = list(kinds), list(kinds.values())
    for number in range(count):
        size = int(60_000 * draw.random() ** 12)
        yield {"n": number, "kind": draw.choices(names, weights)[0], "blob": "x" * size}
