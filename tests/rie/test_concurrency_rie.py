"""Many invocations at once under the real RIE. With AWS_LAMBDA_MAX_CONCURRENCY it is another program: it starts
/opt/bootstrap by itself, as a user without rights, and takes as many invocations as there are polls.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import urllib3

from samovar.local import rie
from tests.conftest import ROOT

# In namespaces of its own: there /opt and /var/task are the function's, and nothing outlives the first process. The
# checkout and the interpreter may be in a folder of root's, which that user cannot enter.
SCRIPT = """
set -e
mount -t tmpfs tmpfs /opt
chmod 755 /opt
mkdir /opt/interpreter /opt/checkout
mount --bind "$INTERPRETER" /opt/interpreter
mount --bind "$CHECKOUT" /opt/checkout
cat > /opt/bootstrap <<'END'
#!/bin/sh
export LD_LIBRARY_PATH=/opt/interpreter/lib  # of an interpreter that is built with a shared library
exec /opt/checkout/bootstrap
END
chmod 755 /opt/bootstrap
mount -t tmpfs tmpfs /var
chmod 755 /var
mkdir /var/task
mount --bind "$TASK" /var/task
cd /var/task
exec "$@"
"""
UNSHARE = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]

APP = textwrap.dedent("""
    import os, sys, threading, time

    def handler(event, context):
        if "exit" in event:
            os._exit(event["exit"])
        if "signal" in event:
            os.kill(os.getpid(), event["signal"])
        if "together" in event:
            open(f"inside/{context.aws_request_id}", "w").close()
            while len(os.listdir("inside")) < event["together"]:
                time.sleep(0.002)
        return {"pid": os.getpid(), "thread": threading.current_thread().name}
""")


class ConcurrentRIE:
    """The emulator in its concurrent mode, with this checkout's bootstrap."""

    def __init__(self, task: Path, count: int, mode: str, handler: str = "app.handler") -> None:
        port, api = rie._free_ports(2)
        self._url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        self._log = task.parent / "rie.log"
        self._inside = task / "inside"
        addresses = [
            "--runtime-interface-emulator-address",
            f"127.0.0.1:{port}",
            "--runtime-api-address",
            f"127.0.0.1:{api}",
        ]
        env = {
            "PATH": os.environ["PATH"],
            "INTERPRETER": sys.base_prefix,
            "CHECKOUT": str(ROOT),
            "TASK": str(task),
            "SAMOVAR_PYTHON": f"/opt/interpreter/bin/python{sys.version_info.major}.{sys.version_info.minor}",
            "_HANDLER": handler,
            "AWS_LAMBDA_MAX_CONCURRENCY": str(count),
            "AWS_LAMBDA_CONCURRENCY_MODE": mode,
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*UNSHARE, "sh", "-c", SCRIPT, "sh", rie.find(), "--log-level", "debug", *addresses],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._http = urllib3.PoolManager(maxsize=64)
        self._threads = ThreadPoolExecutor(64)

    def wait_for_polls(self, count: int) -> None:
        self.wait_for_log("InvokeRouter: received runtime /next", count)

    def wait_for_log(self, text: str, times: int) -> None:
        end = time.monotonic() + 60
        while self.log.count(text) < times:
            assert time.monotonic() < end, self.log
            assert self._process.poll() is None, self.log
            time.sleep(0.01)

    def make_fourth(self) -> None:
        """Have the invocations believe that there is a fourth."""
        (self._inside / "fourth").touch()

    def end(self) -> int:
        return self._process.wait(60)

    def invoke(self, event: Any) -> tuple[int, Any]:
        """Return the status and the body, as JSON."""
        response = self._http.request("POST", self._url, json=event, retries=False, timeout=60)
        return response.status, response.json()

    def send(self, event: Any) -> Future[tuple[int, Any]]:
        return self._threads.submit(self.invoke, event)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._threads.shutdown()


Start = Callable[..., ConcurrentRIE]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    if (
        os.geteuid()
        or not shutil.which("unshare")
        or subprocess.run([*UNSHARE, "true"], capture_output=True).returncode
    ):
        pytest.skip("the emulator's concurrent mode needs root, and namespaces")
    with ExitStack() as stack:

        def start(source: str = APP, *, mode: str = "process", polls: int = 3) -> ConcurrentRIE:
            (task := tmp_path / "task").mkdir()
            (task / "app.py").write_text(source)
            (task / "inside").mkdir()
            (task / "inside").chmod(0o777)
            started = ConcurrentRIE(task, 3, mode)
            stack.callback(started.stop)
            started.wait_for_polls(polls)
            return started

        yield start


def together(count: int) -> dict[str, Any]:
    """Return an event whose handler returns once so many of its kind are in flight."""
    return {"together": count}


@pytest.mark.parametrize("mode", ["process", "hybrid"])
def test_as_many_invocations_as_the_concurrency_are_in_flight_and_one_more_is_refused(start: Start, mode: str) -> None:
    environment = start(mode=mode)
    first = [environment.send(together(4)) for _ in range(3)]
    environment.wait_for_log("Waiting for Runtime response", 3)
    assert environment.invoke({}) == (400, {"errorType": "Runtime.Unavailable"})
    environment.make_fourth()
    answers = [future.result() for future in first]
    assert [status for status, _ in answers] == [200] * 3
    assert len({(answer["pid"], answer["thread"]) for _, answer in answers}) == 3
    processors = min(3, len(os.sched_getaffinity(0)))
    assert len({answer["pid"] for _, answer in answers}) == (3 if mode == "process" else processors)


@pytest.mark.parametrize(
    ("event", "ending"),
    [
        ({"exit": 3}, "exit status 3"),
        ({"signal": signal.SIGKILL}, "signal: killed"),
        ({"signal": signal.SIGSEGV}, "signal: segmentation fault"),
    ],
    ids=["exit", "killed", "segmentation fault"],
)
def test_the_caller_of_a_worker_that_dies_is_told_and_the_others_go_on(
    start: Start, event: dict[str, int], ending: str
) -> None:
    environment = start()
    flights = [environment.send(together(3)) for _ in range(2)]
    environment.wait_for_log("Waiting for Runtime response", 2)
    status, error = environment.invoke(event)
    assert status == 200
    assert error["errorType"] == "Runtime.ExitError"
    assert f" Error: Runtime exited with error: {ending}" in error["errorMessage"]
    environment.wait_for_polls(4)  # a worker has taken the place of the dead one
    flights.append(environment.send(together(3)))
    assert len({future.result()[1]["pid"] for future in flights}) == 3


def test_an_async_handler_has_one_process_for_all(start: Start) -> None:
    source = APP + textwrap.dedent("""
        import asyncio
        inside = []

        async def handler(event, context):
            inside.append(event)
            while len(inside) < 3:
                await asyncio.sleep(0.002)
            return os.getpid()
    """)
    environment = start(source)
    answers = [future.result() for future in [environment.send({}) for _ in range(3)]]
    assert [status for status, _ in answers] == [200] * 3
    assert len({pid for _, pid in answers}) == 1


def test_workers_with_shutdown_hooks_are_one_extension(start: Start) -> None:
    environment = start(APP + "import samovar\nsamovar.on_shutdown(print)\n")
    assert environment.invoke({})[0] == 200
    assert environment.log.count("/extension/register") == 1


def test_a_failed_init_is_told_once(start: Start) -> None:
    environment = start("raise ValueError('no')", polls=0)
    assert environment.end() != 0
    assert environment.log.count("url=/2018-06-01/runtime/init/error") == 1
    assert "Lambda-Runtime-Function-Error-Type:[ValueError]" in environment.log


def test_an_init_that_fails_in_the_other_workers_leaves_the_first(start: Start) -> None:
    source = APP + textwrap.dedent("""
        try:
            os.mkdir("inside/first")
        except OSError:
            raise ValueError("not the first")
    """)
    environment = start(source, polls=1)
    environment.wait_for_log("in INIT. It is replaced in", 2)
    assert environment.log.count("url=/2018-06-01/runtime/init/error") >= 2
    assert "403" not in environment.log
    assert environment.invoke({})[0] == 200
