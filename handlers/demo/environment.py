"""Where the demo's handlers are, and the environment variables they run with."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HANDLERS = ROOT / "handlers"
BOOTSTRAP = str(ROOT / "bootstrap")
# The virtual environment's programs (python3, go) first.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def variables(handler: str) -> dict[str, str]:
    """Return the environment variables that run this handler."""
    return {"PATH": PATH, "_HANDLER": handler, "LAMBDA_TASK_ROOT": str(HANDLERS)}
