"""The layers to publish: which there are, and their zips, built here or taken from a folder. Knows nothing of AWS."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from samovar.local import layer as command
from samovar.local.console import CommandError, working

LIMIT = 50 * 1024 * 1024  # for a zip: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html


@dataclass(frozen=True)
class Variant:
    """What a layer is for. `bundle`: it includes an interpreter, for OS-only functions."""

    python: str
    arch: str
    bundle: bool

    @property
    def name(self) -> str:
        """The layer's name in AWS, which may have no dots."""
        return f"samovar-python{self.python.replace('.', '')}-{self.arch}" + ("-bundle" if self.bundle else "")

    @property
    def file(self) -> str:
        """The name of its zip, as `samovar layer` calls it."""
        return command.name(argparse.Namespace(python=self.python, arch=self.arch, bundle=self.bundle, base=None))

    @property
    def runtimes(self) -> list[str]:
        """The runtimes of Lambda that it is for."""
        return ["provided.al2023"] if self.bundle else [f"python{self.python}"]


@dataclass(frozen=True)
class Layer:
    """A zip, and what its bill of materials says of it."""

    variant: Variant
    zip: Path
    version: str
    licence: str

    @property
    def name(self) -> str:
        """The layer's name in AWS."""
        return self.variant.name

    @property
    def description(self) -> str:
        """The description that AWS shows."""
        interpreter = ", with the interpreter" if self.variant.bundle else ""
        return f"Samovar {self.version} for Python {self.variant.python} on {self.variant.arch}{interpreter}"

    @cached_property
    def size(self) -> int:
        """The size of the zip in bytes."""
        return self.zip.stat().st_size

    @cached_property
    def digest(self) -> bytes:
        """The SHA-256 of the zip."""
        return hashlib.sha256(self.zip.read_bytes()).digest()

    def check(self) -> None:
        """Raise CommandError if the zip is larger than Lambda accepts."""
        if self.size > LIMIT:
            raise CommandError(f"{self.zip} has {self.size:,} bytes; Lambda accepts {LIMIT:,}")


def wanted(pythons: Iterable[str], architectures: Iterable[str], bundle: bool) -> list[Variant]:
    """Return every combination, without an interpreter and, if asked for, with one."""
    kinds = (False, True) if bundle else (False,)
    return [Variant(python, arch, kind) for kind in kinds for python in pythons for arch in architectures]


def build(variant: Variant, folder: Path) -> Layer:
    """Build the layer in `folder`, the same bytes from the same sources. Raises CommandError."""
    options = ["--python", variant.python, "--arch", variant.arch, "--out", str(folder), "--cache", "build"]
    options += ["--bundle"] if variant.bundle else []
    call = [sys.executable, "-m", "samovar.local.cli", "layer", *options]
    with working(f"building {variant.file}"):
        done = subprocess.run(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1].removeprefix("samovar layer: ")
        raise CommandError(
            f"{variant.file} was not built: {reason}."
            " Or choose with --python, or take layers built elsewhere with --from"
        )
    return take(variant, folder)


def take(variant: Variant, folder: Path) -> Layer:
    """Return the layer that is in `folder`. Raises CommandError if there is none."""
    archive = folder / variant.file
    bill = archive.with_suffix(".cdx.json")
    for file in (archive, bill):
        if not file.is_file():
            raise CommandError(f"{file} is missing: `samovar layer` makes it, with the bill of materials beside it", 2)
    about = json.loads(bill.read_text())["metadata"]["component"]
    return Layer(variant, archive, about["version"], about["licenses"][0]["expression"])
