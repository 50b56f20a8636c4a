"""python unpack.py LAYER.zip FOLDER: unpack as Lambda does, with modes, which `python -m zipfile` ignores."""

import sys
import zipfile
from pathlib import Path

archive, folder = Path(sys.argv[1]), Path(sys.argv[2])
if not archive.exists():
    sys.exit("build/layer.zip is missing: this image is made of it, so run `make layer BUNDLE=1` first")
with zipfile.ZipFile(archive) as opened:
    for entry in opened.infolist():
        Path(opened.extract(entry, folder)).chmod(entry.external_attr >> 16 & 0o777)
