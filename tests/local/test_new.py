"""`samovar new`, as a user calls it, and the project that it makes. tests/container/test_new_project.py deploys one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from samovar.local import new

SAMOVAR = str(Path(sys.executable).with_name("samovar"))


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with the programs of this environment first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTEST"))}
    return subprocess.run(command, cwd=folder, env={**environment, "PATH": path}, capture_output=True, text=True)


def _new(folder: str, where: Path) -> subprocess.CompletedProcess[str]:
    return _run([SAMOVAR, "new", folder], where)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new project in a folder that has spaces and a dash in its name."""
    done = _new("my new-function", tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path / "my new-function"


@pytest.mark.real
def test_its_tests_pass(project: Path) -> None:
    done = _run(["make", "test"], project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.mark.parametrize(
    "check",
    [
        "mypy --strict src/app.py",
        "ruff check --isolated --select E,F,I,B,UP",
        "ruff format --isolated --check",
    ],
)
def test_its_code_passes_what_its_owner_may_run(project: Path, check: str) -> None:
    done = _run([sys.executable, "-m", *check.split()], project)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_next_step_is_a_target_of_its_makefile(tmp_path: Path) -> None:
    done = _new("hello", tmp_path)
    assert done.stdout == ""
    assert "  cd hello\n" in done.stderr
    steps = re.findall(r"^  make (\w+) ", done.stderr, re.MULTILINE)
    targets = re.findall(r"^(\w+):", (tmp_path / "hello" / "Makefile").read_text(), re.MULTILINE)
    assert {"run", "test", "deploy"} <= set(steps) <= set(targets)


def test_every_name_in_the_template_is_filled_in(project: Path) -> None:
    files = [path for path in project.rglob("*") if path.is_file()]
    assert {"app.py", "test_app.py", "template.yaml", "Dockerfile", ".gitignore"} <= {path.name for path in files}
    assert [path for path in files if "{{" in path.read_text()] == []
    assert (project / "README.md").read_text().startswith("# my new-function\n")
    assert len((project / "README.md").read_text().splitlines()) <= 10


def test_the_current_folder_may_be_named_and_hold_git_and_a_virtual_environment(tmp_path: Path) -> None:
    for name in (".git", ".venv"):
        (tmp_path / name).mkdir()
    done = _new(".", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cd " not in done.stderr
    assert (tmp_path / "README.md").read_text().startswith(f"# {tmp_path.name}\n")


def test_a_folder_that_is_not_empty_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("mine")
    done = _new(".", tmp_path)
    assert done.returncode == 2
    assert done.stderr == "samovar new: . is not empty (app.py is there): name a new or an empty folder\n"
    assert [path.name for path in tmp_path.iterdir()] == ["app.py"]


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("file", "file is a file: name a new or an empty folder"),
        ("file/under", "cannot write file/under: Not a directory"),
    ],
)
def test_what_cannot_be_a_folder_is_one_line(tmp_path: Path, folder: str, said: str) -> None:
    (tmp_path / "file").touch()
    done = _new(folder, tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr == f"samovar new: {said}\n"


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("hello", "hello"),
        ("My new_function 2", "my-new-function-2"),
        ("-9 lives-", "function-9-lives"),
        ("функция", "function"),
        ("x" * 255, "x" * 100),
    ],
)
def test_any_folder_gives_a_name_that_a_stack_and_an_image_may_have(title: str, slug: str) -> None:
    names = new._names(title)
    assert (names["title"], names["slug"]) == (title, slug)
    assert re.fullmatch(r"[a-z][a-z0-9-]*", slug)


def test_a_python_that_lambda_does_not_have_yet_gives_the_newest_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert new._names("x")["python"] == "{}.{}".format(*sys.version_info)
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    assert new._names("x")["python"] == "{}.{}".format(*new.NEWEST)
