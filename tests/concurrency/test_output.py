"""What many invocations at once write: whole lines, records with the right request id, and where they go."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import zlib
from pathlib import Path

import pytest

from samovar.concurrency import output
from samovar.local.testing.scripted_api import Answer, invocation
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
    provider = Provider(tmp_path / "provider", slow=True) if where == "socket" else None
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


# --- the platform's socket


@pytest.mark.parametrize(
    ("runtime", "mode", "processes"),
    [(OFFICIAL, "process", 3), (OURS, "process", 3), (OURS, "thread", 1), (OURS, "hybrid", 2)],
)
def test_each_process_that_serves_has_two_connections_of_plain_lines(
    tmp_path: Path, runtime: str, mode: str, processes: int
) -> None:
    """As AWS's client has it, also where there is a telemetry descriptor."""
    source = """
        import logging, os, sys
        from socket import SO_SNDTIMEO, SOL_SOCKET, socket

        def handler(event, context):
            print("printed")
            print("to stderr", file=sys.stderr)
            logging.getLogger().error("logged")
            with socket(fileno=os.dup(1)) as connection:
                return any(connection.getsockopt(SOL_SOCKET, SO_SNDTIMEO, 16))
    """
    reading, writing = os.pipe()
    provider = Provider(tmp_path / "provider")
    env = {
        PROVIDER: provider.path,
        TELEMETRY: str(writing),
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_LEVEL": "INFO",
    }
    with logged(
        tmp_path, source, *events(3), mode=mode, count=3, runtime=runtime, env=env, pass_fds=(writing,)
    ) as started:
        os.close(writing)
        assert list(started.answers(3).values()) == [False] * 3  # no time limit: C code may not expect one
        started.wait_for_polls(6)
        with open(reading, "rb") as pipe:
            assert pipe.read() == b""  # the runtime has closed it
    provider.close()
    assert len(provider.readers) == 2 * min(processes, os.cpu_count() or 1 if mode == "hybrid" else processes)
    for reader in provider.readers:
        reader.thread.join()
    lines = sorted(line for reader in provider.readers for line in reader.lines)
    assert lines[:3] == ["printed"] * 3
    assert lines[3:6] == ["to stderr"] * 3
    assert sorted(json.loads(line)["requestId"] for line in lines[6:]) == ["id-0", "id-1", "id-2"]
    assert b"printed" not in started.out.data
    assert started.err.data == b""


def refused(path: Path) -> None:
    """A socket without a listener, as a listener that has ended leaves it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest.mark.parametrize("mode", ["process", "thread"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing", "No such file or directory"), ("refused", "Connection refused"), ("x" * 200, "AF_UNIX path too long")],
)
def test_a_socket_that_takes_no_connection_costs_a_line_on_stderr(
    tmp_path: Path, mode: str, name: str, reason: str
) -> None:
    refused(tmp_path / "refused")
    path = tmp_path / name
    source = "def handler(event, context):\n    print('printed')\n"
    with logged(tmp_path, source, *events(2), mode=mode, count=2, env={PROVIDER: str(path)}) as started:
        started.answers(2)
        started.wait_for_polls(4)
        started.end()
    assert started.out.lines == ["printed"] * 2
    lines = started.err.lines
    assert len(lines) == (2 if mode == "process" else 1)
    for line in lines:
        assert re.fullmatch(rf"samovar: {PROVIDER}={path}: (\[Errno \d+\] )?{reason}; the log goes to .*", line)


def test_a_socket_whose_listener_does_not_answer_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "_PATIENCE", 1)
    path = str(tmp_path / "provider")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        assert not output._connect(path)
    assert f"{PROVIDER}={path}: [Errno 11]" in capfd.readouterr().err


def test_an_empty_variable_is_no_socket(tmp_path: Path) -> None:
    with logged(
        tmp_path, "def handler(event, context):\n    print('printed')\n", *events(1), env={PROVIDER: ""}
    ) as started:
        started.answers(1)
        started.end()
    assert (started.out.lines, started.err.data) == (["printed"], b"")


# --- records


@pytest.mark.parametrize(("level", "framed"), [("DEBUG", True), ("TRACE", False)], ids=["descriptor", "stdout"])
def test_the_record_of_the_worker_pool_is_that_of_the_official_client(tmp_path: Path, level: str, framed: bool) -> None:
    def record(runtime: str, mode: str) -> bytes:
        reading, writing = os.pipe()
        env = {"AWS_LAMBDA_LOG_LEVEL": level, "AWS_LAMBDA_LOG_FORMAT": "JSON"}
        if framed:
            env[TELEMETRY] = str(writing)
        with logged(
            tmp_path,
            "def handler(event, context): ...",
            mode=mode,
            count=3,
            runtime=runtime,
            env=env,
            pass_fds=(writing,),
        ) as started:
            os.close(writing)
            started.wait_for_polls(3)
            with open(reading, "rb") as pipe:
                if framed:
                    ((kind, _, message),) = frames(pipe.read())
                    assert kind == "a55a000a"
                    assert b"workerCount" not in started.out.data
                else:
                    (message,) = (line + b"\n" for line in started.out.data.split(b"\n") if b"workerCount" in line)
        return re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"TIME", message)

    official = record(OFFICIAL, "process")
    assert b'"requestId": ""' in official
    assert record(OURS, "process") == official
    assert record(OURS, "thread") == official
    hybrid = json.loads(record(OURS, "hybrid"))["message"]
    assert hybrid["executionEnvironmentMaxConcurrency"] == 3
    assert 1 <= hybrid["workerCount"] <= 3


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_a_telemetry_descriptor_that_is_not_there_costs_nothing(tmp_path: Path, mode: str) -> None:
    env = {TELEMETRY: "999", "AWS_LAMBDA_LOG_LEVEL": "DEBUG"}
    with logged(tmp_path, "def handler(event, context): ...", *events(1), mode=mode, env=env) as started:
        started.answers(1)
        started.out.wait_for("runtime_worker_pool_initializing")


def test_where_the_kernel_has_no_files_in_memory_the_workers_serve(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os\ndef memfd_create(*_): raise OSError(38)\nos.memfd_create = memfd_create\n"
    )
    source = "def handler(event, context):\n    print('printed')\n"
    env = {"PYTHONPATH": str(tmp_path)}
    with logged(tmp_path, source, *events(2), mode="process", count=2, env=env) as started:
        started.answers(2)
        started.end()
    assert started.out.lines == ["printed"] * 2


@pytest.mark.parametrize("level", ["", "INFO"])
def test_there_is_no_record_of_the_worker_pool_above_debug(tmp_path: Path, level: str) -> None:
    env = {"AWS_LAMBDA_LOG_LEVEL": level} if level else {}
    with logged(tmp_path, "def handler(event, context): ...", env=env) as started:
        started.wait_for_polls(4)
        started.end()
    assert started.out.data + started.err.data == b""


@pytest.mark.parametrize(("mode", "log_format"), [("process", None), ("thread", "Text"), ("hybrid", "Text")])
def test_records_are_json_with_the_request_id_whatever_the_format(
    tmp_path: Path, mode: str, log_format: str | None
) -> None:
    source = """
        import logging, threading, time
        import samovar
        logging.getLogger().warning("in INIT")

        def handler(event, context):
            logging.getLogger("mine").error("logged", extra={"id": context.aws_request_id})
            thread = threading.Thread(target=logging.getLogger("mine").error, args=("of a thread",),
                                      kwargs={"extra": {"id": context.aws_request_id}})
            thread.start()
            thread.join()
            samovar.defer(logging.getLogger().error, "deferred", extra={"id": context.aws_request_id})
            raise ValueError(context.aws_request_id)
    """
    env = {"AWS_LAMBDA_LOG_FORMAT": log_format} if log_format else {}
    with logged(tmp_path, source, *events(16), mode=mode, count=8, env=env) as started:
        started.answers(16)
        started.wait_for_polls(16 + 8)
        started.end()
    records = [json.loads(line) for line in started.out.lines]
    assert started.err.data == b""
    kinds: dict[str, list[str]] = {}
    for record in records:
        if record["requestId"]:
            kinds.setdefault(record.get("message", record.get("errorType")), []).append(record["requestId"])
            assert record["requestId"] == record.get("id", record.get("errorMessage"))
        else:
            assert record["message"] == "in INIT"
    assert kinds.keys() == {"logged", "of a thread", "deferred", "ValueError"}
    for ids in kinds.values():
        assert sorted(ids) == sorted(f"id-{number}" for number in range(16))


def test_a_record_is_a_line_of_its_own_whatever_its_format_and_its_thread_has_begun(tmp_path: Path) -> None:
    source = """
        import logging
        logging.getLogger().handlers[0].setFormatter(logging.Formatter("%(message)s"))

        def handler(event, context):
            print("begun ", end="")
            logging.getLogger().error("without a line end")
            context.log("neither")
            context.log("with one\\n")
            print("and ended")
    """
    with logged(tmp_path, source, *events(1)) as started:
        started.answers(1)
        started.end()
    assert started.out.lines == ["without a line end", "neither", "with one", "begun and ended"]


def test_a_stdout_of_the_functions_own_gets_the_records(tmp_path: Path) -> None:
    source = """
        import io, sys

        def handler(event, context):
            sys.stdout = io.StringIO()
            context.log("logged")
            taken, sys.stdout = sys.stdout.getvalue(), sys.__stdout__
            return taken
    """
    with logged(tmp_path, source, *events(1)) as started:
        assert started.answers(1) == {"id-0": "logged\n"}


# --- lines that have been begun


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_a_line_that_was_left_ends_with_init_the_invocation_the_thread_or_the_process(
    tmp_path: Path, mode: str
) -> None:
    source = """
        import sys, threading
        print("of INIT", end="")

        def handler(event, context):
            sys.stderr.write("of an invocation")
            sys.stderr.flush()
            thread = threading.Thread(target=sys.stdout.write, args=("of a thread",))
            thread.start()
            thread.join()
            if event.get("exit"):
                print("at exit", end="")
                sys.exit(3)
    """
    with logged(tmp_path, source, invocation({}, "id-0"), mode=mode, count=1) as started:
        started.answers(1)
        started.err.wait_for("of an invocation\n")
        assert started.out.lines == ["of INIT", "of a thread"]
        started.api.push(invocation({"exit": True}, "id-1"))
        started.out.wait_for("at exit\n")
    assert started.out.lines.count("of a thread") == 2


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_a_line_that_was_left_ends_when_init_fails(tmp_path: Path, mode: str) -> None:
    with logged(tmp_path, "print('begun', end='')\nraise ValueError('x')", mode=mode, count=1) as started:
        assert started.wait() == 1
    assert "begun" in started.out.lines


def test_a_line_that_was_left_ends_at_sigterm_too(tmp_path: Path) -> None:
    source = """
        import samovar, threading
        ready = threading.Event()

        def begin():
            print("begun", end="")
            ready.set()
            threading.Event().wait()

        threading.Thread(target=begin, daemon=True).start()
        ready.wait()
        samovar.on_shutdown(lambda: print("of a hook", end=""))

        def handler(event, context): ...
    """
    with logged(tmp_path, source, mode="thread", count=2) as started:
        started.wait_for_polls(2)
        assert started.out.data == b""
        assert started.end() == -signal.SIGTERM
    assert sorted(started.out.lines) == ["begun", "of a hook"]


def test_tasks_of_several_invocations_do_not_end_each_others_lines(tmp_path: Path) -> None:
    source = """
        import asyncio
        arrived = []

        async def handler(event, context):
            print(context.aws_request_id, end=" ")
            arrived.append(asyncio.get_running_loop().create_future())
            if len(arrived) == 4:
                for each in arrived:
                    each.set_result(None)
            await arrived[-1] if len(arrived) < 4 else None
            print("goes on", end=" ")
            await asyncio.sleep(0)
            print("is left", end="")
    """
    with logged(tmp_path, source, *events(4), count=4) as started:
        started.answers(4)
        started.wait_for_polls(8)
        started.out.wait_for("id-0 ")
        for number in range(4):
            started.out.wait_for(f"id-{number} goes on is left\n")
    assert sorted(started.out.lines) == [f"id-{number} goes on is left" for number in range(4)]


def test_what_a_pool_has_left_of_one_invocation_is_not_continued_in_another(tmp_path: Path) -> None:
    source = """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)

        def handler(event, context):
            pool.submit(print, event["text"], end=event["end"]).result()
    """
    first, second = invocation({"text": "one", "end": ""}, "id-0"), invocation({"text": "two", "end": "\n"}, "id-1")
    with logged(tmp_path, source, first) as started:
        started.answers(1)
        started.wait_for_polls(5)
        assert started.out.data == b""  # the thread may go on with it
        started.api.push(second)
        started.answers(2)
        started.end()
    assert started.out.lines == ["one", "two"]


# --- streams


def test_the_streams_are_what_they_are_elsewhere(tmp_path: Path) -> None:
    source = """
        import io, sys

        def handler(event, context):
            stream = sys.stdout
            results = [stream.write("abc"), stream.write("\\n"), stream.write(""), stream.buffer.write(b"d\\ne"),
                       stream.buffer.write(memoryview(b"f\\n")), stream.buffer.write(b"")]
            failed = []
            for wrong in (lambda: stream.write(b""), lambda: stream.buffer.write("x"), lambda: stream.write("\\ud800")):
                try:
                    wrong()
                except Exception as exc:
                    failed.append(type(exc).__name__)
            print("x" * 1_000_000)
            print("one\\ntwo", "three", sep="\\n")
            stream.writelines(["four", "\\n", "five\\n"])
            print("to the same", file=sys.__stdout__)
            facts = [isinstance(stream, io.TextIOWrapper), stream.encoding, stream.fileno(), stream.isatty(),
                     stream.writable(), stream.name, sys.stderr.fileno(), stream is sys.__stdout__]
            stream.close()
            for closed in (lambda: print("no"), lambda: stream.write("no"), lambda: stream.buffer.write(b"no")):
                try:
                    closed()
                except ValueError as exc:
                    failed.append(str(exc))
            return results, failed, facts
    """
    with logged(tmp_path, source, *events(1)) as started:
        results, failed, facts = started.answers(1)["id-0"]
        started.end()
    assert results == [3, 1, 0, 3, 2, 0]
    assert failed[:3] == ["TypeError", "TypeError", "UnicodeEncodeError"]
    assert all("closed file" in message for message in failed[3:])
    assert facts == [True, "utf-8", 1, False, True, "<stdout>", 2, True]
    assert started.out.lines == [
        "abc", "d", "ef", "x" * 1_000_000, "one", "two", "three", "four", "five", "to the same",
    ]  # fmt: skip


def test_a_line_of_a_signal_handler_comes_after_the_one_that_it_interrupts(tmp_path: Path) -> None:
    source = """
        import signal

        def ring(signum, frame):
            print("of the handler")
            open("rung", "w").close()

        def handler(event, context):
            signal.signal(signal.SIGALRM, ring)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            print("x" * 1_000_000)
    """
    with logged(tmp_path, source, *events(1), mode="process", count=1, held=True) as started:
        started.wait_until((tmp_path / "rung").exists)
        started.out.go.set()
        started.answers(1)
        started.end()
    assert started.out.lines == ["x" * 1_000_000, "of the handler"]


def test_a_signal_handler_may_log_while_another_thread_waits_to_log(tmp_path: Path) -> None:
    """The other thread has the lock of the handler of `logging`, and waits for the interrupted one."""
    source = """
        import logging, signal, threading
        log = logging.getLogger()

        def ring(signum, frame):
            log.error("of the signal handler")
            open("rung", "w").close()

        def handler(event, context):
            signal.signal(signal.SIGALRM, ring)
            thread = threading.Timer(0.1, log.error, ["of the thread"])
            thread.start()
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            print("x" * 1_000_000)
            thread.join()
    """
    with logged(tmp_path, source, *events(1), mode="process", count=1, held=True) as started:
        started.wait_until((tmp_path / "rung").exists)
        started.out.go.set()
        started.answers(1)
        started.end()
    first, *others = started.out.lines
    assert first == "x" * 1_000_000
    assert sorted(json.loads(line)["message"] for line in others) == ["of the signal handler", "of the thread"]


def test_an_exception_of_a_signal_handler_costs_only_the_line_that_it_interrupts(tmp_path: Path) -> None:
    source = """
        import signal

        def ring(signum, frame):
            open("rung", "w").close()
            raise TimeoutError

        def handler(event, context):
            signal.signal(signal.SIGALRM, ring)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            try:
                print("x" * 1_000_000)
            except TimeoutError:
                print("in time")
    """
    with logged(tmp_path, source, *events(1), mode="process", count=1, held=True) as started:
        started.wait_until((tmp_path / "rung").exists)
        started.out.go.set()
        started.answers(1)
        started.end()
    assert started.out.lines[1:] == ["in time"]
    assert set(started.out.lines[0]) == {"x"}


# --- forks and deaths


def test_a_child_forked_while_a_thread_writes_can_write(tmp_path: Path) -> None:
    source = """
        import os, sys, time, threading

        def handler(event, context):
            if event.get("block"):
                print("begun ", end="", file=sys.stderr)
                print("x" * 1_000_000)
                return
            print("left", end="", file=sys.stderr)
            pid = os.fork()
            if not pid:
                os.dup2(os.open("child", os.O_CREAT | os.O_WRONLY), 1)
                print("of the child")
                print("a part", end="", flush=True)
                context.log("logged")
                os._exit(7)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    """
    with logged(tmp_path, source, invocation({"block": True}, "id-0"), held=True) as started:
        started.wait_until(lambda: started.out.available() >= 65_536)  # the pipe is full
        started.api.push(invocation({}, "id-1"))
        assert started.answers(1) == {"id-1": 7}
        assert (tmp_path / "child").read_text() == "of the child\na partlogged\n"
        started.out.go.set()
        started.answers(2)
        started.end()
    assert started.out.lines == ["x" * 1_000_000]
    assert sorted(started.err.lines) == ["begun ", "left"]


def test_a_child_does_not_end_the_lines_of_its_parent(tmp_path: Path) -> None:
    source = """
        import os, sys

        def handler(event, context):
            print("left", end="")
            pid = os.fork()
            if not pid:
                sys.exit(7)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    """
    with logged(tmp_path, source, *events(1), mode="process", count=1) as started:
        assert started.answers(1) == {"id-0": 7}
        started.end()
    assert started.out.lines == ["left"]


def test_a_function_that_closes_all_descriptors_can_write(tmp_path: Path) -> None:
    source = """
        import os

        def handler(event, context):
            for name in os.listdir("/proc/self/fd"):
                if os.path.exists(f"/proc/self/fd/{name}") and "memfd" in os.readlink(f"/proc/self/fd/{name}"):
                    os.close(int(name))
            print("written")
    """
    with logged(tmp_path, source, *events(2), mode="process", count=2) as started:
        started.answers(2)
        started.end()
    assert started.out.lines == ["written"] * 2


def test_a_worker_that_is_killed_in_the_midst_of_a_line_does_not_hold_up_the_others(tmp_path: Path) -> None:
    source = """
        import os, sys, time

        def handler(event, context):
            if event.get("block"):
                if not os.fork():
                    time.sleep(60)
                open("pid", "w").write(str(os.getpid()))
                print("x" * 1_000_000)
            print("whole")
    """
    with logged(tmp_path, source, invocation({"block": True}, "id-0"), mode="process", count=2, held=True) as started:
        started.wait_for_polls(2)
        started.wait_until(lambda: started.out.available() >= 65_536)  # the pipe is full
        started.api.push(invocation({}, "id-1"))
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        started.out.go.set()
        started.answers(2)
        started.wait_for_polls(4)
        started.out.wait_for("whole")
