"""The folder NAME.dist-info of each package of a layer, for importlib.metadata and for scanners of vulnerabilities.

As in a distribution's packages there is no RECORD, since nobody may uninstall them, and METADATA has no description: a
third of orjson's size. Entry points are left out, since what they name is not in the layer.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

from samovar import __version__
from samovar.local.layer import tools

LICENCES = ("LICENSE", "NOTICE")


def kept(entry: str) -> bool:
    """Return whether a wheel's file of that folder is kept."""
    way = entry.split("/")
    return way[1] == "METADATA" or way[1] in ("licenses", "sboms")


def without_description(metadata: bytes) -> bytes:
    """Return the fields of a METADATA file without what describes the package in prose."""
    fields = metadata.partition(b"\n\n")[0].splitlines()
    return b"".join(line + b"\n" for line in fields if not line.startswith(b"Description-Content-Type:"))


def write_own(library: Path) -> None:
    """Write samovar's own folder to `library`, from its pyproject.toml and the version of the package beside it."""
    project = tomllib.loads((tools.FILES / "project.toml").read_text())["project"]
    lines = ["Metadata-Version: 2.4", f"Name: {project['name']}", f"Version: {__version__}"]
    lines += [f"Summary: {project['description']}", f"License-Expression: {project['license']}"]
    lines += [f"License-File: {name}" for name in LICENCES]
    lines += [f"Requires-Python: {project['requires-python']}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in project["dependencies"]]
    lines += [f"Project-URL: {name}, {url}" for name, url in project.get("urls", {}).items()]
    folder = library / f"{project['name']}-{__version__}.dist-info"
    (folder / "licenses").mkdir(parents=True)
    (folder / "METADATA").write_text("\n".join(lines) + "\n")
    for name in LICENCES:
        shutil.copyfile(tools.FILES / name, folder / "licenses" / name)
