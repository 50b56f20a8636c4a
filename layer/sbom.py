"""The layer's bill of materials in CycloneDX 1.6: the packages by its own tool, a carried interpreter added."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path


def write(target: Path, requirements: str, pyproject: Path, python: str | None, libraries: list[Path]) -> None:
    """Writes `target` for the pinned `requirements`, CPython `python` and the shared `libraries` that came with it."""
    tool: str | Path = Path(sys.executable).with_name("cyclonedx-py")
    # What is written is validated by the tests: it takes 5 s.
    options = ["--output-reproducible", "--no-validate", "--sv", "1.6", "--of", "JSON"]
    command = [tool, "requirements", "--pyproject", pyproject, *options, "-"]
    bom = json.loads(subprocess.run(command, input=requirements, check=True, capture_output=True, text=True).stdout)
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
