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
        sys.exit("build/ has no layer with an interpreter, of which this image is made: run `make layer BUNDLE=1` first")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        sys.exit(f"build/ has several layers with an interpreter ({names}): give --build-arg LAYER=build/{found[0].name}")
    archive = found[0]
with zipfile.ZipFile(archive) as opened:
    for entry in opened.infolist():
        Path(opened.extract(entry, folder)).chmod(entry.external_attr >> 16 & 0o777)
