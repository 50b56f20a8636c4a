"""python unpack.py LAYER.zip FOLDER: unpack as Lambda does, with modes, which `python -m zipfile` ignores.

LAYER.zip may be the folder that holds it.
"""

import sys
import zipfile
from pathlib import Path

archive, folder = Path(sys.argv[1]), Path(sys.argv[2])
if archive.is_dir():
    found = sorted(archive.glob("layer*.zip"))
    if not found:
        sys.exit("build/ has no layer with an interpreter to make this image of: run `make layer BUNDLE=1` first")
    if len(found) > 1:
        names = " or ".join(f"build/{path.name}" for path in found)
        sys.exit(f"build/ has several layers with an interpreter: give --build-arg LAYER={names}")
    archive = found[0]
with zipfile.ZipFile(archive) as opened:
    for entry in opened.infolist():
        Path(opened.extract(entry, folder)).chmod(entry.external_attr >> 16 & 0o777)
