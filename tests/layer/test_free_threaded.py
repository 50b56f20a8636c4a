"""A layer that includes a Python without the GIL."""

from __future__ import annotations

import hashlib
import json
import platform
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samovar.local.layer.build import Order
from tests.conftest import ROOT
from tests.container.engine import archive, direct, make, unpack
from tests.free_threaded.conftest import PREFIX

HANDLER = """
import sys, threading, importlib.util, samovar

def handler(event, context):
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(sys._is_gil_enabled())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "gil": [sys._is_gil_enabled(), *seen],
        "python": sys.executable,
        "samovar": samovar.__file__,
        "orjson": importlib.util.find_spec("orjson") is not None,
        "events": len(event["rows"]),
    }
"""


@pytest.fixture(scope="module")
def version() -> str:
    """That of the Python that `make freethreaded` builds, as 3.13t."""
    found = list(PREFIX.glob("bin/python3.*t"))
    if not found:
        pytest.skip("there is no Python without the GIL: make freethreaded builds one, in some minutes")
    return found[0].name.removeprefix("python")


def built_here() -> bool:
    """Return whether the Python was built on this machine, and so for its C library."""
    return not PREFIX.is_symlink()


def layer(version: str, target: Path, status: int = 0, **variables: str) -> str:
    given = {"BUNDLE": "1", "BASE": "debian12", "PYTHON_PREFIX": str(PREFIX), "BYTECODE_IMAGE": "", **variables}
    return make(version, target, "layer", status, **given)


def test_a_bundle_without_the_gil_answers_and_leaves_it_off(
    version: str, tmp_path: Path, samovar_rie: Callable[..., Any]
) -> None:
    if built_here() and tuple(map(int, platform.libc_ver()[1].split("."))) > (2, 36):
        pytest.skip("what is built here needs a later C library than each base of a layer has")
    printed = layer(version, tmp_path / "built")
    assert f"samovar and urllib3 for Python {version} on" in printed
    zipped = archive(tmp_path / "built")
    assert zipped.name.startswith(f"layer-python{version}-")
    opt = unpack(zipped, tmp_path / "opt")
    (tmp_path / "app.py").write_text(HANDLER)
    environment = samovar_rie("app.handler", task_root=tmp_path, command=[str(opt / "bootstrap")])
    answer = environment.invoke({"rows": [{"id": i} for i in range(60_000)]}).json()
    assert answer == {
        "gil": [False] * 5,
        "python": str(opt / "samovar" / "python" / "bin" / "python3"),
        "samovar": str(opt / "samovar" / "lib" / "samovar" / "__init__.py"),
        "orjson": False,
        "events": 60_000,
    }
    bill = json.loads(zipped.with_suffix(".cdx.json").read_text())
    properties = {row["name"]: row["value"] for row in bill["metadata"]["component"]["properties"]}
    assert properties["samovar:python"] == version
    with zipfile.ZipFile(zipped) as content:
        assert f"samovar/python/lib/python{version}/os.py" in content.namelist()


def test_such_a_prefix_is_not_taken_for_one_with_the_gil(version: str, tmp_path: Path) -> None:
    printed = layer(version.removesuffix("t"), tmp_path, 2)
    assert (
        f"the Python {version.removesuffix('t')} in {PREFIX} has no GIL: ask for {version}, or give another prefix"
        in (printed)
    )


def test_only_a_bundle_can_be_without_the_gil(tmp_path: Path) -> None:
    printed = make("3.13t", tmp_path, "layer", 2, BYTECODE_IMAGE="")
    assert "Lambda has no Python 3.13t, which has no GIL: give --bundle to include one" in printed


def test_uv_brings_the_interpreter_without_the_gil(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the real uv, with a list of downloads that names an archive as python-build-standalone has them."""
    packed = tmp_path / "python.tar.gz"
    with tarfile.open(packed, "w:gz", compresslevel=1) as archived:
        archived.add(PREFIX, "python", filter=lambda entry: None if entry.name.endswith("LICENSE.txt") else entry)
    major, minor = version.removesuffix("t").split(".")
    key = f"cpython-{major}.{minor}.1+freethreaded-linux-x86_64-gnu"
    download = {
        "name": "cpython",
        "arch": {"family": "x86_64", "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": int(major),
        "minor": int(minor),
        "patch": 1,
        "prerelease": "",
        "url": packed.as_uri(),
        "sha256": hashlib.sha256(packed.read_bytes()).hexdigest(),
        "variant": "freethreaded",
        "build": "20260101",
    }
    listed = tmp_path / "downloads.json"
    listed.write_text(json.dumps({key: download}))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(listed))
    cache = tmp_path / "cache"
    cache.mkdir()
    for folder in (ROOT / "build").glob("*-tools-*"):
        (cache / folder.name).symlink_to(folder)
    order = Order(version.removesuffix("t"), "x86_64", cache, "debian12", bundle=True, free_threaded=True)
    printed = direct(order, tmp_path / "layer.zip")
    fetched = cache / "python" / key
    assert f"there is no lib/python{version}/LICENSE.txt in {fetched}: a layer must carry Python's licence" in printed
    assert (fetched / "bin" / f"python{version}").is_file()
