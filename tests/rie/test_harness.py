"""samovar.local.rie itself, around the real emulator: its results and errors, and that it leaves nothing behind."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import samovar.local
from samovar.local import RIE, FunctionError, RIEError
from samovar.local import rie as module
from tests.conftest import PATH, ROOT

FUNCTIONS = Path(__file__).parent / "functions"
BOOTSTRAP = [str(ROOT / "bootstrap")]
ENV = {"PATH": PATH, "_HANDLER": "stateful.handler", "LAMBDA_TASK_ROOT": str(FUNCTIONS)}


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def _until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def test_a_second_invocation_at_the_same_time_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    release = tmp_path / "release"
    with RIE(BOOTSTRAP, env=ENV) as rie:
        first: list[object] = []
        thread = threading.Thread(target=lambda: first.append(rie.invoke({"wait_for": str(release)}).json()["count"]))
        thread.start()
        _until(lambda: "START RequestId" in rie.output(), "the first invocation starts")
        with pytest.raises(RIEError, match="one event at a time"):
            rie.invoke({})
        release.touch()
        thread.join()
        assert first == [1]
        assert rie.invoke({}).json()["count"] == 2


def test_pid_and_memory_are_the_runtimes() -> None:
    with RIE(BOOTSTRAP, env=ENV) as rie:
        assert rie.pid is None
        with pytest.raises(RIEError, match="after the first invocation"):
            rie.rss()
        assert rie.invoke({}).json()["pid"] == rie.pid
        status = Path(f"/proc/{rie.pid}/status")
        # The runtime may still be on its way back to /next, and touch another page.
        _until(lambda: f"VmRSS:\t{rie.rss() // 1024:8} kB\n" in status.read_text(), "what /proc says")
        child = rie.invoke({"spawn": ["sleep", "600"]}).json()
        assert rie.pids == [rie.pid, child]
        assert 0 < rie.rss(child) < rie.rss()
        rie.invoke({"exit": 0})
        _until(lambda: rie.pid is None, "no runtime until the next invocation")


def test_every_process_is_gone_afterwards_also_after_an_exception() -> None:
    def leave_behind(rie: RIE) -> list[int]:
        lone = rie.invoke({"spawn": ["sh", "-c", "sleep 600 & wait"]}).json()
        rie.invoke({"exit": 1})  # the spawned shell and its child are orphans now
        child = rie.invoke({"spawn": ["sh", "-c", "trap '' TERM; sleep 600 & wait"]}).json()
        found = [lone, child, rie.pid, rie._emulator]
        started = "the emulator, the runtime, two shells and what each of them started"
        _until(lambda: len(module._descendants(rie._process.pid)) == 6, started)
        assert all(_alive(pid) for pid in found)
        return found

    with RIE(BOOTSTRAP, env=ENV) as rie:
        pids = leave_behind(rie)
    assert not any(_alive(pid) for pid in pids)
    assert not _alive(rie._process.pid)

    def fail(rie: RIE) -> None:
        pids[:] = leave_behind(rie)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), RIE(BOOTSTRAP, env=ENV) as rie:
        fail(rie)
    assert not any(_alive(pid) for pid in pids)
    assert not _alive(rie._process.pid)


@pytest.mark.parametrize("ends", ["with the block", "by itself"])
def test_a_daemon_with_a_session_and_an_environment_of_its_own_is_gone_afterwards(tmp_path: Path, ends: str) -> None:
    file = tmp_path / "pid"
    daemon = f"trap '' TERM HUP; echo $$ >{file}.new; mv {file}.new {file}; sleep 600 & wait"
    with RIE(BOOTSTRAP, env=ENV) as rie:
        rie.invoke({"spawn": ["sh", "-c", 'env -i setsid sh -c "$1" >/dev/null 2>&1 & exit', "-", daemon]})
        _until(file.exists, "the daemon starts")
        pid = int(file.read_text())
        _until(lambda: len(module._descendants(pid)) == 1, "it has a child")
        (child,) = module._descendants(pid)
        assert Path(f"/proc/{pid}/environ").read_bytes() == b""
        rie.invoke({"exit": 1})
        assert _alive(pid)
        assert _alive(child)
        if ends == "by itself":
            os.kill(rie._emulator, signal.SIGKILL)
            rie._process.wait()
            assert not _alive(pid)
    assert not _alive(pid)
    assert not _alive(child)


def test_one_that_runs_is_not_started_again() -> None:
    with RIE(BOOTSTRAP, env=ENV) as rie:
        pid = rie.invoke({}).json()["pid"]
        reaper = rie._process
        with rie as again:
            assert again is rie
            assert rie._process is reaper
            assert rie.invoke({}).json()["pid"] == pid
        assert not _alive(pid)
    assert not _alive(reaper.pid)


def test_an_emulator_that_does_not_end_is_killed() -> None:
    with RIE(BOOTSTRAP, env=ENV) as rie:
        pid = rie.invoke({}).json()["pid"]
        os.kill(rie._emulator, signal.SIGSTOP)
    assert not _alive(rie._emulator)
    assert not _alive(pid)


def test_the_function_has_the_environment_that_was_given(tmp_path: Path) -> None:
    given = {"PATH": PATH, "LC_ALL": "", "LC_CTYPE": "C", "LANG": "C", "NAME": "é=b\nc", "SAMOVAR_EMPTY": ""}
    show = tmp_path / "show"
    show.write_text(f"#!/bin/sh\ncat /proc/self/environ >{tmp_path}/environ\n")
    show.chmod(0o755)
    with RIE([str(show)], env=given) as rie:
        rie.invoke({})
        seen = dict(item.split("=", 1) for item in (tmp_path / "environ").read_text().split("\0") if item)
    assert {name: seen.get(name) for name in given} == given
    assert not [name for name in seen if name.startswith(("SAMOVAR_RIE", "PYTHON")) and name not in os.environ]


def test_a_stopped_runtime_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator is stopped too, since it would kill the runtime first."""
    monkeypatch.setattr(module, "_STOP_LIMIT", 1)
    with RIE(BOOTSTRAP, env=ENV) as rie:
        pids = [rie._emulator, rie.invoke({}).json()["pid"]]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    assert not any(_alive(pid) for pid in pids)


def test_the_log_stays_readable_and_an_invocation_afterwards_is_refused() -> None:
    with RIE(BOOTSTRAP, env=ENV) as rie:
        rie.invoke({"print": "no newline"})
    assert rie.log().lines == ["no newline"]
    assert len(rie.log().reports) == 1
    with pytest.raises(RIEError, match="is not running"):
        rie.invoke({})


def test_much_output_holds_nothing_up() -> None:
    text = "z" * 1_000_000
    with RIE(BOOTSTRAP, env=ENV) as rie:
        for _ in range(3):
            assert rie.invoke({"print": text}).status == 200
        assert rie.log().lines == [text] * 3


def test_another_port_is_taken_when_one_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    free_ports = module._free_ports
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        offers = [[port, free_ports(1)[0]], [free_ports(1)[0], port], free_ports(2)]
        monkeypatch.setattr(module, "_free_ports", lambda count: offers.pop(0) if offers else free_ports(count))
        with RIE(BOOTSTRAP, env=ENV) as rie:
            assert rie.invoke({}).json()["count"] == 1
            assert offers == []
            assert f":{port}" not in rie.emulator_log()


def test_an_emulator_that_dies_shows_its_last_output() -> None:
    with RIE(BOOTSTRAP, env=ENV) as rie:
        rie.invoke({})
        os.kill(rie._emulator, signal.SIGKILL)
        rie._process.wait()
        with pytest.raises(RIEError, match=r"(?s)is not running \(exit status -9\).*INVOKE RTDONE"):
            rie.invoke({})


def test_an_emulator_that_does_not_start_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "aws-lambda-rie"
    broken.write_text("#!/bin/sh\necho this is not it >&2\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setenv("SAMOVAR_RIE", str(broken))
    with pytest.raises(RIEError, match=r"(?s)ended at its start \(exit status 7\).*this is not it"), RIE(BOOTSTRAP):
        pass


def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(RIEError, match=r"no executable '\./no-such-program'"), RIE(["./no-such-program"]):
        pass
    with pytest.raises(RIEError, match="must be a list of a program and its arguments, not 'bootstrap'"):
        RIE("bootstrap")


def test_the_emulator_is_found_where_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = module.find()
    monkeypatch.setenv("SAMOVAR_RIE", real)
    assert module.find() == real
    monkeypatch.setenv("SAMOVAR_RIE", str(tmp_path))
    with pytest.raises(RIEError, match=r"SAMOVAR_RIE is .* not an executable file"):
        module.find()
    monkeypatch.delenv("SAMOVAR_RIE")
    (tmp_path / "aws-lambda-rie").symlink_to(real)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert module.find() == str(tmp_path / "aws-lambda-rie")


def test_the_emulator_that_cannot_be_had_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SAMOVAR_RIE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(RIEError, match=r"(?s)pip could not download aws-sam-cli.*SAMOVAR_RIE"):
        module.find()
    monkeypatch.setattr(module.platform, "machine", lambda: "riscv64")
    with pytest.raises(RIEError, match="no Runtime Interface Emulator for Linux riscv64"):
        module.find()


def test_a_wheel_with_another_hash_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "aws_sam_cli-1.170.0-py3-none-any.whl").write_bytes(b"something else")
    monkeypatch.delenv("SAMOVAR_RIE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    with pytest.raises(RIEError, match=r"(?is)hash"):
        module.find()
    assert list((tmp_path / "cache").rglob("aws-lambda-rie")) == []


def test_fetching_by_command_prints_the_path() -> None:
    done = subprocess.run([sys.executable, "-m", "samovar.local.rie"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{module.find()}\n"


LOOKS_FAILED = {"errorType": "LookupError", "errorMessage": "no such tea", "stackTrace": [], "requestId": "1"}


@pytest.mark.parametrize("client", ["bootstrap", "awslambdaric"])
def test_a_failed_invocation_is_told_from_a_result_of_the_same_form(client: str) -> None:
    command = BOOTSTRAP if client == "bootstrap" else [sys.executable, "-m", "awslambdaric", ENV["_HANDLER"]]
    with RIE(command, env=ENV, cwd=FUNCTIONS) as rie:
        returned = rie.invoke({"return": LOOKS_FAILED})
        raised = rie.invoke({"raise": "no such tea"})
        again = rie.invoke({"return": LOOKS_FAILED})
        ids = [report.request_id for report in rie.log().reports]
    for result in (returned, again):
        assert result.error is None
        assert result.json() == LOOKS_FAILED
    assert raised.status == 200
    assert (raised.error.error_type, raised.error.error_message) == ("LookupError", "no such tea")
    assert raised.error.request_id == ids[1]
    assert json.loads(raised.body)["stackTrace"] == raised.error.stack_trace


def test_json_of_a_failed_invocation_raises_it_with_the_functions_traceback() -> None:
    with RIE(BOOTSTRAP, env=ENV) as rie:
        failed = rie.invoke({"raise": "no such tea"})
    for _ in range(2):
        with pytest.raises(FunctionError) as caught:
            failed.json()
        assert caught.value is failed.error
        message, empty, title, file, line = str(caught.value).split("\n")
        assert (message, empty) == ("LookupError: no such tea", "")
        assert title == "Traceback of the function (most recent call last):"
        assert file.startswith(f'  File "{FUNCTIONS}/stateful.py", line ')
        assert line == "    raise LookupError(message)"
    copy = pickle.loads(pickle.dumps(failed.error))  # as pytest-xdist sends it
    assert str(copy) == str(failed.error)


RUNTIME = """
import os, urllib.request
api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation/"
while True:
    with urllib.request.urlopen(api + "next") as event:
        kind, _, body = event.read().partition(b" ")
        url = api + event.headers["Lambda-Runtime-Aws-Request-Id"] + "/" + kind.decode()
    urllib.request.urlopen(urllib.request.Request(url, body)).close()
"""


def test_any_runtimes_errors_are_told() -> None:
    with RIE([sys.executable, "-c", RUNTIME]) as rie:
        odd = rie.invoke(b"error oops")
        go = rie.invoke(b'error {"errorType":"E","errorMessage":"","stackTrace":[{"path":"main.go","line":7}]}')
        text = rie.invoke(b"response oops")
        ids = [report.request_id for report in rie.log().reports]
    assert (odd.error.error_type, odd.error.error_message, odd.error.request_id) == ("Unhandled", "oops", ids[0])
    assert (go.error.stack_trace, go.error.request_id) == (['{"path": "main.go", "line": 7}'], ids[1])
    assert str(go.error).startswith("E\n\nTraceback of the function")
    assert text.error is None
    with pytest.raises(RIEError, match=r"the body \(status 200\) is not JSON: b'oops'"):
        text.json()


def test_a_traceback_is_lines_where_people_read_it_and_one_record_where_lambda_does() -> None:
    with RIE(BOOTSTRAP, env=ENV) as rie:
        rie.invoke({"raise": "no such tea"})
        lines = rie.log().lines
        assert lines[:2] == ["[ERROR] LookupError: no such tea", "Traceback (most recent call last):"]
        assert lines[-1] == "    raise LookupError(message)"
        assert "\n".join(lines) in rie.output()
        assert "\r" not in rie.output()
        assert b"no such tea\rTraceback" in rie.written()[0]
    assert "\n".join(lines) in rie.output()


def test_the_emulators_own_log_is_apart_and_without_the_debug_lines() -> None:
    with RIE(BOOTSTRAP, env=ENV) as rie:
        rie.invoke({"print": "mine\n"})
        log = rie.log()
        written = rie.written()
        assert rie.position() == (len(written[0]), len(written[1]))
        assert rie.written(*rie.position()) == (b"", b"")
    start, mine, end, report = rie.output().splitlines()
    assert mine == "mine"
    assert [line.split()[0] for line in (start, end, report)] == ["START", "END", "REPORT"]
    assert "(rapid) INVOKE RTDONE(status: success" in rie.emulator_log()
    assert "[DEBUG]" not in rie.emulator_log()
    assert b"[DEBUG]" in rie.written()[1]
    assert log == rie.log()
    assert rie.written(*rie.position()) == (b"", b"")


def test_one_line_runs_a_function(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import os\ndef handler(event, context): return [event, os.environ['X']]\n")
    with RIE.for_handler("app.handler", task_root=tmp_path, env={"X": "1"}, timeout=30, memory=256) as rie:
        assert repr(rie) == f"<RIE app.handler in {tmp_path}>"
        assert rie.running
        assert rie.invoke("hello").json() == ["hello", "1"]
        assert rie.log().reports[0].memory_mb == 256
    assert not rie.running


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"handler": 5}, 'handler must be a string such as "app.handler", not 5'),
        ({"handler": ""}, "handler must be a string such as \"app.handler\", not ''"),
        ({"task_root": "nowhere"}, "task_root='nowhere': there is no folder "),
        ({"task_root": None}, "task_root must be a path, not None"),
        ({"timeout": "3"}, "timeout must be a whole number of seconds, 1 or more, not '3'"),
        ({"timeout": 0}, "timeout must be a whole number of seconds, 1 or more, not 0"),
        ({"timeout": 2.5}, "timeout must be a whole number of seconds, 1 or more, not 2.5"),
        ({"memory": True}, "memory must be a whole number of MB, 1 or more, not True"),
        ({"env": {"N": 1}}, "env must be a dict of strings, not {'N': 1}"),
        ({"env": [1]}, "env must be a dict of strings, not [1]"),
        ({"command": "bootstrap"}, "command must be a list of a program and its arguments, not 'bootstrap'"),
        ({"command": ["main", 1]}, "command must be a list of a program and its arguments, not ['main', 1]"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named_with_what_it_has_to_be(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(RIEError) as caught:
        RIE.for_handler(**{"handler": "app.handler", **arguments})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_public_names_are_imported_when_first_used() -> None:
    code = (
        "import sys, samovar.local as local\n"
        "assert 'samovar.local.rie' not in sys.modules\n"
        "assert set(local.__all__) <= set(dir(local))\n"
        "assert [getattr(local, name).__name__ for name in local.__all__] == local.__all__\n"
        "assert 'urllib3' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match=r"module 'samovar\.local' has no attribute 'Rie'"):
        samovar.local.Rie  # noqa: B018
