"""tools/release_notes.py: a tag that fits the code gets its section of the changelog, any other one line."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tools.release_notes import notes

CHANGELOG = """# Changelog

## [Unreleased]

- Later.

## [0.2.0] - 2026-12-31

### Added

- A word.

## [0.1.0] - 2026-11-30

- The first.

[Unreleased]: https://example.com
"""


def test_the_notes_are_the_section_of_the_version() -> None:
    assert notes("v0.2.0", "0.2.0", CHANGELOG) == "### Added\n\n- A word."
    assert notes("v0.1.0", "0.1.0", CHANGELOG) == "- The first."


@pytest.mark.parametrize(
    ("tag", "version", "says"),
    [
        ("v0.2.0", "0.1.0", r"^the tag is v0.2.0 and samovar.__version__ is 0.1.0: the tag has to be v0.1.0$"),
        ("0.1.0", "0.1.0", r"^the tag is 0.1.0 and samovar.__version__ is 0.1.0: the tag has to be v0.1.0$"),
        ("v0.3.0", "0.3.0", r"^CHANGELOG.md has no section `## \[0.3.0\] - YYYY-MM-DD`$"),
    ],
)
def test_a_tag_that_cannot_be_released_is_refused(tag: str, version: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        notes(tag, version, CHANGELOG)


def test_a_refused_tag_ends_the_workflow_with_one_line() -> None:
    command = [sys.executable, str(ROOT / "tools" / "release_notes.py"), "v0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert done.stderr.startswith("release_notes: the tag is v0.0.0 and samovar.__version__ is ")
