"""`bootstrap` wherever it may lie, and what it says when something is missing."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samovar.local.layer import cold
from samovar.local.testing.scripted_api import Answer, ScriptedRuntimeApi, invocation

ROOT = Path(__file__).parents[1]


def start(program: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    """Exit code and standard error, with nothing in the environment but a PATH with this Python and the variables."""
    env = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin:/bin", **variables}
    done = subprocess.run([program, *arguments], env=env, cwd=program.parent, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("package", ["samovar/lib/samovar", "runtime/samovar", "samovar"])
def test_the_package_is_found_in_a_layer_a_checkout_and_beside_the_function(tmp_path: Path, package: str) -> None:
    shutil.copytree(ROOT / "runtime" / "samovar", tmp_path / package)
    shutil.copy(ROOT / "bootstrap", tmp_path)
    (tmp_path / "app.py").write_text(
        "import sys, samovar\n\ndef handler(event, context): ...\n\nprint(samovar.__path__[0], file=sys.stderr)\n"
    )
    code, said = start(
        tmp_path / "bootstrap", _HANDLER="app.handler", LAMBDA_TASK_ROOT=str(tmp_path), AWS_LAMBDA_RUNTIME_API="[::1]:1"
    )
    found, *rest = said.splitlines()
    assert found == str(tmp_path / package)
    assert len(rest) == 1
    assert rest[0].startswith("samovar: GET /2018-06-01/runtime/invocation/next: cannot connect to [::1]:1")
    assert code == 1


@pytest.mark.parametrize("made_by", ["this Python", "another"])
def test_the_cold_path_in_one_file_is_used_where_it_fits(tmp_path: Path, made_by: str) -> None:
    package = tmp_path / "samovar" / "lib" / "samovar"
    shutil.copytree(ROOT / "runtime" / "samovar", package)
    shutil.copy(ROOT / "bootstrap", tmp_path)
    one_file = cold.build(package.parent)
    if made_by == "another":
        one_file.write_bytes(b"\0\0\r\n" + one_file.read_bytes()[4:])
    for source in package.rglob("*.py"):  # what is in the file is not read from the sources
        name = ".".join(source.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        if made_by == "this Python" and name in cold.MODULES:
            source.write_text("raise ImportError\n")
    (tmp_path / "app.py").write_text("def handler(event, context): ...\n")
    own = {"_HANDLER": "app.handler", "LAMBDA_TASK_ROOT": str(tmp_path), "AWS_LAMBDA_RUNTIME_API": "[::1]:1"}
    code, said = start(tmp_path / "bootstrap", **own)
    assert code == 1
    assert said.startswith("samovar: GET /2018-06-01/runtime/invocation/next: cannot connect to [::1]:1")


@pytest.mark.parametrize("form", ["Text", "JSON"])
@pytest.mark.parametrize("made_by", ["this Python", "another", "another release of this one"])
def test_a_layer_for_another_python_says_so_in_one_warning(tmp_path: Path, made_by: str, form: str) -> None:
    package = tmp_path / "samovar" / "lib" / "samovar"
    shutil.copytree(ROOT / "runtime" / "samovar", package)
    shutil.copy(ROOT / "bootstrap", tmp_path)
    (tmp_path / "app.py").write_text("def handler(event, context): ...\n")
    one_file, runs, built = cold.build(package.parent), "{}.{}".format(*sys.version_info), "Python 3.99"
    if made_by == "another":
        one_file.rename(package / "cold.cpython-399.bin")
    elif made_by == "another release of this one":
        built = f"another release of Python {runs}"
        one_file.write_bytes(b"\0\0\r\n" + one_file.read_bytes()[4:])
    with ScriptedRuntimeApi(invocation(b"1"), invocation(b"2"), Answer(status=500)) as api:
        env = {"PATH": os.defpath, "SAMOVAR_PYTHON": sys.executable, "AWS_LAMBDA_LOG_FORMAT": form}
        env |= {"_HANDLER": "app.handler", "LAMBDA_TASK_ROOT": str(tmp_path), "AWS_LAMBDA_RUNTIME_API": api.address}
        done = subprocess.run([tmp_path / "bootstrap"], env=env, capture_output=True, text=True)
        assert [request.body for request in api.posted()] == [b"null", b"null"]
    if made_by == "this Python":
        assert done.stdout == ""
        return
    (line,) = done.stdout.splitlines()
    assert f"Samovar's layer is for {built}, and this is Python {runs}: " in line
    assert f"`samovar layer --python {runs}` builds" in line
    if form == "JSON":
        record = json.loads(line)
        assert (record["level"], record["logger"]) == ("WARNING", "samovar")
    else:
        assert line.startswith("[WARNING]\t")


@pytest.mark.parametrize("variables", [{}, {"PYTHONSAFEPATH": "1"}], ids=["", "safe-path"])
def test_the_package_is_importable_by_its_own_name_only(tmp_path: Path, variables: dict[str, str]) -> None:
    (tmp_path / "app.py").write_text(
        "import samovar, sys\n\ndef handler(event, context): ...\n\ntry:\n    import wire\nexcept ImportError:\n"
        "    print(sys.path, file=sys.stderr)\n"
    )
    own = {"_HANDLER": "app.handler", "LAMBDA_TASK_ROOT": str(tmp_path), "AWS_LAMBDA_RUNTIME_API": "[::1]:1"}
    _, said = start(ROOT / "bootstrap", PYTHONPATH="/usr/share", **own, **variables)
    path = ast.literal_eval(said.splitlines()[0])
    assert "/usr/share" in path
    assert path[-1] == str(ROOT / "runtime")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "_HANDLER is not set"),
        ({"_HANDLER": "app.handler"}, "AWS_LAMBDA_RUNTIME_API is not set"),
        ({"_HANDLER": "a.b", "AWS_LAMBDA_RUNTIME_API": "nonsense:"}, "'nonsense:' is not an address: want host:port"),
        (
            {"_HANDLER": "a.b", "AWS_LAMBDA_RUNTIME_API": "h:1", "SAMOVAR_TRANSPORT": "carrier-pigeon"},
            "SAMOVAR_TRANSPORT='carrier-pigeon': want urllib3",
        ),
        ({"PATH": "/nowhere"}, "no Python found: set SAMOVAR_PYTHON"),
    ],
)
def test_what_is_missing_is_said_in_one_line(variables: dict[str, str], says: str) -> None:
    code, said = start(ROOT / "bootstrap", **variables)
    assert code == 1
    assert len(said.splitlines()) == 1
    assert said.startswith("samovar: ")
    assert says in said


@pytest.fixture
def wrapper(tmp_path: Path) -> Path:
    """Return a wrapper of the kind that AWS documents: it gives the interpreter another option."""
    path = tmp_path / "wrapper"
    path.write_text('#!/bin/sh\necho wrapped >&2\npython=$1\nshift\nexec "$python" -X importtime "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def opt(tmp_path: Path) -> Path:
    """Return a folder with both programs of the layer, and the package of this checkout."""
    folder = tmp_path / "opt"
    folder.mkdir()
    shutil.copy(ROOT / "bootstrap", folder)
    shutil.copy(ROOT / "runtime" / "samovar" / "local" / "layer" / "files" / "samovar-exec", folder)
    (folder / "runtime").symlink_to(ROOT / "runtime")
    return folder


def test_an_exec_wrapper_gets_the_interpreters_command_line(wrapper: Path) -> None:
    code, said = start(ROOT / "bootstrap", AWS_LAMBDA_EXEC_WRAPPER=str(wrapper))
    assert code == 1
    assert said.splitlines()[0] == "wrapped"
    assert "import time: " in said
    assert said.splitlines()[-1].startswith("samovar: _HANDLER is not set")


def test_an_exec_wrapper_runs_once_if_it_starts_bootstrap_again(wrapper: Path) -> None:
    wrapper.write_text(f"#!/bin/sh\necho wrapped >&2\nexec {ROOT / 'bootstrap'}\n")
    _, said = start(ROOT / "bootstrap", AWS_LAMBDA_EXEC_WRAPPER=str(wrapper))
    assert said.count("wrapped") == 1
    assert "samovar: _HANDLER is not set" in said


def test_an_exec_wrapper_that_starts_samovar_exec_runs_once(wrapper: Path, opt: Path) -> None:
    """As on a managed function: Lambda starts the wrapper, and that starts Samovar's."""
    wrapper.write_text(f'#!/bin/sh\necho wrapped >&2\nexec {opt / "samovar-exec"} "$@"\n')
    _, said = start(wrapper, sys.executable, "/var/runtime/bootstrap.py", AWS_LAMBDA_EXEC_WRAPPER=str(wrapper))
    assert said.count("wrapped") == 1
    assert "samovar: _HANDLER is not set" in said


def test_samovar_exec_as_the_wrapper_of_bootstrap_ends_in_samovar(opt: Path) -> None:
    _, said = start(opt / "bootstrap", AWS_LAMBDA_EXEC_WRAPPER=str(opt / "samovar-exec"))
    assert said.startswith("samovar: _HANDLER is not set")


@pytest.mark.parametrize(
    ("mode", "code", "says"),
    [
        (None, 127, "does not exist: see AWS_LAMBDA_EXEC_WRAPPER and SAMOVAR_EXEC_WRAPPER"),
        (0o644, 126, "is not executable: run chmod +x on it"),
    ],
)
@pytest.mark.parametrize("variable", ["AWS_LAMBDA_EXEC_WRAPPER", "SAMOVAR_EXEC_WRAPPER"])
def test_an_exec_wrapper_that_cannot_run_is_named(
    wrapper: Path, variable: str, mode: int | None, code: int, says: str
) -> None:
    if mode is None:
        wrapper.unlink()
    else:
        wrapper.chmod(mode)
    ended = start(ROOT / "bootstrap", **{variable: str(wrapper)})
    assert ended == (code, f"samovar: the exec wrapper {wrapper} {says}\n")


MANAGED = (sys.executable, "/var/runtime/bootstrap.py")


def agent(folder: Path, name: str) -> str:
    """Write an agent's wrapper, which says its name and the command that it starts. Return its path."""
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{name}: $*" >&2\nexec "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_the_wrapper_of_a_managed_function_is_run_by_samovar_exec(opt: Path, tmp_path: Path) -> None:
    code, said = start(
        opt / "samovar-exec",
        *MANAGED,
        AWS_LAMBDA_EXEC_WRAPPER=str(opt / "samovar-exec"),
        SAMOVAR_EXEC_WRAPPER=agent(tmp_path, "agent"),
    )
    first, last = said.splitlines()
    assert first == f"agent: {sys.executable} -S -u {opt}/runtime/samovar/bootstrap.py"
    assert last.startswith("samovar: _HANDLER is not set")
    assert code == 1


@pytest.mark.parametrize("wrapper", ["", "samovar-exec"], ids=["OS-only", "with the variable of a managed function"])
def test_bootstrap_runs_the_same_wrappers(opt: Path, tmp_path: Path, wrapper: str) -> None:
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": str(opt / wrapper)} if wrapper else {}
    _, said = start(opt / "bootstrap", SAMOVAR_EXEC_WRAPPER=agent(tmp_path, "agent"), **variables)
    first, last = said.splitlines()
    assert first.startswith("agent: ")
    assert first.endswith(f"/python3 -S -u {opt}/runtime/samovar/bootstrap.py")
    assert last.startswith("samovar: _HANDLER is not set")


def test_several_wrappers_run_in_the_order_of_the_variable_after_awss_own(opt: Path, tmp_path: Path) -> None:
    names = ["aws", "first", "second"]
    paths = [agent(tmp_path, name) for name in names]
    _, said = start(
        opt / "bootstrap", AWS_LAMBDA_EXEC_WRAPPER=paths[0], SAMOVAR_EXEC_WRAPPER=f"{paths[1]}::{paths[2]}:"
    )
    assert [line.partition(":")[0] for line in said.splitlines()] == [*names, "samovar"]


def test_a_wrapper_may_give_the_interpreter_options(wrapper: Path, opt: Path) -> None:
    _, said = start(opt / "samovar-exec", *MANAGED, SAMOVAR_EXEC_WRAPPER=str(wrapper))
    assert "import time: " in said


def test_a_wrapper_in_python_is_run_by_the_functions_interpreter(tmp_path: Path) -> None:
    """An OS-only function has it in the layer, off PATH."""
    (tmp_path / "bin").mkdir()
    for name in ("python", "python3"):
        (tmp_path / "bin" / name).symlink_to(sys.executable)
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(
        "#!/usr/bin/env python\nimport os, sys\n\nprint(sys.executable, file=sys.stderr)\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    wrapper.chmod(0o755)
    python = str(tmp_path / "bin" / "python3")
    _, said = start(ROOT / "bootstrap", PATH="/usr/bin:/bin", SAMOVAR_PYTHON=python, SAMOVAR_EXEC_WRAPPER=str(wrapper))
    assert said.splitlines()[0] == str(tmp_path / "bin" / "python")
    assert said.splitlines()[-1].startswith("samovar: _HANDLER is not set")


def test_samovar_exec_named_as_its_own_next_wrapper_runs_once(opt: Path) -> None:
    own = str(opt / "samovar-exec")
    _, said = start(opt / "samovar-exec", *MANAGED, AWS_LAMBDA_EXEC_WRAPPER=own, SAMOVAR_EXEC_WRAPPER=own)
    assert said.startswith("samovar: _HANDLER is not set")


def test_the_wrapper_before_samovar_exec_runs_once_and_before_the_others(opt: Path, tmp_path: Path) -> None:
    """Its own script may start samovar-exec; SAMOVAR_EXEC_WRAPPER names what comes after that."""
    first, second = agent(tmp_path, "first"), agent(tmp_path, "second")
    Path(first).write_text(f'#!/bin/sh\necho first: >&2\nexec {opt / "samovar-exec"} "$@"\n')
    _, said = start(Path(first), *MANAGED, AWS_LAMBDA_EXEC_WRAPPER=first, SAMOVAR_EXEC_WRAPPER=second)
    assert [line.partition(":")[0] for line in said.splitlines()] == ["first", "second", "samovar"]


def test_an_os_only_runtime_that_runs_samovar_exec_itself_ends_in_samovar(opt: Path) -> None:
    """None does so far. It would give its own command, as managed runtimes do."""
    own = opt / "samovar-exec"
    _, said = start(own, str(opt / "bootstrap"), AWS_LAMBDA_EXEC_WRAPPER=str(own))
    assert said.startswith("samovar: _HANDLER is not set")


def test_a_wrapper_in_the_wrong_order_is_told_the_right_one(opt: Path, tmp_path: Path) -> None:
    own, other = opt / "samovar-exec", agent(tmp_path, "agent")
    code, said = start(own, other, *MANAGED, AWS_LAMBDA_EXEC_WRAPPER="/var/task/both")
    assert code == 1
    assert said == (
        f"samovar-exec: {other} is not a Python interpreter. If it is another wrapper, set "
        f'SAMOVAR_EXEC_WRAPPER={other} and AWS_LAMBDA_EXEC_WRAPPER={own}, or start it first: exec {other} {own} "$@"\n'
    )
