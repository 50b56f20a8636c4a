"""The scripted Runtime API, as a user's own test takes it from the documentation."""

import textwrap
from pathlib import Path

import pytest

from samovar.local.testing import scripted_api

APP = """
def handler(event, context):
    return {"message": f"Hello, {event['name']}!"}
"""


def test_the_example_in_the_documentation_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert scripted_api.__doc__
    example = next(part for part in scripted_api.__doc__.split("\n\n") if part.startswith("    with "))
    exec(
        "import json, os, subprocess, sys\nfrom samovar.local.testing.scripted_api import *\n"
        + textwrap.dedent(example),
        {},
    )
