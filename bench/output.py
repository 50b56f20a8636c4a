"""Where figures go: every run writes below build/bench, and only `make bench-publish` changes what is tracked."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
RUNS = CHECKOUT / "build" / "bench"
PUBLISHED = CHECKOUT / "bench" / "results"


def arguments(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of `python -m NAME`, with the option that every benchmark has."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument(
        "--quick", action="store_true", default=bool(os.environ.get("QUICK")), help="few rounds; also QUICK=1"
    )
    return parser


def folder(quick: bool = False) -> Path:
    """Return where a run's figures go: those of a quick one beside those of a full one, never over them."""
    return RUNS / "quick" if quick else RUNS


def write(name: str, document: Mapping[str, object], to: Path) -> Path:
    """Write NAME.json to a folder and return its path."""
    to.mkdir(parents=True, exist_ok=True)
    path = to / f"{name}.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def shown(path: Path) -> str:
    """Return the path as a reader in the checkout would type it."""
    return str(path.relative_to(CHECKOUT)) if path.is_relative_to(CHECKOUT) else str(path)
