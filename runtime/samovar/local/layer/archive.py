"""A zip that depends on nothing but its content, and the sizes of a layer's parts. Knows nothing of how they are made.

Written here and not by `zipfile`, which compresses with the zlib that Python happens to have: libdeflate makes the
layer smaller, and the same bytes everywhere. (zopfli gains little more, and takes many times as long.)
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path

from samovar.local.console import say

_DATE = 1 << 5 | 1  # 1980-01-01, at midnight
_UNIX = 3 << 8 | 20  # made by: the mode is in the upper half of the external attributes; version 2.0 of the format


def pack(tree: Path, target: Path) -> None:
    """Zip `tree`: entries sorted, dated 1980-01-01, with mode 755 for executable files and 644 for the rest."""
    from deflate import deflate_compress

    files = {path.relative_to(tree).as_posix(): path for path in tree.rglob("*") if path.is_file()}
    directory = b""
    with target.open("wb") as out:
        for name in sorted(files):
            content, encoded = files[name].read_bytes(), name.encode()
            packed = bytes(deflate_compress(content, 12))
            utf8 = 0 if name.isascii() else 0x800
            fields = (20, utf8, 8, 0, _DATE, zlib.crc32(content), len(packed), len(content), len(encoded), 0)
            mode = 0o100755 if os.access(files[name], os.X_OK) else 0o100644
            place = (0, 0, 0, mode << 16, out.tell())
            directory += struct.pack("<4sH5H3L2H3H2L", b"PK\1\2", _UNIX, *fields, *place) + encoded
            out.write(struct.pack("<4s5H3L2H", b"PK\3\4", *fields) + encoded + packed)
        start = out.tell()
        out.write(directory)
        out.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(files), len(files), len(directory), start, 0))


def report(archive: Path) -> None:
    """Say the size of each part of the layer."""
    rows = _parts(archive)
    say(f"{'part':<36}{'files':>7}{'zipped, B':>14}{'unzipped, B':>14}")
    for name in sorted(rows):
        say(f"{name:<36}{rows[name][0]:>7}{rows[name][1]:>14,}{rows[name][2]:>14,}")
    files, _, unzipped = (sum(column) for column in zip(*rows.values(), strict=True))
    say(f"{archive.name:<36}{files:>7}{archive.stat().st_size:>14,}{unzipped:>14,}")


def _parts(archive: Path) -> dict[str, list[int]]:
    """Return, for each part of the layer, the number of files, and their bytes zipped and unzipped."""
    found: dict[str, list[int]] = {}
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            way = entry.filename.split("/")
            match way:
                case ["samovar", "lib", name, *_] if name.endswith(".dist-info"):
                    part = "licences and metadata"
                case ["samovar", "lib", name, *_]:
                    part = name.split(".")[0]
                case ["samovar", "python", "licences", *_] | ["samovar", "python", _]:
                    part = "licences and metadata"
                case ["samovar", "python", *_, last]:
                    part = "python: " + (
                        "bytecode"
                        if last.endswith(".pyc")
                        else "shared objects"
                        if ".so" in last
                        else "interpreter"
                        if way[2] == "bin"
                        else "standard library"
                    )
                case _:
                    part = "bootstrap, samovar-exec"
            row = found.setdefault(part, [0, 0, 0])
            row[:] = row[0] + 1, row[1] + entry.compress_size, row[2] + entry.file_size
    return found
