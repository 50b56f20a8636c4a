"""`samovar run`, as a user calls it, under the real emulator."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.conftest import ROOT
from tests.local.terminal import on_terminal, plain

pytestmark = pytest.mark.real
SAMOVAR = str(Path(sys.executable).parent / "samovar")
APP = """\
import os, sys, time
print("INIT")
count = 0

def handler(event, context):
    global count
    count += 1
    print("event", event)
    if "wait_for" in event:
        while not os.path.exists(event["wait_for"]):
            time.sleep(0.005)
    if "fail" in event:
        raise ValueError(event["fail"])
    if "exit" in event:
        os._exit(event["exit"])
    if "return" in event:
        return event["return"]
    return {"count": count, "pid": os.getpid()}

def bytes_of_its_own(event, context):
    sys.stderr.write("no line end")
    return b"\\x00\\xff\\n"

def surroundings(event, context):
    return {"A": os.environ.get("A"), "cwd": os.getcwd(), "memory": context.memory_limit_in_mb,
            "seconds": round(context.get_remaining_time_in_millis() / 1000), "handler": os.environ["_HANDLER"]}
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    root = tmp_path / "task"
    root.mkdir()
    (root / "app.py").write_text(APP)
    return root


def _samovar(task: Path, *arguments: str, input: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    command = [SAMOVAR, "run", *arguments]
    return subprocess.run(
        command, cwd=task, input=input, capture_output=True, check=False, env={**os.environ, **env}, timeout=120
    )


def _answers(done: subprocess.CompletedProcess[bytes]) -> list[Any]:
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- with events


def test_the_response_is_all_of_stdout_and_the_log_goes_to_stderr(task: Path) -> None:
    done = _samovar(task, "app.handler", "--event", '{"return": {"ü": [1, 2.50]}}')
    assert done.returncode == 0
    assert done.stdout == '{"ü":[1,2.5]}\n'.encode()
    assert [line for line in done.stderr.decode().splitlines() if not line.startswith("REPORT ")] == [
        "INIT",
        "event {'return': {'ü': [1, 2.5]}}",
    ]


def test_bytes_reach_stdout_as_they_are_and_a_line_without_end_is_not_lost(task: Path) -> None:
    done = _samovar(task, "app.bytes_of_its_own", "--event", "{}")
    assert done.stdout == b"\x00\xff\n\n"
    assert b"no line end\nREPORT " in done.stderr


def test_the_report_has_the_measured_duration_init_and_memory(task: Path) -> None:
    done = _samovar(task, "app.handler", "--event", "{}", "--event", "{}", "--memory", "512")
    first, second = [line for line in done.stderr.decode().splitlines() if line.startswith("REPORT ")]
    for report, fields in ((first, ["Duration", "Init Duration", "Memory"]), (second, ["Duration", "Memory"])):
        assert [field.partition(":")[0] for field in report.removeprefix("REPORT ").split("  ")] == fields
        assert 5 < int(report.rpartition("Memory: ")[2].removesuffix(" of 512 MB")) < 512
        assert len(report) <= 80
    assert float(first.partition("Init Duration: ")[2].partition(" ms")[0]) > 1, "the emulator's own figure is 0.02"


def test_several_events_share_one_environment(task: Path) -> None:
    (task / "event.json").write_text('\n{"return":\n "from a file"}')
    done = _samovar(
        task,
        "app.handler",
        "--event",
        "{}",
        "-e",
        "event.json",
        "--event",
        "-",
        "--event",
        "{}",
        input=b'{"return": 1}',
    )
    first, second, third, last = _answers(done)
    assert (second, third, last["count"]) == ("from a file", 1, 4)
    assert first["pid"] == last["pid"]
    assert done.stderr.count(b"INIT\n") == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_file_in_another_encoding_of_unicode_is_an_event(task: Path, encoding: str) -> None:
    (task / "event.json").write_text('{"return": "ü"}', encoding=encoding)
    assert _answers(_samovar(task, "app.handler", "--event", "event.json")) == ["ü"]


@pytest.mark.parametrize("event", ["3", "null", '"text"', "[1]", "true"])
def test_an_event_need_not_be_an_object(task: Path, event: str) -> None:
    (task / "echo.py").write_text("def handler(event, context):\n    return event\n")
    assert _samovar(task, "echo.handler", "--event", event).stdout.decode() == f"{event}\n"


@pytest.mark.parametrize(
    ("event", "answer", "says"),
    [
        ('{"fail": "first\\nsecond"}', "ValueError", "the invocation failed: ValueError: first\n"),
        ('{"exit": 3}', "Runtime.ExitError", "Runtime exited with error: exit status 3\n"),
        ('{"return": 1, "wait_for": "/nothing"}', None, "Sandbox.Timedout: Task timed out after 1.00 seconds\n"),
    ],
)
def test_a_failed_invocation_is_answered_and_said_and_the_exit_status_is_1(
    task: Path, event: str, answer: str | None, says: str
) -> None:
    done = _samovar(task, "app.handler", "--event", event, "--timeout", "1")
    assert done.returncode == 1
    assert done.stderr.decode().endswith(says)
    if answer is None:
        assert done.stdout == b"Task timed out after 1.00 seconds\n"
    else:
        assert json.loads(done.stdout)["errorType"] == answer


def test_a_result_that_looks_like_an_error_is_a_result(task: Path) -> None:
    document = {"errorType": "ValueError", "errorMessage": "wrong", "stackTrace": []}
    done = _samovar(task, "app.handler", "--event", json.dumps({"return": document}))
    assert (done.returncode, _answers(done)) == (0, [document])
    assert b"failed" not in done.stderr


def test_the_events_after_a_failed_one_are_sent_too(task: Path) -> None:
    done = _samovar(task, "app.handler", "-e", "{}", "-e", '{"fail": "wrong"}', "-e", '{"exit": 1}', "-e", "{}")
    assert done.returncode == 1
    first, failed, exited, last = _answers(done)
    assert (first["count"], last["count"]) == (1, 1), "an environment that has ended is replaced, as on Lambda"
    assert (failed["errorType"], exited["errorType"]) == ("ValueError", "Runtime.ExitError")
    assert b"samovar run: event 2 of 4 failed: ValueError: wrong\n" in done.stderr


def test_a_traceback_has_lines(task: Path) -> None:
    done = _samovar(task, "app.handler", "--event", '{"fail": "wrong"}')
    assert b"[ERROR] ValueError: wrong\nTraceback (most recent call last):\n" in done.stderr
    assert b"\r" not in done.stderr


def test_an_init_that_fails_is_a_failed_invocation(task: Path) -> None:
    (task / "broken.py").write_text("import no_such_module\ndef handler(event, context): ...\n")
    done = _samovar(task, "broken.handler", "--event", "{}")
    assert (done.returncode, json.loads(done.stdout)["errorType"]) == (1, "Runtime.ImportModuleError")
    assert b"No module named 'no_such_module'" in done.stderr


@pytest.mark.parametrize("handler", ["package.inner.handler", "package/inner.handler", "exec:./program --fast"])
def test_every_kind_of_handler_string(task: Path, handler: str) -> None:
    (task / "package").mkdir()
    (task / "package" / "inner.py").write_text("def handler(event, context):\n    return 'answered'\n")
    program = task / "program"
    answering = "from samovar import companion\ncompanion.serve(lambda event, context: 'answered')\n"
    program.write_text(f"#!{sys.executable}\n{answering}")
    program.chmod(0o755)
    assert _answers(_samovar(task, handler, "--event", "{}")) == ["answered"]


def test_the_functions_surroundings(task: Path, tmp_path: Path) -> None:
    (tmp_path / "variables.env").write_text("# ours\nexport A='1 # one'\n_HANDLER=other\nLAMBDA_TASK_ROOT=/other\n")
    arguments = ["--task-root", str(task), "--env-file", "variables.env", "--memory", "256", "--timeout", "900"]
    done = _samovar(tmp_path, "app.surroundings", "--event", "{}", *arguments)
    (found,) = _answers(done)
    assert found.pop("seconds") in range(880, 901)
    assert found == {"A": "1 # one", "cwd": str(task), "memory": "256", "handler": "app.surroundings"}


def test_the_log_is_shown_while_the_function_runs(task: Path, tmp_path: Path) -> None:
    release = tmp_path / "release"
    command = [SAMOVAR, "run", "app.handler", "--event", json.dumps({"wait_for": str(release)})]
    with subprocess.Popen(command, cwd=task, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr
        assert process.stderr.readline() == b"INIT\n"
        assert process.stderr.readline().startswith(b"event ")
        assert not release.exists()
        release.touch()
        out, err = process.communicate()
    assert json.loads(out)["count"] == 1
    assert err.startswith(b"REPORT ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_an_invocation_and_every_process(task: Path, number: signal.Signals) -> None:
    (task / "slow.py").write_text(
        "import os\ndef handler(event, context):\n    print(os.getpid())\n    os.read(0, 1)\n    while True: pass\n"
    )
    process = subprocess.Popen(
        [SAMOVAR, "run", "slow.handler", "--event", "{}"], cwd=task, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stderr
        pid = int(process.stderr.readline())
        assert _alive(pid)
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out) == (128 + number, b"")
    assert b"Traceback" not in err
    assert not _alive(pid)


# --- wrong calls


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["app.handlr", "-e", "{}"], "app has no function 'handlr'; it could be app.handler, "),
        (["ap.handler", "-e", "{}"], "there is no module 'ap' in TASK; it could be app.handler, "),
        (["app", "-e", "{}"], "'app' is not MODULE.FUNCTION; it could be app.handler, "),
        (["app.handlr"], "app has no function 'handlr'; it could be app.handler, "),
        (["app.handler", "-e", '{"a": }'], "--event is not JSON: Expecting value at line 1, column 7"),
        (["app.handler", "-e", "bad.json"], "bad.json is not JSON: Expecting value at line 2, column 7"),
        (["app.handler", "-e", "-"], "standard input is not JSON: Expecting value at line 1, column 1"),
        (["app.handler", "-e", "[NaN]"], "--event is not JSON: it has no NaN"),
        (["app.handler", "-e", "no.json"], "--event no.json: No such file or directory; want a file, JSON, or -"),
        (["app.handler", "-e", "."], "--event .: Is a directory; want a file, JSON, or -"),
        (["app.handler", "-e", "-", "-e", "-"], "--event - can be given once: there is one standard input"),
        (["app.handler", "-e", "{}", "--port", "1"], "--port is for events over HTTP: leave out either"),
        (["app.handler", "-e", "{}", "--task-root", "/no/such"], "--task-root: there is no folder /no/such"),
        (["app.handler", "-e", "{}", "--env-file", "no.env"], "--env-file no.env: No such file or directory"),
        (["app.handler", "-e", "{}", "--env-file", "bad.env"], "bad.env, line 2: 'two words' is not NAME=VALUE"),
        (["app.handler", "-e", "{}", "--timeout", "0"], "argument --timeout: want a whole number from 1 to 900"),
        (["app.handler", "-e", "{}", "--memory", "1e3"], "argument --memory: want a whole number from 128 to 10240"),
        (["app.handler", "--port", "http"], "argument --port: want a whole number from 0 to 65535, not 'http'"),
    ],
)
def test_a_wrong_call_gets_one_line_that_helps(task: Path, arguments: list[str], says: str) -> None:
    (task / "bad.json").write_text('{"a": 1,\n "b": x}')
    (task / "bad.env").write_text("A=1\ntwo words\n")
    done = _samovar(task, *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith(f"samovar run: {says.replace('TASK', str(task))}")
    assert done.stderr.count(b"\n") == 1


def test_a_misspelt_function_that_only_init_can_tell_is_explained_too(task: Path) -> None:
    (task / "app.py").write_text(APP + "\n# not handlr\n")
    done = _samovar(task, "app.handlr", "--event", "{}")
    assert (done.returncode, done.stdout) == (2, b"")
    said = (
        "samovar run: app has no function 'handlr'; it could be app.handler, app.bytes_of_its_own, app.surroundings\n"
    )
    assert done.stderr.decode().endswith(said)


def _after(preparation: str, task: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `samovar run` in an interpreter in which something has been changed first."""
    source = f"import sys\nfrom samovar.local import cli\n{preparation}\nsys.exit(cli.main())"
    command = [sys.executable, "-c", source, "run", *arguments]
    return subprocess.run(
        command, cwd=task, capture_output=True, text=True, check=False, env={**os.environ, **env}, timeout=120
    )


@pytest.mark.parametrize(
    ("platform", "says"),
    [
        ("darwin", "Lambda's emulator needs Linux, and this is macOS. Run it in Docker: docker run "),
        (
            "win32",
            "Lambda's emulator needs Linux, and this is Windows. Run it in WSL, as on Linux, or in Docker: docker ",
        ),
    ],
)
def test_another_system_is_told_how_to_run_it_there(task: Path, platform: str, says: str) -> None:
    done = _after(f"sys.platform = {platform!r}", task, "app.handler", "--event", '{"a": 1}')
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"samovar run: {says}")
    assert done.stderr.count("\n") == 1
    shell = done.stderr.partition("docker run ")[2]
    words = subprocess.run(["sh", "-c", f"printf '%s\\n' {shell}"], capture_output=True, text=True, check=True).stdout
    inner = words.splitlines()[-1]
    assert inner == """pip install -q 'samovar[local]' && samovar run app.handler --event '{"a": 1}'"""


def test_a_machine_without_an_emulator_says_so(task: Path, tmp_path: Path) -> None:
    preparation = "import platform; platform.machine = lambda: 'riscv64'"
    away = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "SAMOVAR_RIE": ""}
    done = _after(preparation, task, "app.handler", "--event", "{}", **away)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("samovar run: there is no Runtime Interface Emulator for Linux riscv64")
    assert done.stderr.count("\n") == 1


def test_a_machine_without_a_place_for_the_emulator_says_so(task: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    away = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "file"), "SAMOVAR_RIE": ""}
    done = _samovar(task, "app.handler", "--event", "{}", **away)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"samovar run: no place for the emulator: ")
    assert done.stderr.count(b"\n") == 1


def test_a_timeout_in_the_environment_that_is_no_number_is_said(task: Path) -> None:
    done = _samovar(task, "app.handler", "--event", "{}", AWS_LAMBDA_FUNCTION_TIMEOUT="1s")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"samovar run: AWS_LAMBDA_FUNCTION_TIMEOUT is '1s': want a whole number\n"


def test_watch_without_its_package_names_the_extra(task: Path) -> None:
    done = _after("sys.modules['watchfiles'] = None", task, "app.handler", "--watch")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "samovar run: --watch needs watchfiles: pip install 'samovar[local]'\n"


def test_neither_rich_nor_watchfiles_is_needed_for_an_event(task: Path) -> None:
    done = _after("sys.modules['rich'] = sys.modules['watchfiles'] = None", task, "app.handler", "--event", "{}")
    assert done.returncode == 0
    assert json.loads(done.stdout)["count"] == 1


# --- pipes and terminals


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone_away_ends_it_quietly(task: Path, stream: str) -> None:
    read, write = os.pipe()
    os.close(read)
    streams: dict[str, int] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: write}
    command = [SAMOVAR, "run", "app.handler", "--event", "{}"]
    done = subprocess.run(command, cwd=task, check=False, timeout=120, **streams)  # type: ignore[call-overload]
    os.close(write)
    assert done.returncode == 141
    assert not done.stdout
    assert b"samovar" not in (done.stderr or b"")
    assert b"Traceback" not in (done.stderr or b"")


def test_the_response_can_be_piped_while_the_log_is_on_a_terminal(task: Path, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+") as out:
        command = [SAMOVAR, "run", "app.handler", "--event", '{"return": 5}']
        status, seen = on_terminal(command, cwd=task, stdout=out.fileno())
        out.seek(0)
        assert (status, out.read()) == (0, "5\n")
    assert plain(seen).startswith("INIT\nevent {'return': 5}\nREPORT ")


def test_an_event_can_be_typed_on_a_terminal(task: Path) -> None:
    typed: list[str] = []

    def seen(text: str) -> bytes:
        if "Ctrl-D" not in text or typed:
            return b""
        typed.append(text)
        return b'{"return": "typed"}\n\x04'

    status, text = on_terminal([SAMOVAR, "run", "app.handler", "--event", "-"], cwd=task, seen=seen)
    assert status == 0
    assert text.endswith('"typed"\n')


def test_a_failure_is_coloured_on_a_terminal_and_not_with_no_color(task: Path) -> None:
    command = [SAMOVAR, "run", "app.handler", "--event", '{"fail": "wrong"}']
    status, seen = on_terminal(command, cwd=task)
    assert status == 1
    assert "\x1b[1;31msamovar run:\x1b[0m the invocation failed: ValueError: wrong\n" in seen
    status, seen = on_terminal(command, cwd=task, env={"NO_COLOR": "1"})
    assert status == 1
    assert "\x1b" not in seen
    assert "\nsamovar run: the invocation failed: ValueError: wrong\n" in seen


# --- without an event


class _Staying:
    """`samovar run` that takes events over HTTP, and its stderr, line by line."""

    def __init__(self, process: subprocess.Popen[bytes], err: IO[bytes]) -> None:
        self.process = process
        self._err = err
        self.url = self.until("  curl ").split()[-1]
        self.until("Ctrl-C ends it.")

    def until(self, text: str) -> str:
        """Read up to a line that has the text, and return it."""
        lines = []
        while line := self._err.readline().decode():
            lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"no {text!r} in {lines}")

    def post(self, event: object, url: str = "", **headers: str) -> tuple[int, str | None, Any]:
        """Send an event; return the status, X-Amz-Function-Error and the answer."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url or self.url, data=body, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.headers["X-Amz-Function-Error"], json.loads(answer.read())
        except urllib.error.HTTPError as exc:
            return exc.code, None, json.loads(exc.read())


@pytest.fixture
def stay(task: Path) -> Iterator[Callable[..., _Staying]]:
    processes = []

    def start(*arguments: str) -> _Staying:
        given = arguments or ("app.handler",)
        process = subprocess.Popen(
            [SAMOVAR, "run", *given, "--port", "0"], cwd=task, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        processes.append(process)
        assert process.stderr
        return _Staying(process, process.stderr)

    yield start
    for process in processes:
        with process:
            process.terminate()


def test_it_stays_and_says_how_to_send_an_event(stay: Callable[..., _Staying]) -> None:
    staying = stay()
    assert staying.url.endswith("/2015-03-31/functions/function/invocations")
    assert len(f"  curl -d '{{}}' {staying.url}") <= 80
    status, failed, first = staying.post({})
    assert (status, failed, first["count"]) == (200, None, 1)
    assert staying.post({})[2] == {"count": 2, "pid": first["pid"]}, "globals are kept"
    assert "INIT" in staying.until("INIT")
    assert staying.until("REPORT").startswith("REPORT Duration: ")


def test_the_log_is_live_while_it_stays(stay: Callable[..., _Staying], tmp_path: Path) -> None:
    staying, release = stay(), tmp_path / "release"
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(staying.post({"wait_for": str(release)})))
    thread.start()
    staying.until("event {'wait_for'")
    assert not answers
    release.touch()
    thread.join()
    assert answers[0][2]["count"] == 1


def test_events_at_the_same_time_wait_for_their_turn(stay: Callable[..., _Staying]) -> None:
    staying = stay()
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(staying.post({})[2]["count"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == list(range(1, 9))


def test_a_failure_has_lambdas_header_and_the_next_event_is_taken(stay: Callable[..., _Staying]) -> None:
    staying = stay()
    status, failed, answer = staying.post({"fail": "wrong"})
    assert (status, failed, answer["errorType"]) == (200, "Unhandled", "ValueError")
    staying.until("samovar run: the invocation failed: ValueError: wrong")
    status, failed, answer = staying.post({"exit": 4})
    assert (status, failed, answer["errorType"]) == (200, "Unhandled", "Runtime.ExitError")
    assert staying.post({"return": {"errorType": "X", "errorMessage": ""}})[:2] == (200, None)


def test_what_the_invoke_api_knows(stay: Callable[..., _Staying], task: Path) -> None:
    (task / "client.py").write_text("def handler(event, context):\n    return [event, context.client_context.custom]\n")
    staying = stay("client.handler")
    context = base64.b64encode(b'{"custom": {"a": "1"}}').decode()
    another = staying.url.replace("/function/", "/another-name/")
    assert staying.post(b"", another, X_Amz_Client_Context=context)[2] == [{}, {"a": "1"}]
    status, _, answer = staying.post({}, X_Amz_Client_Context="{}")
    assert (status, answer) == (400, {"message": "X-Amz-Client-Context is not JSON in base64"})
    status, _, answer = staying.post({}, staying.url.partition("/2015")[0])
    assert (status, answer) == (404, {"message": f"POST an event to {staying.url}"})
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(staying.url)


def test_a_port_in_use_is_said_in_one_line(task: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _samovar(task, "app.handler", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, b"")
    said = f"samovar run: port {port} is in use on this machine: choose another with --port, or 0 for a free one\n"
    assert done.stderr.decode() == said


@pytest.mark.parametrize("watch", [[], ["--watch"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything(stay: Callable[..., _Staying], number: signal.Signals, watch: list[str]) -> None:
    staying = stay("app.handler", *watch)
    pid = staying.post({})[2]["pid"]
    assert _alive(pid)
    staying.process.send_signal(number)
    assert staying.process.wait(60) == 128 + number
    assert not _alive(pid)
    with pytest.raises(urllib.error.URLError, match="refused"):
        staying.post({})


# --- watching


def test_a_saved_file_starts_it_anew_at_the_same_address(stay: Callable[..., _Staying], task: Path) -> None:
    staying = stay("app.handler", "--watch")
    assert staying.post({})[2]["count"] == 1
    (task / "__pycache__").mkdir(exist_ok=True)
    (task / "__pycache__" / "app.pyc").write_bytes(b"not to be seen")
    (task / "app.py").write_text("def handler(event, context):\n    return 'changed'\n")
    assert staying.until("Saved: ") == "Saved: app.py\n"
    assert staying.post({})[2] == "changed"


def test_an_event_in_flight_during_a_save_is_answered_by_the_new_code(
    stay: Callable[..., _Staying], task: Path
) -> None:
    staying = stay("app.handler", "--watch")
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(staying.post({"wait_for": "/nothing"})))
    thread.start()
    staying.until("event {'wait_for'")
    (task / "app.py").write_text("def handler(event, context):\n    return 'changed'\n")
    thread.join()
    assert answers == [(200, None, "changed")]


def test_a_wrong_save_is_said_and_the_next_one_puts_it_right(stay: Callable[..., _Staying], task: Path) -> None:
    staying = stay("app.handler", "--watch")
    (task / "app.py").write_text("def hendler(event, context): ...\n")
    assert staying.until("samovar run: ") == "samovar run: app has no function 'handler'; it could be app.hendler\n"
    staying.until("Waiting for a file to be saved")
    (task / "app.py").write_text("def handler(event, context):\n    return 'right'\n")
    assert staying.post({})[2] == "right"


def test_watch_sends_the_events_again_after_a_save_of_code_event_or_variables(task: Path, tmp_path: Path) -> None:
    (task / "app.py").write_text("import os\ndef handler(event, context):\n    return [1, event, os.environ['A']]\n")
    event, variables = tmp_path / "event.json", tmp_path / "a.env"
    event.write_text('"first"')
    variables.write_text("A=x\n")
    command = [SAMOVAR, "run", "app.handler", "--watch", "--event", str(event), "--env-file", str(variables)]
    with subprocess.Popen(command, cwd=task, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr

        def answer() -> Any:
            assert process.stdout
            return json.loads(process.stdout.readline())

        def save(path: Path, text: str) -> None:
            assert process.stderr
            while b"Waiting for a file to be saved" not in (line := process.stderr.readline()):
                assert line
            path.with_suffix(".new").write_text(text)
            path.with_suffix(".new").replace(path)  # as editors do

        try:
            assert answer() == [1, "first", "x"]
            save(event, '"second"')
            assert answer() == [1, "second", "x"]
            save(variables, "A=y\n")
            assert answer() == [1, "second", "y"]
            save(event, "{")
            save(event, '"third"')
            assert answer() == [1, "third", "y"]
            save(task / "app.py", "def handler(event, context):\n    return 2\n")
            assert answer() == 2
        finally:
            process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_right_after_an_answer_is_not_lost(task: Path, number: signal.Signals) -> None:
    command = [SAMOVAR, "run", "app.handler", "--watch", "--event", "{}"]
    for _ in range(5):  # in most rounds it comes while the environment ends
        with subprocess.Popen(command, cwd=task, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stderr
            try:
                pid = json.loads(process.stdout.readline())["pid"]
                process.send_signal(number)
                assert process.wait(60) == 128 + number
                assert not _alive(pid)
                assert b"KeyboardInterrupt" not in process.stderr.read()
            finally:
                process.kill()


def test_output_in_the_watched_folder_does_not_start_it_again(task: Path) -> None:
    out, err = task / "out.json", task / "err.log"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        command = [SAMOVAR, "run", "app.handler", "--watch", "--event", "{}"]
        process = subprocess.Popen(command, cwd=task, stdout=stdout, stderr=stderr)
    try:
        _until(lambda: "Waiting" in err.read_text())
        (task / "app.py").write_text("def handler(event, context):\n    return 'changed'\n")
        _until(lambda: "changed" in out.read_text() and err.read_text().count("Waiting") == 2)
    finally:
        process.terminate()
        process.wait(60)
    assert [line for line in err.read_text().splitlines() if line.startswith("Saved")] == ["Saved: app.py"]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_examples_run(tmp_path: Path) -> None:
    done = _samovar(tmp_path, "hello.handler", "--task-root", str(ROOT / "handlers"), "--event", '{"name": "Ada"}')
    assert done.returncode == 0
    assert "Ada" in json.dumps(_answers(done))


def _alive(pid: int) -> bool:
    """Return whether the process runs; a process that was just killed may be there for a moment."""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return False
        except OSError:
            return False
        time.sleep(0.005)
    return True
