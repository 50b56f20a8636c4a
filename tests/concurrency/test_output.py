"""What many invocations at once write: whole lines, records with the right request id, and where they go."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import zlib
from pathlib import Path

import pytest

from samovar.concurrency import output
from samovar.local.testing.scripted_api import invocation
from tests.concurrency.logged import Provider, Runtime, events, logged
from tests.contract.harness import OFFICIAL, OURS, frames

PROVIDER = "_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET"
TELEMETRY = "_LAMBDA_TELEMETRY_LOG_FD"

# Writes lines that carry their checksum, in each way that there is, and returns what it has written.
WRITER = """
import asyncio, logging, random, sys, threading, time, traceback, zlib

logging.basicConfig = None
to_stderr = logging.StreamHandler(sys.stderr)
err = logging.getLogger("err")
err.addHandler(to_stderr)
err.propagate = False

def texts(name, count):
    rng = random.Random(name)
    for number in range(count):
        label = f"{name}-{number}"
        size = rng.choice([10, 100, 5_000, rng.randrange(20_000)])
        body = f"{label} " + "".join(rng.choices("abcdefghij é☃", k=size)).replace(" ", "_")
        yield rng, label, body, f"{zlib.crc32(body.encode()):08x}"

def write(name, context, count):
    for rng, label, body, crc in texts(name, count):
        way = rng.randrange(9)
        line = f"{crc} {body}"
        half = rng.randrange(len(line))
        stream = rng.choice([sys.stdout, sys.stderr, sys.__stdout__])
        if way == 0:
            print(crc, body, file=stream)
        elif way == 1:
            print(crc, end=" ", file=stream, flush=True)
            time.sleep(0)
            print(body, file=stream)
        elif way == 2:
            stream.write(line[:half])
            stream.flush()
            time.sleep(0)
            stream.write(line[half:] + "\\n")
        elif way == 3:
            stream.writelines([line[:half], line[half:], "\\n"])
        elif way == 4:
            data = line.encode() + b"\\n"
            for at in range(0, len(data), 7_000):
                stream.buffer.write(memoryview(data)[at:at + 7_000])
        elif way == 5:
            logging.getLogger(name).warning("%s", line)
        elif way == 6:
            context.log(line)
        elif way == 7:
            err.error("%s", line)
        else:
            try:
                raise ValueError(line)
            except ValueError:
                traceback.print_exc()

async def write_in_task(name):
    for rng, label, body, crc in texts(name, 3):
        print(crc, end=" ")
        await asyncio.sleep(0)
        print(body)

def handler(event, context):
    name = context.aws_request_id
    threads = [threading.Thread(target=write, args=(f"{name}-t{number}", context, 4)) for number in range(3)]
    for thread in threads:
        thread.start()
    write(f"{name}-own", context, 4)
    for thread in threads:
        thread.join()
    if event["task"]:
        return write_in_task(f"{name}-task")
"""


def expected(count: int, *, tasks: bool) -> set[str]:
    """The labels of all lines that WRITER has written for so many events."""
    writers = [("t0", 4), ("t1", 4), ("t2", 4), ("own", 4)]
    labels = {f"id-{event}-{name}-{line}" for event in range(count) for name, lines in writers for line in range(lines)}
    return labels | {f"id-{event}-task-{line}" for event in range(0, count, 2) for line in range(3) if tasks}


def labels(data: bytes) -> list[str]:
    """The labels of the lines with a checksum, which is right; the other lines are those of tracebacks."""
    found = []
    for line in data.decode().split("\n"):
        text = json.loads(line)["message"] if line.startswith("{") else line
        match = re.fullmatch(r"(?:ValueError: )?([0-9a-f]{8}) ((\S+) \S*)", text)
        if match is None:
            assert re.match(r"|Traceback \(most|  File |    raise ValueError", text), text[:200]
            assert "\ufffd" not in text
            assert text == "" or len(text) < 200, text[:200]
            continue
        assert f"{zlib.crc32(match[2].encode()):08x}" == match[1], f"{len(text)}: {text[:100]}"
        if line.startswith("{"):
            assert match[3].startswith(json.loads(line)["requestId"] + "-")
        found.append(match[3])
    return found


def check_whole(runtime: Runtime, data: list[bytes], count: int, *, tasks: bool = True) -> None:
    found = [label for part in data for label in labels(part)]
    assert len(found) == len(set(found))
    assert set(found) == expected(count, tasks=tasks)


def written(count: int) -> list[Answer]:
    return [invocation({"task": not number % 2}, f"id-{number}") for number in range(count)]


@pytest.mark.parametrize("where", ["two pipes", "one pipe", "non-blocking pipes", "socket"])
def test_no_line_of_64_pollers_is_split_or_lost(tmp_path: Path, where: str) -> None:
    provider = Provider(tmp_path / "provider") if where == "socket" else None
    with logged(
        tmp_path,
        WRITER,
        *written(96),
        count=64,
        env={PROVIDER: provider.path} if provider else {},
        slow=True,
        one_pipe=where == "one pipe",
        blocking=where != "non-blocking pipes",
    ) as runtime:
        runtime.answers(96)
        runtime.end()
        parts = {runtime.out: runtime.out.data, runtime.err: runtime.err.data}
        if provider:
            provider.close()
            for reader in provider.readers:
                reader.thread.join()
                parts[reader] = reader.data
            assert len(provider.readers) == 2
            assert not runtime.out.data + runtime.err.data
        check_whole(runtime, list(parts.values()), 96)


@pytest.mark.parametrize("mode", ["process", "hybrid"])
@pytest.mark.parametrize("one_pipe", [False, True], ids=["two pipes", "one pipe"])
def test_no_line_of_several_processes_on_one_pipe_is_split_or_lost(tmp_path: Path, mode: str, one_pipe: bool) -> None:
    with logged(tmp_path, WRITER, *written(32), mode=mode, count=8, slow=True, one_pipe=one_pipe) as runtime:
        runtime.answers(32)
        runtime.end()
        check_whole(runtime, list({runtime.out.data, runtime.err.data}), 32)
