"""The table of ARNs, as JSON for programs and as Markdown for readers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tools.publish.layers import Layer


@dataclass(frozen=True)
class Row:
    """A layer in a region."""

    region: str
    layer: Layer
    arn: str


def write(rows: list[Row], folder: Path) -> list[Path]:
    """Write arns.json and arns.md to `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "arns.json", folder / "arns.md"]
    files[0].write_text(json.dumps([_entry(row) for row in rows], indent=2) + "\n")
    files[1].write_text(_page(rows))
    return files


def _entry(row: Row) -> dict[str, str | bool]:
    variant = row.layer.variant
    return {
        "region": row.region,
        "python": variant.python,
        "architecture": variant.arch,
        "interpreter": variant.bundle,
        "arn": row.arn,
        "samovar": row.layer.version,
        "sha256": row.layer.digest.hex(),
    }


def _page(rows: list[Row]) -> str:
    versions = " and ".join(sorted({row.layer.version for row in rows}))
    lines = [
        f"# The layers of Samovar {versions}",
        "",
        "| region | function | architecture | ARN |",
        "|---|---|---|---|",
    ]
    for row in rows:
        variant = row.layer.variant
        function = f"OS-only, Python {variant.python}" if variant.bundle else f"python{variant.python}"
        lines.append(f"| {row.region} | {function} | {variant.arch} | `{row.arn}` |")
    return "\n".join(lines) + "\n"
