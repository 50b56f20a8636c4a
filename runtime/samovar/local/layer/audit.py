"""Checks of a layer's tree before it is zipped, and of the zip. Each returns its findings, one line each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from samovar.local.layer import elf
from samovar.local.layer.interpreter import BASE_LIBRARIES

# Lambda's quotas for a layer: 50 MB zipped for direct upload, 250 MB unzipped with the function and its other layers.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
ZIPPED_LIMIT = 50 * 1024 * 1024
UNZIPPED_LIMIT = 250 * 1024 * 1024
# The version of the C library of each base that a layer can be built for.
BASES = {"al2023": (2, 34), "debian12": (2, 36)}


def binaries(tree: Path, arch: str, base: str) -> list[str]:
    """Check that each ELF file is for `arch`, and needs no later GLIBC than that of `base` and no library that neither
    the base nor the layer has.
    """
    wrong = []
    limit = BASES[base]
    carried = {path.name for path in tree.rglob("*.so*")}
    for path in sorted(tree.rglob("*")):
        found = elf.read(path) if path.is_file() else None
        if found is None:
            continue
        name = path.relative_to(tree)
        if found.machine != arch:
            wrong.append(f"{name} is for {found.machine}, but the layer is for {arch}")
        if found.glibc > limit:
            wrong.append(
                "{} needs GLIBC {}.{} ({}); {} has {}.{}".format(
                    name, *found.glibc, ", ".join(elf.symbols(path, found.glibc)[:3]), base, *limit
                )
            )
        for needed in found.needed:
            if needed not in carried and not BASE_LIBRARIES.fullmatch(needed):
                wrong.append(f"{name} needs {needed}, which is neither in {base} nor in the layer")
    return wrong


def no_builders_paths(tree: Path, ours: Iterable[Path]) -> list[str]:
    """Check that no file contains a path of the machine that builds it."""
    needles = [str(path).encode() for path in ours]
    return [
        f"{path.relative_to(tree)} contains the builder's path {needle.decode()}"
        for path in sorted(tree.rglob("*"))
        if path.is_file()
        for needle in needles
        if needle in path.read_bytes()
    ]


def unzipped(tree: Path) -> list[str]:
    """Check that the files of `tree` are within Lambda's limit."""
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    return [f"{size:,} bytes unzipped; Lambda accepts {UNZIPPED_LIMIT:,}"] if size > UNZIPPED_LIMIT else []


def zipped(size: int) -> list[str]:
    """Check that a zip of `size` bytes is within Lambda's limit."""
    return [f"{size:,} bytes zipped; Lambda accepts {ZIPPED_LIMIT:,}"] if size > ZIPPED_LIMIT else []
