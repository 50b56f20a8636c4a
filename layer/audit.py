"""What must hold of a layer's tree before it is zipped, and of the zip. Each check names the file that is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from layer import elf
from layer.interpreter import BASE_LIBRARIES

# Lambda's quotas for a layer: 50 MB zipped for direct upload, 250 MB unzipped with the function and its other layers.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
ZIPPED_LIMIT = 50 * 1024 * 1024
UNZIPPED_LIMIT = 250 * 1024 * 1024
# The C library of the base that the layer will run on.
BASES = {"al2023": (2, 34), "debian12": (2, 36)}


def binaries(tree: Path, arch: str, base: str) -> list[str]:
    """Check each ELF file: it is for `arch`, asks for no later GLIBC than `base` has, and only for libraries that the
    base or the layer has. What is wrong, a line each.
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
            wrong.append(f"{name} is for {found.machine}, the layer for {arch}")
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
    """No file holds a path of the machine that built it. What is wrong, a line each."""
    needles = [str(path).encode() for path in ours]
    return [
        f"{path.relative_to(tree)} holds the builder's path {needle.decode()}"
        for path in sorted(tree.rglob("*"))
        if path.is_file()
        for needle in needles
        if needle in path.read_bytes()
    ]


def unzipped(tree: Path) -> list[str]:
    """The files of `tree` are within what Lambda takes. What is wrong, a line each."""
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    return [f"{size:,} bytes unzipped, Lambda takes {UNZIPPED_LIMIT:,}"] if size > UNZIPPED_LIMIT else []


def zipped(size: int) -> list[str]:
    """A zip of `size` bytes is within what Lambda takes. What is wrong, a line each."""
    return [f"{size:,} bytes zipped, Lambda takes {ZIPPED_LIMIT:,}"] if size > ZIPPED_LIMIT else []
