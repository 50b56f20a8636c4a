"""The interpreter in a layer: what it includes, what is left out, and which interpreters are refused."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.local.layer.build import Order
from tests.container import engine
from tests.container.conftest import RUNNING
from tests.container.engine import Environment, direct, make

# Each is an extension module, or needs one, of which most need a shared library that the base does not have.
STANDARD = (
    "asyncio bz2 ctypes dbm decimal hashlib lzma multiprocessing sqlite3 ssl uuid xml.parsers.expat zlib zoneinfo"
)


@pytest.fixture(scope="module")
def environment(client: Any, bundle: Path, emulator: str) -> Iterator[Environment]:
    mounts = {engine.TASK: "/var/task", bundle: "/opt", emulator: "/usr/local/bin/aws-lambda-rie"}
    variables = {"LAMBDA_TASK_ROOT": "/var/task", "_HANDLER": "app.handler"}
    command = ["/usr/local/bin/aws-lambda-rie"]
    with Environment(client, engine.OS_ONLY, entrypoint=command, env=variables, mounts=mounts) as running:
        RUNNING.append(running)
        yield running
        RUNNING.remove(running)


def test_the_base_has_no_python(client: Any) -> None:
    found = client.containers.run(engine.OS_ONLY, ["sh", "-c", "command -v python3 || echo none"], remove=True)
    assert found == b"none\n"


def test_the_interpreter_and_its_libraries_are_the_layers(environment: Environment) -> None:
    assert environment.invoke({"do": "hello"})["executable"] == "/opt/samovar/python/bin/python3"
    answer = environment.invoke({"do": "mapped", "modules": STANDARD.split()})
    glibc = {"libc.so.6", "libm.so.6", f"ld-linux-{platform.machine().replace('_', '-')}.so.2"}
    elsewhere = [path for path in answer["mapped"] if not path.startswith("/opt/")]
    assert {path.rpartition("/")[2] for path in elsewhere} <= glibc
    assert any("libssl" in path for path in answer["mapped"])


def test_no_bytecode_of_the_standard_library_is_missing(bundle: Path) -> None:
    library = bundle / "samovar" / "python" / "lib" / "python3.11"
    sources = list(library.rglob("*.py"))
    assert len(sources) > 400
    assert [p for p in sources if not (p.parent / "__pycache__" / f"{p.stem}.cpython-311.pyc").exists()] == []


def test_what_a_function_does_not_need_is_left_out(bundle: Path) -> None:
    python = bundle / "samovar" / "python"
    names = {path.relative_to(python).as_posix() for path in python.rglob("*")}
    for part in ("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "include", "site-packages"):
        assert [name for name in names if part in name.split("/")] == []
    assert [name for name in names if name.endswith((".a", ".o", ".h")) or "_tkinter" in name or "_test" in name] == []


def test_at_most_twenty_megabytes(bundle: Path) -> None:
    assert engine.archive(bundle.parent).stat().st_size <= 20_000_000


def test_the_bill_of_materials_names_the_interpreter_and_its_libraries(bundle: Path) -> None:
    bom = json.loads(engine.archive(bundle.parent).with_suffix(".cdx.json").read_text())
    components = {row["name"]: row for row in bom["components"]}
    assert components["cpython"]["version"].startswith("3.11.")
    for library in (bundle / "samovar" / "python" / "lib").glob("*.so*"):
        digest = hashlib.sha256(library.read_bytes()).hexdigest()
        assert components[library.name]["hashes"] == [{"alg": "SHA-256", "content": digest}]


@pytest.mark.parametrize(
    ("version", "base", "has"),
    [("3.11", "al2023", "2.34"), ("3.13", "debian12", "2.36")],
)
def test_a_later_c_library_than_the_bases_is_refused(
    prefix: Callable[[str], Path], tmp_path: Path, version: str, base: str, has: str
) -> None:
    """Debian 12 has 2.36 and Debian 13 2.41: their interpreters are too new for the base below."""
    printed = make(version, tmp_path, "layer", 2, BUNDLE="1", BASE=base, PYTHON_PREFIX=str(prefix(version)))
    line = next(line for line in printed.splitlines() if "samovar/python/bin/python3 needs GLIBC" in line)
    assert line.endswith(f"{base} has {has}")
    asked = line.split("GLIBC ")[1].split(" ")[0]
    symbol = line.split("(")[1].split(")")[0].split(", ")[0]
    listed = subprocess.run(
        ["strings", "-a", prefix(version) / "bin" / f"python{version}"], capture_output=True, text=True
    ).stdout
    assert {f"GLIBC_{asked}", symbol} <= set(listed.split())
    assert not list(tmp_path.glob("*.zip"))


def test_uv_brings_the_interpreter(
    prefix: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the real uv, with a list of downloads that names an archive built here like python-build-standalone's."""
    archive = tmp_path / "python.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
        packed.add(prefix("3.11"), "python", filter=lambda entry: None if entry.linkname.startswith("/") else entry)
    download = {
        "name": "cpython",
        "arch": {"family": "x86_64", "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": 3,
        "minor": 11,
        "patch": 2,
        "prerelease": "",
        "url": archive.as_uri(),
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "variant": None,
        "build": "20230101",
    }
    listed = tmp_path / "downloads.json"
    listed.write_text(json.dumps({"cpython-3.11.2-linux-x86_64-gnu": download}))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(listed))
    order = Order("3.11", "x86_64", tmp_path, "debian12", bundle=True, bytecode_image=engine.BASES["3.11"][0])
    assert "includes Python 3.11.2" in direct(order, tmp_path / "layer.zip", 0)
