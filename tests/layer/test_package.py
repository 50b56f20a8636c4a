"""The wheel and the sdist, each installed in an empty virtual environment and run."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from samovar.local.layer import RUNNING
from samovar.local.layer import wheels as fetched
from samovar.local.rie import RIE
from tests.container.engine import ROOT, pinned


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run `python -m build`: an sdist, and a wheel from that sdist."""
    target = tmp_path_factory.mktemp("dist")
    command: list[Any] = [sys.executable, "-m", "build", "--no-isolation", "--outdir", target, ROOT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a folder to install from instead of the index: the two dependencies, and the build backend."""
    folder = fetched.fetch(RUNNING, "x86_64", (2, 34), ROOT / "build" / "wheels")
    backend = ROOT / "build" / "wheels" / "setuptools"
    if not backend.exists():
        listed = tmp_path_factory.mktemp("requirements") / "requirements.txt"
        listed.write_text(pinned("setuptools"))
        command: list[Any] = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--require-hashes",
            "--no-deps",
            "-r",
            listed,
        ]
        subprocess.run([*command, "--dest", backend], check=True)
    target = tmp_path_factory.mktemp("wheels")
    for wheel in (*folder.glob("*.whl"), *backend.glob("*.whl")):
        (target / wheel.name).symlink_to(wheel)
    return target


@pytest.fixture(scope="module", params=["*.whl", "*.tar.gz"])
def python(request: pytest.FixtureRequest, dist: Path, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel or the sdist in a virtual environment, and return its interpreter."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (archive,) = dist.glob(request.param)
    pip(venv / "bin" / "python", "install", "--quiet", "--no-index", "--find-links", wheels, archive)
    return venv / "bin" / "python"


def pip(python: Path, *arguments: object) -> str:
    """Run this environment's pip on the environment of `python`; return its output."""
    return output(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, *arguments)


def output(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_brings_orjson_and_urllib3_only(python: Path) -> None:
    listed = json.loads(pip(python, "list", "--format=json"))
    assert {row["name"] for row in listed} == {"samovar", "orjson", "urllib3"}


def test_says_its_version(python: Path, dist: Path) -> None:
    version = next(dist.glob("*.whl")).name.split("-")[1]
    assert output(python.parent / "samovar", "--version") == f"samovar {version}\n"
    assert output(python, "-m", "samovar", "--version") == f"samovar {version}\n"


def test_runs_a_handler(python: Path) -> None:
    with RIE([str(python), "-m", "samovar", "hello.handler"], cwd=ROOT / "handlers") as rie:
        first, second = rie.invoke({"name": "Ada"}), rie.invoke({"name": "Ada"})
        assert first.status == second.status == 200
        assert "errorType" not in str(first.body)
        assert [init.ok for init in rie.log().inits] == [True]


def test_wheel_carries_the_type_marker_the_licence_and_the_test_doubles_but_no_demo(dist: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    assert "samovar/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert {"Provides-Extra: local", "Provides-Extra: redis", "License-Expression: Apache-2.0"} <= set(
        metadata.splitlines()
    )
    assert all(name.startswith(("samovar/", "samovar-")) for name in names)
    assert "samovar/local/testing/scripted_api.py" in names
    assert not [name for name in names if "demo" in name or "country" in name]


def test_sdist_carries_the_changelog_and_the_licence(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"LICENSE", "NOTICE", "CHANGELOG.md", "README.md", "pyproject.toml"} <= names


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_has_a_bill_of_materials_that_names_it_by_its_hash(dist: Path, tmp_path: Path, kind: str) -> None:
    (built,) = dist.glob(kind)
    artefact = tmp_path / built.name
    shutil.copy(built, artefact)
    output(sys.executable, "-I", ROOT / "tools" / "sbom.py", "dist", artefact)
    text = (tmp_path / f"{built.name}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    named = bom["metadata"]["component"]
    assert named["name"] == built.name
    assert named["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(built.read_bytes()).hexdigest()}]
    assert named["licenses"] == [{"expression": "Apache-2.0"}]
    assert {row["name"]: row.get("version") for row in bom["components"]} == {
        "samovar": named["version"],
        "orjson": None,
        "urllib3": None,
    }
