"""python unpack.py LAYER.zip FOLDER: unpacks as Lambda does, with the modes, which `python -m zipfile` leaves out."""

import sys
import zipfile
from pathlib import Path

archive, folder = Path(sys.argv[1]), Path(sys.argv[2])
if not archive.exists():
    sys.exit("the layer is not there: run `make layer BUNDLE=1` first, this image is made of it")
with zipfile.ZipFile(archive) as opened:
    for entry in opened.infolist():
        Path(opened.extract(entry, folder)).chmod(entry.external_attr >> 16 & 0o777)
