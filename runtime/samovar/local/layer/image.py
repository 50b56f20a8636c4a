"""The same files as in the layer, for an image, and for the Python that runs this: the Dockerfile calls it.

PYTHONPATH=runtime python3 -m samovar.local.layer.image FOLDER WHEELS
"""

from __future__ import annotations

import sys
from pathlib import Path

from samovar.local.layer import RUNNING, build, wheels


def write(tree: Path, folder: Path) -> None:
    """Write the content of /opt to `tree`, with the wheels in `folder`."""
    tree.mkdir(parents=True, exist_ok=True)
    build.plain_files(tree)
    wheels.unpack(folder, tree / "samovar" / "lib", tree / "samovar" / "licences")
    build.compile_ahead([sys.executable], tree, RUNNING)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
