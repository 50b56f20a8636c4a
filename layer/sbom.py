"""The layer's bill of materials, in CycloneDX 1.6: the packages by CycloneDX's own tool, a carried interpreter added to it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def write(target: Path, requirements: str, pyproject: Path, python: str | None, libraries: list[Path]) -> None:
    """Writes `target` for the pinned `requirements`, CPython of version `python` and the shared `libraries` that came with it."""
    tool = Path(sys.executable).with_name("cyclonedx-py")
    command = [
        tool,
        "requirements",
        "--pyproject",
        pyproject,
        "--output-reproducible",
        "--sv",
        "1.6",
        "--of",
        "JSON",
        "-",
    ]
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
    text = json.dumps(bom, indent=2) + "\n"
    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise SystemExit(f"layer: the SBOM is not valid CycloneDX: {wrong}")
    target.write_text(text)
