"""What an ELF file needs of the system it runs on: machine, libraries, C library version. Knows nothing of layers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "arm64"}


@dataclass(frozen=True)
class Elf:
    """An ELF file. `machine` is Lambda's name (x86_64, arm64); `glibc` the highest version needed, (0, 0) for none."""

    path: Path
    machine: str
    needed: tuple[str, ...]
    glibc: tuple[int, int]


def read(path: Path) -> Elf | None:
    """Read the ELF file at `path`; return None for any other file and for a link."""
    with path.open("rb") as file:
        if path.is_symlink() or file.read(4) != b"\x7fELF":
            return None
        file.seek(0)
        elf = ELFFile(file)
        machine = elf["e_machine"]
        dynamic = elf.get_section_by_name(".dynamic")
        needed = (
            tuple(tag.needed for tag in dynamic.iter_tags("DT_NEEDED")) if isinstance(dynamic, DynamicSection) else ()
        )
        asked: list[tuple[int, int]] = []
        for section in elf.iter_sections():
            if isinstance(section, GNUVerNeedSection):
                for _, versions in section.iter_versions():
                    for version in versions:
                        if found := re.fullmatch(r"GLIBC_(\d+)\.(\d+)(\.\d+)?", version.name):
                            asked.append((int(found[1]), int(found[2])))
        highest = max(asked, default=(0, 0))
        return Elf(path, MACHINES.get(machine, machine), needed, highest)


def symbols(path: Path, version: tuple[int, int]) -> list[str]:
    """Return the names that the ELF file at `path` needs of that GLIBC version."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        numbers: set[int] = set()
        for section in elf.iter_sections():
            if isinstance(section, GNUVerNeedSection):
                wanted = (v for _, versions in section.iter_versions() for v in versions)
                numbers.update(v["vna_other"] for v in wanted if v.name == f"GLIBC_{version[0]}.{version[1]}")
        names, versions_of = elf.get_section_by_name(".dynsym"), elf.get_section_by_name(".gnu.version")
        return sorted(
            symbol.name
            for number, symbol in enumerate(names.iter_symbols())
            if versions_of.get_symbol(number)["ndx"] in numbers
        )
