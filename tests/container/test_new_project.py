"""A project of `samovar new`, deployed as far as it goes without an account: by the SAM CLI, and as an image."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.container import engine
from tests.container.engine import Environment
from tests.container.test_sam import sam


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "my new-function"
    subprocess.run([Path(sys.executable).with_name("samovar"), "new", folder], check=True)
    return folder


def test_its_template_is_valid(project: Path) -> None:
    done = sam("validate", "--lint", folder=project)
    assert "is a valid SAM Template" in done.stdout + done.stderr


def test_its_image_answers(client: Any, samovar_image: Callable[[str], str], project: Path) -> None:
    arguments = {"SAMOVAR": samovar_image("3.11")}
    image = engine.build(client, project, "samovar-test/new", buildargs=arguments)
    with Environment(client, image) as environment:
        assert environment.invoke(json.loads((project / "event.json").read_text())) == {"message": "Bonjour, Ada!"}
