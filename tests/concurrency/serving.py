"""Runs a function whose invocations are in flight at the same time, against the scripted Runtime API."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samovar.local.testing.scripted_api import NEXT, RUNTIME, Answer, Request, ScriptedRuntimeApi, invocation
from tests.contract.harness import OURS, command, environment


@dataclass
class Serving:
    """A process that serves. out: what it has written to stdout and stderr."""

    api: ScriptedRuntimeApi
    process: subprocess.Popen[bytes]
    _out: Any

    def answers(self, count: int) -> dict[str, Any]:
        """Wait for so many posts, and return them: the request id, and the value of the response or the error."""
        self.api.wait(lambda requests: len(self.posts) >= count or self.process.poll() is not None)
        posts = self.posts
        assert len(posts) == count, self.out
        return {request.path.split("/")[-2]: json.loads(request.body) for request in posts}

    def wait_for(self, done: Callable[[], bool]) -> None:
        """Wait until done() is true, which another post or poll may make so."""
        self.api.wait(lambda requests: done())

    def wait_for_output(self, done: Callable[[str], bool], timeout: float = 60.0) -> None:
        """Wait until done(out) is true."""
        end = time.monotonic() + timeout
        while not done(self.out):
            assert time.monotonic() < end, self.out
            time.sleep(0.01)

    @property
    def posts(self) -> list[Request]:
        return [request for request in self.api.posted() if request.call.startswith(f"POST {RUNTIME}/invocation/")]

    @property
    def out(self) -> str:
        self._out.seek(0)
        text: str = self._out.read().decode()
        return text

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of the log that are JSON objects."""
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    def end(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def event(body: object, request_id: str, **headers: str | None) -> Answer:
    """An answer to /next. headers: trace_id, tenant_id and the like, by name; None for one that is not there."""
    names = {
        "trace_id": "Lambda-Runtime-Trace-Id",
        "tenant_id": "Lambda-Runtime-Aws-Tenant-Id",
        "deadline_ms": "Lambda-Runtime-Deadline-Ms",
        "arn": "Lambda-Runtime-Invoked-Function-Arn",
        "client_context": "Lambda-Runtime-Client-Context",
        "identity": "Lambda-Runtime-Cognito-Identity",
    }
    return invocation(body, request_id, headers=[(names[name], value) for name, value in headers.items()])


@contextmanager
def serving(
    source: str,
    *events: Answer,
    count: int = 16,
    env: Mapping[str, str] | None = None,
    handler: str = "app.handler",
    one_at_a_time: bool = False,
    on_chunk: Callable[[bytes], None] | None = None,
) -> Iterator[Serving]:
    """Start `handler` of this source with so many pollers in one process. one_at_a_time: as the ordinary loop.
    on_chunk: as for ScriptedRuntimeApi.
    """
    with tempfile.TemporaryDirectory(prefix="serving-") as root, tempfile.TemporaryFile() as out:
        Path(root, "app.py").write_text(textwrap.dedent(source), encoding="utf-8")
        with ScriptedRuntimeApi(*events, on_chunk=on_chunk) as api:
            many = {"AWS_LAMBDA_MAX_CONCURRENCY": str(count), "AWS_LAMBDA_CONCURRENCY_MODE": "thread"}
            variables = {
                **({} if one_at_a_time else many),
                "AWS_LAMBDA_LOG_FORMAT": "JSON",
                **(env or {}),
            }
            process = subprocess.Popen(
                command(OURS, handler),
                cwd=root,
                env=environment(OURS, handler, root, api.address, variables),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            try:
                yield Serving(api, process, out)
            finally:
                process.kill()
                process.wait()


def polls(serving: Serving) -> int:
    """Return how often an event was asked for."""
    return sum(request.call == NEXT for request in list(serving.api.requests))


def one_by_one(server: Serving, count: int, *bodies: object) -> list[object]:
    """Give one event after the other, each when all of `count` pollers ask for one, and return the responses."""
    values = []
    for number, body in enumerate(bodies):
        server.wait_for(lambda asked=count + number: polls(server) == asked)  # type: ignore[misc]
        server.api.push(event(body, f"id-{number}"))
        values.append(server.answers(number + 1)[f"id-{number}"])
    return values
