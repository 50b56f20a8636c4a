"""A runtime with its workers against the scripted Runtime API: what they answer, write, and leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samovar.local.testing.scripted_api import NEXT, Answer, Request, ScriptedRuntimeApi, invocation
from tests.contract.harness import OURS, command, environment

LIMIT = 20.0  # s for anything to happen

# Does what its event says.
APP = """
import os, signal, sys, time
NUMBER = 0

def handler(event, context):
    global NUMBER
    NUMBER += 1
    if "wait_for" in event:
        while not os.path.exists(event["wait_for"]):
            time.sleep(0.002)
    if "exit" in event:
        os._exit(event["exit"])
    if "sys_exit" in event:
        sys.exit(event["sys_exit"])
    if "signal" in event:
        os.kill(os.getpid(), event["signal"])
    if "fail" in event:
        raise ValueError(event["fail"])
    return {"pid": os.getpid(), "parent": os.getppid(), "number": NUMBER,
            "trace_id": os.environ.get("_X_AMZN_TRACE_ID")}
"""


class Pool:
    """A runtime that has been started, and everything that came from it."""

    def __init__(self, api: ScriptedRuntimeApi, root: Path, runtime: str, handler: str, env: Mapping[str, str]) -> None:
        self.api = api
        self.root = root
        self._output = tempfile.TemporaryFile("w+b")
        self.process = subprocess.Popen(
            command(runtime, handler),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=environment(runtime, handler, str(root), api.address, env),
            cwd=root,
            start_new_session=True,
        )
        self._pushed = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return os.pread(self._output.fileno(), 1 << 24, 0).decode()

    def polls(self) -> int:
        return len([request for request in list(self.api.requests) if request.call == NEXT])

    def wait_for_polls(self, count: int) -> None:
        self.api.wait(lambda requests: sum(request.call == NEXT for request in requests) >= count, LIMIT)

    def wait_for_events(self, count: int) -> None:
        """Wait until so many events have been handed out since the start."""
        self.wait(lambda: len(self.api.sent) >= count, f"{count} events")

    def wait_for_log(self, text: str, times: int = 1) -> None:
        self.wait(lambda: self.log.count(text) >= times, f"{text!r} in the log")

    def wait(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + LIMIT
        while not done():
            if time.monotonic() > end:
                raise TimeoutError(f"waited for {what}; the log: {self.log}")
            time.sleep(0.005)

    def push(self, *events: Any, **options: Any) -> list[str]:
        """Queue events and return their request ids."""
        ids = []
        for event in events:
            self._pushed += 1
            ids.append(f"request-{self._pushed}")
            self.api.push(invocation(event, ids[-1], **options))
        return ids

    def invoke(self, *events: Any, **options: Any) -> list[Any]:
        """Queue events, and return what was posted for each, in their order."""
        return self.results(self.push(*events, **options))

    def results(self, ids: list[str]) -> list[Any]:
        return [json.loads(self.post(request_id).body) for request_id in ids]

    def post(self, request_id: str) -> Request:
        """Wait for the response or error of an invocation. There is one alone."""
        self.wait(lambda: bool(self._posts(request_id)), f"a post for {request_id}")
        (post,) = self._posts(request_id)
        return post

    def _posts(self, request_id: str) -> list[Request]:
        return [request for request in self.api.posted() if request_id in request.path.split("/")]

    def calls(self) -> Counter[str]:
        return Counter(request.call.rpartition("runtime/")[2] for request in self.api.posted())

    def end(self) -> int:
        """Wait for the end of the process, and of all that it has started; return its exit code."""
        code = self.process.wait(LIMIT)
        self.wait(lambda: not self.members(), "the end of all processes")
        return code

    def members(self) -> list[int]:
        """Return the processes of this runtime that have not ended."""
        return [pid for pid, session, state in _processes() if session == self.pid and state not in "ZX"]

    def kill(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self._output.close()


def _processes() -> Iterator[tuple[int, int, str]]:
    """Yield process id, session and state of every process."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            yield int(name), int(fields[3]), fields[0]


@contextmanager
def pool(
    root: Path,
    source: str = APP,
    *,
    runtime: str = OURS,
    count: object = 3,
    mode: str | None = None,
    handler: str = "app.handler",
    env: Mapping[str, str] | None = None,
    script: tuple[Answer, ...] = (),
    answers: tuple[tuple[str, Answer], ...] = (),
    **files: str,
) -> Iterator[Pool]:
    """Start a runtime for invocations at the same time. script: the first answers to /next; answers: to other calls."""
    (root / "app.py").write_text(source)
    for name, text in files.items():
        (root / f"{name}.py").write_text(text)
    variables = {"AWS_LAMBDA_MAX_CONCURRENCY": str(count), "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances"}
    if mode is not None:
        variables["AWS_LAMBDA_CONCURRENCY_MODE"] = mode
    with ScriptedRuntimeApi(*script) as api:
        for call, answer in answers:
            api.override(call, answer)
        started = Pool(api, root, runtime, handler, {**variables, **(env or {})})
        try:
            yield started
        finally:
            started.kill()
