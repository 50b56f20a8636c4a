"""Where the examples are, and how each one is started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import samovar

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "samovar", "demo")
HANDLERS = Path(__file__).with_name("handlers").resolve()  # a link in a checkout, files in the wheel
# What `bootstrap` becomes once it has found an interpreter: this one.
RUNTIME = [sys.executable, "-S", "-u", str(Path(samovar.__file__).with_name("bootstrap.py"))]
# The programs beside the interpreter (python3, go) first.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def variables(handler: str) -> dict[str, str]:
    """Return the environment variables that run this handler."""
    return {"PATH": PATH, "_HANDLER": handler, "LAMBDA_TASK_ROOT": str(HANDLERS)}
