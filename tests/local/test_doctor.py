"""`samovar doctor`: real imports in fresh interpreters, and its report on them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from samovar.local import cli, doctor


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """Create a function whose import is slow in two places: a module of its own, and a package installed beside it."""
    root = tmp_path / "task"
    (root / "vendored").mkdir(parents=True)
    (root / "vendored-1.0.dist-info").mkdir()
    (root / "app.py").write_text("import helper\nimport vendored\n\ndef handler(event, context):\n    return event\n")
    (root / "helper.py").write_text(_BURN + "import string\nburn(0.03)\n")
    (root / "vendored" / "__init__.py").write_text("from vendored import deep\n")
    (root / "vendored" / "deep.py").write_text(_BURN + "burn(0.06)\n")
    return root


# Processor time, so that the function's own share is what it is on a busy machine too.
_BURN = """
from time import process_time
def burn(seconds):
    end = process_time() + seconds
    while process_time() < end:
        pass
"""


def _doctor(task: Path, name: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = cli.main(["doctor", name, "--task-root", str(task)])
    return status, *capsys.readouterr()


def test_the_tree_and_the_advice(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = _doctor(task, "app.handler", capsys)
    assert status == 0
    assert err in ("", "importing app.handler 3 times …\n")  # which is said after a second
    text = " ".join(out.split())
    assert re.search(r"INIT of app\.handler takes \d+ ms here \(.* Samovar, \d+ ms for the handler's import", text)
    tree = re.findall(r"^ +([\d.]+) +([\d.]+)  ( *)(\S+)$", out, re.MULTILINE)
    depth = {name: len(indent) // 2 for _, _, indent, name in tree}
    total = {name: float(all_of_it) for all_of_it, _, _, name in tree}
    own = {name: float(part) for _, part, _, name in tree}
    assert depth["app"] == 0
    assert depth["helper"] == depth["vendored"] == 1
    assert depth["vendored.deep"] == 2
    assert own["vendored.deep"] >= 60
    assert own["helper"] >= 30
    assert total["app"] >= total["vendored"] + total["helper"]
    assert total["vendored"] >= total["vendored.deep"]
    assert own["app"] < total["vendored"]
    assert re.search(
        r"^vendored: \d+ ms, \d+% of the handler.s import, imported by app\n  → .*inside the function",
        out,
        re.MULTILINE,
    )
    assert re.search(r"^helper: \d+ ms in its own module-level code\n  → ", out, re.MULTILINE)
    assert [line for line in out.splitlines() if len(line) > 80 and str(task) not in line] == []


def test_bytecode_that_will_be_missing_on_lambda(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(task.rglob("*"))
    _, out, _ = _doctor(task, "app.handler", capsys)
    assert f"4 modules under {task} will be compiled at every cold start" in " ".join(out.split())
    assert "4 missing: " in out
    assert f"→ samovar compile {task}" in out
    assert sorted(task.rglob("*")) == before, "the doctor has changed the folder"

    assert cli.main(["compile", str(task)]) == 0
    _, out, _ = _doctor(task, "app.handler", capsys)
    assert "Bytecode: every module has valid bytecode, and a zip keeps it valid." in out


def test_bytecode_is_looked_for_where_lambda_looks(task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["compile", str(task)]) == 0
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "elsewhere"))
    command = [sys.executable, "-m", "samovar.local.cli", "doctor", "app.handler", "--task-root", str(task)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Bytecode: every module has valid bytecode, and a zip keeps it valid." in out


def test_the_states_of_bytecode(task: Path) -> None:
    import py_compile

    source = task / "helper.py"
    assert doctor.bytecode_state(source, task) == "missing"
    cached = Path(py_compile.compile(str(source), doraise=True))  # type: ignore[arg-type]
    assert doctor.bytecode_state(source, task) == "valid by file time only"
    assert doctor.bytecode_state(source, task / "elsewhere") == ""
    os.utime(source, (1_000_000_000, 1_000_000_000))
    assert doctor.bytecode_state(source, task) == "older than its source"
    for mode in (py_compile.PycInvalidationMode.CHECKED_HASH, py_compile.PycInvalidationMode.UNCHECKED_HASH):
        py_compile.compile(str(source), doraise=True, invalidation_mode=mode)
        assert doctor.bytecode_state(source, task) == ""
    py_compile.compile(str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    source.write_text("changed = True\n")
    assert doctor.bytecode_state(source, task) == "older than its source"
    cached.write_bytes(b"\0\0\r\n" + cached.read_bytes()[4:])
    assert doctor.bytecode_state(source, task) == "made by another Python"


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("nothing.handler", "", ["Runtime.ImportModuleError: Unable to import module 'nothing'", "--task-root"]),
        ("app", "def handler(e, c): ...", ["Runtime.MalformedHandlerName: Bad handler 'app'", "write MODULE.FUNCTION"]),
        (
            "app.other",
            "def handler(e, c): ...",
            ["Runtime.HandlerNotFound: Handler 'other'", "the module has: handler"],
        ),
        ("app.handler", "import no_such_module", ["Runtime.ImportModuleError", 'app.py", line 1', "no_such_module"]),
        ("app.handler", "def handler(:", ["Runtime.UserCodeSyntaxError", 'app.py", line 1', "^"]),
        ("app.handler", "x = {}\nx['key']", ["KeyError: 'key'", 'app.py", line 2', "x['key']"]),
        ("app.handler", "import sys\nsys.exit(3)", ["SystemExit: 3", 'app.py", line 2']),
        ("app.handler", "import os\nos.abort()", ["the interpreter ended with -6 while app.handler was imported"]),
        ("app.handler", "print('hello')\nimport os\nos._exit(0)", ["the interpreter ended with 0"]),
    ],
)
def test_failures_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, source: str, says: list[str]
) -> None:
    (tmp_path / "app.py").write_text(source)
    status, out, err = _doctor(tmp_path, name, capsys)
    assert (status, out) == (1, "")
    for text in says:
        assert text in err
    assert "samovar/handler/" not in err


def test_main_is_a_script_as_under_bootstrap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app.py").write_text(
        "import __main__, sys\nassert open(__main__.__file__).read()\nassert sys.argv == [__main__.__file__]\n"
        "def handler(e, c): ...\n"
    )
    assert _doctor(tmp_path, "app.handler", capsys)[0] == 0


def test_what_a_function_writes_does_not_disturb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app.py").write_text(
        "import sys\nsys.stderr.write('no line end')\nprint('import time: 1 | 2 | lies')\nimport wave\n"
        "def handler(event, context): ...\n"
    )
    status, out, _ = _doctor(tmp_path, "app.handler", capsys)
    assert status == 0
    assert " wave\n" in out
    assert "lies" not in out


def test_wrong_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _doctor(tmp_path / "nowhere", "app.handler", capsys)[0] == 2
    status, _, err = _doctor(tmp_path, "exec:./program", capsys)
    assert (status, err) == (2, "samovar doctor: an exec: handler imports no Python, so there is nothing to examine\n")


def test_parse_builds_the_tree_from_what_the_interpreter_writes() -> None:
    log = """import time: self [us] | cumulative | imported package
import time:       100 |        100 | site
import time: 0 | 0 | samovar.doctor.begins
import time:        10 |         10 |       c
import time:        20 |         30 |     b
import time:         5 |          5 |     d
import time:      1000 |       1035 |   a
noise import time:  7 |          7 |   e
import time:         1 |       1043 | app
import time:         9 |          9 | second
import time: 0 | 0 | samovar.doctor.ends
import time:       500 |        500 | json
"""
    app, second = doctor.parse(log)
    assert (app.name, app.total, app.own, second.name) == ("app", 1.043, 0.001, "second")
    assert [child.name for child in app.children] == ["a", "e"]
    assert [child.name for child in app.children[0].children] == ["b", "d"]
    assert [node.name for node in app.walk()] == ["app", "a", "b", "c", "d", "e"]


@pytest.mark.skipif(not hasattr(sys, "set_lazy_imports"), reason="lazy imports came with Python 3.15")
def test_lazy_imports_are_measured_where_there_are_any(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = _doctor(task, "app.handler", capsys)
    assert re.search(r"SAMOVAR_LAZY_IMPORTS=all: the handler's import takes \d+ ms instead of \d+", out)
