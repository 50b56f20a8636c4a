"""`samovar compile`: bytecode that is still valid after a zip."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from samovar.local import cli
from samovar.local.compile import up_to_date


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Create a deployment folder: a module, a package, and files that are not sources."""
    task = tmp_path / "task"
    (task / "package" / "inner").mkdir(parents=True)
    (task / "app.py").write_text(
        "from package.inner import there\n\ndef handler(event, context):\n    return there.value\n"
    )
    (task / "package" / "__init__.py").write_text("")
    (task / "package" / "inner" / "__init__.py").write_text("")
    (task / "package" / "inner" / "there.py").write_text("value = 42\n")
    (task / "notes.txt").write_text("no source")
    (task / ".hidden").mkdir()
    (task / ".hidden" / "tool.py").write_text("this is not Python")
    return task


_IMPORT = """
import sys
compiled = []
sys.addaudithook(lambda name, about: compiled.append(about[1]) if name == "compile" else None)
sys.path.insert(0, ".")
import app
print(app.handler({}, None), *[name for name in compiled if str(name).endswith(".py")])
"""


def _compiled_at_import(task: Path) -> list[str]:
    """Return the files that an interpreter compiles when it imports the handler from a read-only folder."""
    command = [sys.executable, "-B", "-S", "-c", _IMPORT]
    process = subprocess.run(command, cwd=task, capture_output=True, text=True, check=True)
    value, *compiled = process.stdout.split()
    assert value == "42"
    return [str(Path(name).relative_to(task)) for name in compiled]


def test_counts_and_leaves_what_is_up_to_date(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compile", str(folder)]) == 0
    assert capfd.readouterr().out.startswith("4 compiled, 0 up to date: ")
    assert not list(folder.glob(".hidden/**/*.pyc"))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pyc")}
    assert len(before) == 4

    assert cli.main(["compile", str(folder)]) == 0
    assert capfd.readouterr().out.startswith("0 compiled, 4 up to date: ")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.pyc")} == before

    (folder / "app.py").write_text("def handler(event, context):\n    return 43\n")
    assert cli.main(["compile", str(folder)]) == 0
    assert capfd.readouterr().out.startswith("1 compiled, 3 up to date: ")


@pytest.mark.parametrize("by_name", [False, True])
def test_settings_of_the_interpreter_do_not_show(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], by_name: bool
) -> None:
    (folder / "sets.py").write_text("def f(x):\n    assert x\n    return x in {'a', 'b', 'c', 'd', 'e', 'f'}\n")
    (folder / "warns.py").write_text("def f(x):\n    return x is 'a'\n")
    command = ["compile", str(folder), *(["--python", sys.executable] if by_name else [])]

    def compiled() -> dict[str, bytes]:
        found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.pyc")}
        for path in found:
            (folder / path).unlink()
        return found

    assert cli.main(command) == 0
    plain = compiled()
    assert len(plain) == 6
    settings = {
        "PYTHONOPTIMIZE": "2",
        "PYTHONNODEBUGRANGES": "1",
        "PYTHONPYCACHEPREFIX": str(tmp_path / "elsewhere"),
        "PYTHONHASHSEED": "7",
        "PYTHONWARNINGS": "error",
        "SOURCE_DATE_EPOCH": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-m", "samovar.local.cli", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert compiled() == plain
    assert not list((tmp_path / "elsewhere").rglob("task/**/*.pyc"))


def test_the_lock_of_an_editor_is_no_source(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / ".#app.py").symlink_to("somebody@host.1:2")
    assert cli.main(["compile", str(folder)]) == 0
    assert capfd.readouterr().out.startswith("4 compiled, 0 up to date: ")


def test_bytecode_survives_a_zip_that_changes_times(folder: Path, tmp_path: Path) -> None:
    assert cli.main(["compile", str(folder)]) == 0
    archive = tmp_path / "function.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = str(path.relative_to(folder))
                file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), path.read_bytes())
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(archive) as file:
        file.extractall(unpacked)
    for path in unpacked.rglob("*.py"):
        os.utime(path, (time.time() - 12345, time.time() - 12345))

    assert _compiled_at_import(unpacked) == []


def test_bytecode_by_time_would_not_survive(folder: Path) -> None:
    """The premise, checked with this interpreter: what pip and compileall write by default is stale after a zip."""
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", folder], check=True, cwd=folder, stdout=subprocess.DEVNULL
    )
    os.utime(folder / "app.py", (1_000_000_000, 1_000_000_000))
    assert _compiled_at_import(folder) == ["app.py"]


def test_a_changed_source_is_not_served_from_old_bytecode(folder: Path) -> None:
    assert cli.main(["compile", str(folder)]) == 0
    (folder / "package" / "inner" / "there.py").write_text("value = 41 + 1  # changed\n")
    assert _compiled_at_import(folder) == ["package/inner/there.py"]


def test_tracebacks_show_where_the_file_will_be(folder: Path) -> None:
    assert cli.main(["compile", str(folder)]) == 0
    cached = Path(importlib.util.cache_from_source(str(folder / "package" / "inner" / "there.py")))
    assert b"/var/task/package/inner/there.py" in cached.read_bytes()
    assert str(folder).encode() not in cached.read_bytes()


def test_syntax_errors_are_named_by_file_and_line(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.py").write_text("value = 1\ndef handler(:\n")
    (folder / "binary.py").write_bytes(b"value = '\xff'\n")
    assert cli.main(["compile", str(folder)]) == 1
    out, err = capfd.readouterr()
    assert f"{folder / 'broken.py'}:2: SyntaxError: invalid syntax\n" in err
    assert f"{folder / 'binary.py'}" in err
    assert out.startswith("4 compiled, 0 up to date, 2 failed: ")


def test_what_is_no_deployment_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compile", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capfd.readouterr().err
    assert cli.main(["compile", str(tmp_path)]) == 2
    assert f"no .py file in {tmp_path}" in capfd.readouterr().err


def _another_python() -> str | None:
    """Return an interpreter of another version, if there is one that runs."""
    for minor in range(11, 16):
        name = f"python3.{minor}"
        if minor != sys.version_info[1] and shutil.which(name):
            answer = subprocess.run([name, "-c", "print(6 * 7)"], capture_output=True, check=False)
            if answer.stdout == b"42\n":
                return name
    return None


def test_another_interpreter_makes_its_own(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = _another_python()
    assert cli.main(["compile", str(folder), "--python", other or sys.executable]) == 0
    assert capfd.readouterr().out.startswith("4 compiled, ")
    assert up_to_date(folder / "app.py") is (other is None)


def test_an_interpreter_that_is_not_there(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compile", str(folder), "--python", str(folder / "no-python")]) == 2
    assert f"cannot run {folder / 'no-python'}: No such file" in capfd.readouterr().err
