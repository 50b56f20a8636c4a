"""What an ELF file asks of the system it will run on: machine, shared libraries, versions of the C library. Knows nothing of layers."""

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
    """One ELF file. `machine` is Lambda's word for it (x86_64, arm64), `glibc` the highest version asked for, (0, 0) for none."""

    path: Path
    machine: str
    needed: tuple[str, ...]
    glibc: tuple[int, int]
    symbols: tuple[str, ...]  # those asked for at that highest version


def read(path: Path) -> Elf | None:
    """The ELF file at `path`, or None where the file is something else (or a link)."""
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
        index: dict[int, tuple[int, int]] = {}  # a version's number in .gnu.version -> the GLIBC version it stands for
        for section in elf.iter_sections():
            if isinstance(section, GNUVerNeedSection):
                for _, versions in section.iter_versions():
                    for version in versions:
                        if found := re.fullmatch(r"GLIBC_(\d+)\.(\d+)(\.\d+)?", version.name):
                            index[version["vna_other"]] = (int(found[1]), int(found[2]))
        highest = max(index.values(), default=(0, 0))
        symbols = []
        names, numbers = elf.get_section_by_name(".dynsym"), elf.get_section_by_name(".gnu.version")
        if names and numbers:
            for number, symbol in enumerate(names.iter_symbols()):
                if index.get(numbers.get_symbol(number)["ndx"]) == highest != (0, 0):
                    symbols.append(symbol.name)
        return Elf(path, MACHINES.get(machine, machine), needed, highest, tuple(sorted(symbols)))
