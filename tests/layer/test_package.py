"""The wheel and the sdist, each installed in an empty virtual environment and run."""

from __future__ import annotations

import email.policy
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from markdown_it import MarkdownIt

from samovar.local.layer import RUNNING
from samovar.local.layer import wheels as fetched
from samovar.local.rie import RIE
from tests.container.engine import ROOT, copy_checkout, pinned

REPOSITORY = "https://github.com/samovar-runtime/samovar"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run `python -m build` in a copy, which it writes to: an sdist, and a wheel from that sdist."""
    target = tmp_path_factory.mktemp("dist")
    checkout = tmp_path_factory.mktemp("source") / "checkout"
    copy_checkout(checkout)
    command: list[Any] = [sys.executable, "-m", "build", "--no-isolation", "--outdir", target, checkout]
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


def test_the_wheel_carries_the_local_tools_and_the_examples_and_no_tests(dist: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        entries = {entry.filename: entry.external_attr >> 16 for entry in wheel.infolist()}
    assert "samovar/py.typed" in entries
    assert "samovar/local/testing/scripted_api.py" in entries
    demo = "samovar/local/demo/"
    assert {name.removeprefix(demo) for name in entries if name.startswith(f"{demo}handlers/")} == files("handlers")
    assert entries[f"{demo}handlers/companion/hello.sh"] & 0o111
    template = "samovar/local/template/"
    assert {name for name in entries if name.startswith(template)} == {
        name.removeprefix("runtime/") for name in files(f"runtime/{template}")
    }
    assert [name for name in entries if not name.startswith(("samovar/", "samovar-"))] == []
    assert [name for name in entries if "/test_" in name and "/template/" not in name] == []


def test_the_sdist_is_what_the_repository_tracks(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        names = {entry.name.partition("/")[2] for entry in sdist.getmembers() if not entry.isdir()}
    made = {"PKG-INFO", "setup.cfg", "runtime/samovar.egg-info/SOURCES.txt"}
    link = "runtime/samovar/local/demo/handlers"
    assert names - made == files() - {link} | {f"runtime/samovar/local/demo/{name}" for name in files("handlers")}


@pytest.mark.real
def test_the_sdist_sets_itself_up_and_passes_its_own_tests(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    hidden = ("MAKE", "MFLAGS", "PYTHON", "PYTEST", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    command = ["make", "test", f"PYTHON={sys.executable}", "ARGS=-q tests/test_wire.py tests/rie/test_environment.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_pypi_takes_the_package_and_can_show_its_readme(dist: Path) -> None:
    assert "FAILED" not in output(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir())


def test_each_link_and_picture_of_the_readme_is_absolute_and_leads_to_what_is_there(dist: Path) -> None:
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(metadata(dist).get_payload())
    links = re.findall(r'(?:href|src|srcset)="([^"]+)"', shown)
    own = [link.removeprefix(REPOSITORY) for link in links if link.startswith(REPOSITORY)]
    files = [found[1] for link in own if (found := re.match(r"/(?:blob|raw|tree)/main/([^#]+)", link))]
    assert [link for link in links if not link.startswith("https://")] == []
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert any(name.endswith(".md") for name in files)
    assert any(name.endswith(".svg") for name in files)


def test_the_metadata_names_the_licence_the_extras_and_where_the_project_lives(dist: Path) -> None:
    found = metadata(dist)
    assert (found["License-Expression"], found.get_all("License-File")) == ("Apache-2.0", ["LICENSE", "NOTICE"])
    assert found.get_all("Provides-Extra") == ["local", "redis"]
    urls = dict(line.split(", ") for line in found.get_all("Project-URL", []))
    assert set(urls) == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert urls["Source"] == REPOSITORY


def metadata(dist: Path) -> Message:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(wheel.read(name), policy=email.policy.default)


def files(folder: str = ".") -> set[str]:
    """Return what git tracks, and what is new and not ignored. In an sdist, which has no git, the test is skipped."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    listed = output("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", folder)
    return {name for name in listed.splitlines() if (ROOT / name).exists()}


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
