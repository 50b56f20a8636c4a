"""All contract tests on every Python that has a base image: each interpreter has differences of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.container import engine


@pytest.mark.parametrize("version", engine.BASES)
def test_the_contract_holds_on_every_python(client: Any, tmp_path: Path, version: str) -> None:
    """With `init`, since the processes that a case leaves behind would stay zombies if pytest were process 1."""
    image = engine.contract_image(client, version, tmp_path)
    environment = {"CI": os.environ.get("CI", "")}
    container = client.containers.run(image, ["-q", "tests/contract"], environment=environment, init=True, detach=True)
    try:
        status = container.wait(timeout=600)["StatusCode"]
        assert status == 0, container.logs().decode(errors="replace")
    finally:
        container.remove(force=True, v=True)
