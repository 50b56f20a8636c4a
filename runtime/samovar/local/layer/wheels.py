"""The layer's two dependencies: the pinned wheels for a target, fetched by pip, and their unpacking."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from pathlib import Path

from samovar.local.console import CommandError, working
from samovar.local.layer import RUNNING, distinfo, tools

# urllib3 imports it in a browser only, and it is 4 % of the layer.
_LEFT_OUT = "urllib3/contrib/emscripten/"
_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}  # Lambda's name -> the name in wheels


def requirements(python: str) -> str:
    """Return the pins of the layer's packages without the lines whose markers exclude that Python, and for 3.Xt, which
    has no GIL, without orjson: a marker cannot say that, and it has no wheel for such a Python.

    pip cannot do this: it evaluates markers for the Python that runs it, even with --python-version.
    """
    text = (tools.FILES / "runtime.txt").read_text()
    if python == RUNNING:
        return text
    from packaging.requirements import Requirement

    version = python.removesuffix("t")
    target = {"python_version": version, "python_full_version": f"{version}.0"}
    kept = []
    for line in text.replace("\\\n", "").splitlines():
        needed = Requirement(line.split("--hash")[0])
        if (needed.marker is None or needed.marker.evaluate(target)) and (python == version or needed.name != "orjson"):
            kept.append(line)
    return "\n".join(kept) + "\n"


def fetch(python: str, arch: str, glibc: tuple[int, int], cache: Path) -> Path:
    """Return a folder in `cache` with the pinned wheels for the target, fetched once, their hashes checked."""
    text = requirements(python)
    folder = cache / hashlib.sha256(f"{text} {python} {arch} {glibc}".encode()).hexdigest()[:16]
    if folder.exists():
        return folder
    abi = f"cp{python.replace('.', '')}"
    platforms = [f"manylinux_{glibc[0]}_{n}_{_MACHINES[arch]}" for n in range(5, glibc[1] + 1)]
    platforms.append(f"manylinux2014_{_MACHINES[arch]}")
    with (
        working("fetching orjson and urllib3"),
        tools.made(folder) as temporary,
        tempfile.NamedTemporaryFile("w", suffix=".txt") as listed,
    ):
        listed.write(text)
        listed.flush()
        options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--requirement", listed.name]
        options += [
            "--implementation=cp",
            f"--python-version={python.removesuffix('t')}",
            f"--abi={abi}",
            "--abi=abi3",
            "--abi=none",
        ]
        options += [f"--platform={name}" for name in platforms]
        if tools.pip(cache, "download", *options, "--dest", temporary):
            raise CommandError(f"pip found no wheels for Python {python} on {arch}: see its message above")
    return folder


def unpack(folder: Path, library: Path) -> list[Path]:
    """Unpack the wheels in `folder` to `library`, of each .dist-info what distinfo keeps; return the wheels."""
    unpacked = sorted(folder.glob("*.whl"))
    for wheel in unpacked:
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.namelist():
                if distinfo.kept(entry) if ".dist-info/" in entry else not entry.startswith(_LEFT_OUT):
                    archive.extract(entry, library)
                if entry.endswith(".dist-info/METADATA"):
                    (library / entry).write_bytes(distinfo.without_description(archive.read(entry)))
    return unpacked
