"""Standard output and error reach the log at once and whole."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from samovar.streams import UnbufferedFile, unbuffered

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("data", [b"", b"line\n", b"x" * 1_000_000])
def test_a_write_is_complete_where_the_descriptor_takes_only_a_part(data: bytes) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    got: list[bytes] = []

    def read() -> None:
        with open(reading, "rb") as pipe:
            got.append(pipe.read())

    reader = threading.Thread(target=read)
    reader.start()
    with UnbufferedFile(writing, "wb") as file:
        assert file.write(data) == len(data)
    reader.join()
    assert got == [data]


def test_a_stream_keeps_its_name_encoding_and_errors_and_has_no_buffer() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb", 0) as pipe, open(writing, "w", encoding="latin-1", errors="replace") as stream:
        text = unbuffered(stream)
        text.write("caf\xe9 \u2603")
        assert pipe.read(100) == b"caf\xe9 ?"
        assert (text.name, text.encoding, text.errors, text.mode) == (writing, "latin-1", "replace", "w")
        assert text.fileno() == writing


def test_a_closed_stream_stays_none() -> None:
    assert unbuffered(None) is None


@pytest.mark.parametrize("command", [[str(ROOT / "bootstrap")], [sys.executable, "-m", "samovar"]])
def test_a_child_that_made_the_output_non_blocking_costs_no_log(tmp_path: Path, command: list[str]) -> None:
    """Node does so, and what a parent shares with it stays so."""
    (tmp_path / "app.py").write_text(
        "import os, sys\n\ndef handler(event, context): ...\n\nfor fd, stream in (1, sys.stdout), (2, sys.stderr):\n"
        "    os.set_blocking(fd, False)\n    print('x' * 1_000_000, file=stream)\n"
    )
    done = subprocess.run(
        command,
        env={
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin:/bin",
            "_HANDLER": "app.handler",
            "LAMBDA_TASK_ROOT": str(tmp_path),
            "AWS_LAMBDA_RUNTIME_API": "[::1]:1",
        },
        capture_output=True,
    )
    assert done.stdout == b"x" * 1_000_000 + b"\n"
    assert done.stderr.startswith(b"x" * 1_000_000 + b"\nsamovar: GET")


def test_output_that_is_closed_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import sys\n\ndef handler(event, context): ...\n\nsys.exit(7 if sys.stdout is None else 8)\n"
    )
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin:/bin",
        "_HANDLER": "app.handler",
        "LAMBDA_TASK_ROOT": str(tmp_path),
        "AWS_LAMBDA_RUNTIME_API": "[::1]:1",
    }
    assert subprocess.run(["sh", "-c", f"exec '{ROOT}/bootstrap' >&-"], env=env).returncode == 7
