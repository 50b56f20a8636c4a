"""The Python without the GIL that `make freethreaded` builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT

PYTHON = ROOT / ".venv-freethreaded" / "bin" / "python"
PREFIX = ROOT / "build" / "python-freethreaded"


@pytest.fixture(scope="session")
def python() -> Path:
    """A virtual environment's, with what tests need."""
    if not (ROOT / ".venv-freethreaded" / ".done").exists():
        pytest.skip("there is no Python without the GIL: make freethreaded builds one, in some minutes")
    return PYTHON


@pytest.fixture(scope="session")
def prefix(python: Path) -> Path:
    """The folder that a layer can include."""
    return PREFIX
