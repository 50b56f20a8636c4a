"""sys.path as Lambda has it, in interpreters with and without what only `site` does."""

import json
import os
import subprocess
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

RUNTIME = Path(__file__).parents[1] / "runtime"
PROGRAM = """
import sys
place = sys.argv[1]
sys.path[0] = place
from samovar import syspath
syspath.arrange(place)
before = "site" in sys.modules
import json, os
print(json.dumps({"path": sys.path, "site": before, "prefix": sys.prefix, "exit": callable(exit),
    "help": callable(help), "ran": os.environ.get("RAN")}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing in it."""
    root = tmp_path_factory.mktemp("venv")
    venv.create(root, with_pip=False, symlinks=True)
    return root


def site_packages(environment: Path) -> Path:
    return Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))


def arranged(environment: Path, cwd: Path, **variables: str) -> dict[str, Any]:
    python = environment / "bin" / "python"
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd), **variables}
    done = subprocess.run(
        [python, "-S", "-c", PROGRAM, RUNTIME], env=env, cwd=cwd, capture_output=True, text=True, check=True
    )
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def test_a_plain_environment_needs_no_site(environment: Path, tmp_path: Path) -> None:
    task = tmp_path / "task"
    task.mkdir()
    seen = arranged(environment, tmp_path, LAMBDA_TASK_ROOT=str(task), LAMBDA_RUNTIME_DIR="/nowhere")
    assert not seen["site"]
    assert seen["path"][:2] == [str(task), str(tmp_path)]
    assert seen["path"][-2:] == [str(site_packages(environment)), str(RUNTIME)]
    assert "/nowhere" not in seen["path"]
    assert seen["prefix"] == str(environment)
    assert seen["exit"]
    assert seen["help"]


def test_the_stdlib_comes_after_the_function_and_before_site_packages(environment: Path, tmp_path: Path) -> None:
    path = arranged(environment, tmp_path)["path"]
    stdlib = path.index(sysconfig.get_path("stdlib"))
    assert path.index(str(tmp_path)) < stdlib < path.index(str(site_packages(environment)))


@pytest.mark.parametrize("name", ["extra.pth", "sitecustomize.py", "usercustomize.py"])
def test_what_only_site_does_is_done_by_site(environment: Path, tmp_path: Path, name: str) -> None:
    file = site_packages(environment) / name
    file.write_text("import os; os.environ['RAN'] = 'yes'\n")
    try:
        seen = arranged(environment, tmp_path)
    finally:
        file.unlink()
    assert seen["site"]
    assert str(site_packages(environment)) in seen["path"]
    # A virtual environment has no user site, hence no usercustomize.
    assert seen["ran"] == (None if name == "usercustomize.py" else "yes")


def test_pythonpath_alone_needs_no_site(environment: Path, tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    assert not arranged(environment, tmp_path, PYTHONPATH=str(runtime))["site"]
    (runtime / "sitecustomize.py").write_text("import os; os.environ['RAN'] = 'yes'\n")
    seen = arranged(environment, tmp_path, PYTHONPATH=str(runtime))
    assert (seen["site"], seen["ran"]) == (True, "yes")
    assert str(runtime) in seen["path"]


def test_site_gives_the_same_path(environment: Path, tmp_path: Path) -> None:
    plain = arranged(environment, tmp_path)["path"]
    file = site_packages(environment) / "empty.pth"
    file.write_text("")
    try:
        real = arranged(environment, tmp_path)["path"]
    finally:
        file.unlink()
    assert plain == real
