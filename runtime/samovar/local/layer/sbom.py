"""The layer's bill of materials in CycloneDX 1.6: the packages from its own tool, plus an included interpreter."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from samovar import __version__


def write(
    target: Path, tools: Path, requirements: str, pyproject: Path, python: str | None, libraries: list[Path]
) -> None:
    """Write `target` for the pinned `requirements`, CPython `python` and the shared `libraries` included with it.

    `tools`: the folder of the package cyclonedx_py.
    """
    tool: list[str | Path] = [sys.executable, "-s", "-P", "-m", "cyclonedx_py"]
    # SOURCE_DATE_EPOCH would put a timestamp into the document.
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH" and not k.startswith("PYTHON")}
    environment["PYTHONPATH"] = str(tools)
    # Validation takes 5 s; the tests do it.
    options = ["--output-reproducible", "--no-validate", "--sv", "1.6", "--of", "JSON"]
    command = [*tool, "requirements", "--pyproject", pyproject, *options, "-"]
    done = subprocess.run(command, input=requirements, env=environment, check=True, capture_output=True, text=True)
    bom = json.loads(done.stdout)
    bom["metadata"]["component"]["version"] = __version__  # pyproject.toml takes it from there, and the tool does not
    if python:
        bom["components"].append(
            {
                "type": "platform",
                "bom-ref": "cpython",
                "name": "cpython",
                "version": python,
                "purl": f"pkg:generic/cpython@{python}",
                "licenses": [{"license": {"id": "PSF-2.0"}}],
            }
        )
    for library in libraries:
        digest = hashlib.sha256(library.read_bytes()).hexdigest()
        bom["components"].append(
            {
                "type": "library",
                "bom-ref": library.name,
                "name": library.name,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
        )
    target.write_text(json.dumps(bom, indent=2) + "\n")
