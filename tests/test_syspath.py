"""sys.path as Lambda has it, in interpreters with and without what only `site` does."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
import setuptools

RUNTIME = Path(__file__).parents[1] / "runtime"
PROGRAM = """
import sys
package_root = sys.argv[1]
sys.path[0] = package_root
import posix
from samovar import syspath
syspath.LAYERS = posix.environ.get(b"LAYERS", b"/nowhere").decode()
syspath.set_up_sys_path(package_root)
before = "site" in sys.modules
import json, os
print(json.dumps({"path": sys.path, "site": before, "prefix": sys.prefix, "exit": callable(exit),
    "help": callable(help), "ran": os.environ.get("RAN"), "pythonpath": os.environ.get("PYTHONPATH")}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing in it."""
    root = tmp_path_factory.mktemp("venv")
    venv.create(root, with_pip=False, symlinks=True)
    return root


def site_packages(environment: Path) -> Path:
    return Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))


def run(environment: Path, cwd: Path, program: str, **variables: str) -> str:
    python = environment / "bin" / "python"
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd), **variables}
    done = subprocess.run(
        [python, "-S", "-c", program, RUNTIME], env=env, cwd=cwd, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def arranged(environment: Path, cwd: Path, **variables: str) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(run(environment, cwd, PROGRAM, **variables))
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


def layers(folder: Path) -> tuple[Path, Path]:
    """Folders in the place of /opt/python and its site-packages."""
    installed = folder / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
    installed.mkdir(parents=True)
    return folder, installed


def test_where_there_is_a_managed_runtime_the_order_is_its_own(environment: Path, tmp_path: Path) -> None:
    layer, installed = layers(tmp_path / "layers")
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    seen = arranged(environment, tmp_path, LAYERS=str(layer), LAMBDA_RUNTIME_DIR=str(runtime))
    first = [tmp_path, installed, layer, site_packages(environment), runtime]
    assert seen["path"][:5] == [str(folder) for folder in first]
    assert sysconfig.get_path("stdlib") in seen["path"][5:]
    assert seen["pythonpath"] == str(runtime)
    assert not seen["site"]


def test_a_pythonpath_is_there_instead_of_layers_and_site_packages(environment: Path, tmp_path: Path) -> None:
    layer, _ = layers(tmp_path / "layers")
    (layer / "a.pth").write_text("import os; os.environ['RAN'] = 'yes'\n")
    variables = {"LAYERS": str(layer), "LAMBDA_RUNTIME_DIR": str(tmp_path), "PYTHONPATH": "/usr"}
    seen = arranged(environment, tmp_path, **variables)
    assert seen["path"][:2] == [str(tmp_path), "/usr"]
    assert seen["path"][-2:] == [str(site_packages(environment)), str(RUNTIME)]
    assert str(layer) not in seen["path"]
    assert seen["pythonpath"] == "/usr"
    assert seen["ran"] is None


def test_pth_files_of_function_and_layers_are_run(environment: Path, tmp_path: Path) -> None:
    layer, installed = layers(tmp_path / "layers")
    for folder, text in (tmp_path, "task"), (installed, "installed"), (layer, "layer"):
        (folder / "added").mkdir()
        (folder / f"{text}.pth").write_text(
            f"import os; os.environ['RAN'] = os.environ.get('RAN', '') + '{text} '\nadded\n"
        )
    seen = arranged(environment, tmp_path, LAYERS=str(layer), LAMBDA_TASK_ROOT=str(tmp_path))
    assert seen["ran"] == "task installed layer "
    assert seen["path"][-4:] == [*(str(folder / "added") for folder in (tmp_path, installed, layer)), str(RUNTIME)]


def test_setuptools_stands_in_for_distutils(environment: Path, tmp_path: Path) -> None:
    """Python 3.12 and later have no distutils; a package that brings setuptools has it by a .pth file."""
    package = Path(setuptools.__file__).parent
    for folder in (package, package.parent / "_distutils_hack"):
        (tmp_path / folder.name).symlink_to(folder)
    shutil.copy(package.parent / "distutils-precedence.pth", tmp_path)
    program = PROGRAM + "\nimport distutils.version; print(distutils.__file__)"
    seen = run(environment, tmp_path, program, LAMBDA_TASK_ROOT=str(tmp_path)).splitlines()
    assert seen[-1] == str(tmp_path / "setuptools" / "_distutils" / "__init__.py")


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


@pytest.mark.parametrize(
    "own", [None, "/usr/lib::/usr/share:", "vendored:./vendored", "/usr/share/:/usr/lib/../share", "/no/such/folder:."]
)
def test_site_gives_the_same_path(environment: Path, tmp_path: Path, own: str | None) -> None:
    (tmp_path / "vendored").mkdir()
    variables = {} if own is None else {"PYTHONPATH": own}
    plain = arranged(environment, tmp_path, **variables)
    file = site_packages(environment) / "empty.pth"
    file.write_text("")
    try:
        real = arranged(environment, tmp_path, **variables)
    finally:
        file.unlink()
    assert (plain["site"], real["site"]) == (False, True)
    assert plain["path"] == real["path"]
