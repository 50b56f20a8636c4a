"""The layer's two dependencies: the pinned wheels for a target, fetched by pip, and their unpacking."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from pathlib import Path

from samovar.local.console import CommandError, working
from samovar.local.layer import RUNNING, tools

_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}  # Lambda's name -> the name in wheels


def requirements(version: str) -> str:
    """Return the pins of the layer's packages without the lines whose markers exclude Python `version`.

    pip cannot do this: it evaluates markers for the Python that runs it, even with --python-version.
    """
    text = (tools.FILES / "runtime.txt").read_text()
    if version == RUNNING:
        return text
    from packaging.requirements import Requirement

    target = {"python_version": version, "python_full_version": f"{version}.0"}
    kept = []
    for line in text.replace("\\\n", "").splitlines():
        marker = Requirement(line.split("--hash")[0]).marker
        if marker is None or marker.evaluate(target):
            kept.append(line)
    return "\n".join(kept) + "\n"


def fetch(version: str, arch: str, glibc: tuple[int, int], cache: Path) -> Path:
    """Return a folder in `cache` with the pinned wheels for the target, fetched once, their hashes checked."""
    text = requirements(version)
    folder = cache / hashlib.sha256(f"{text} {version} {arch} {glibc}".encode()).hexdigest()[:16]
    if folder.exists():
        return folder
    abi = f"cp{version.replace('.', '')}"
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
        options += ["--implementation=cp", f"--python-version={version}", f"--abi={abi}", "--abi=abi3", "--abi=none"]
        options += [f"--platform={name}" for name in platforms]
        if tools.pip(cache, "download", *options, "--dest", temporary):
            raise CommandError(f"pip found no wheels for Python {version} on {arch}: see its message above")
    return folder


def unpack(folder: Path, library: Path, licences: Path) -> list[str]:
    """Unpack the wheels in `folder` to `library`, their licences to `licences`; return the packages' names."""
    names = []
    for wheel in sorted(folder.glob("*.whl")):
        names.append(wheel.name.split("-")[0])
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.namelist():
                if ".dist-info/" not in entry:
                    archive.extract(entry, library)
                elif "/licenses/" in entry:
                    target = licences / names[-1] / Path(entry).name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(entry))
    return names
