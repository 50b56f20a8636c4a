"""The release of a tag: its notes, and the steps of .github/workflows/release.yml that run outside GitHub too."""

import hashlib
import re
import subprocess
import sys
import textwrap
from pathlib import Path

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
WORKFLOW = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")


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


def step(job: str) -> str:
    """Return the first step of a job that is more than one command."""
    text = WORKFLOW.partition(f"\n  {job}:\n")[2]
    found = re.search(r"- run: \|\n((?: {10}.*\n)+)", text)
    assert found
    return textwrap.dedent(found[1])


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """What the jobs before have uploaded, each with its checksums."""
    for folder, names in (
        ("packages", ["samovar-1.whl", "samovar-1.tar.gz"]),
        ("layers-3.13", ["layer-python3.13.zip"]),
    ):
        place = tmp_path / "built" / f"built-{folder}"
        place.mkdir(parents=True)
        for name in names:
            (place / name).write_text(name)
        lines = [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in names]
        (place / "SHA256SUMS").write_text("".join(lines))
    return tmp_path


def test_a_release_has_every_file_that_was_built_and_the_checksums_of_all(built: Path) -> None:
    subprocess.run(["bash", "-e", "-c", step("attest")], cwd=built, check=True)
    files = ["layer-python3.13.zip", "samovar-1.tar.gz", "samovar-1.whl"]
    assert sorted(path.name for path in (built / "release").iterdir()) == ["SHA256SUMS", *files]
    checked = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=built / "release", capture_output=True, text=True, check=True
    )
    assert checked.stdout == "".join(f"{name}: OK\n" for name in files)


def test_a_file_that_changed_on_its_way_is_not_released(built: Path) -> None:
    (built / "built" / "built-packages" / "samovar-1.whl").write_text("another")
    done = subprocess.run(["bash", "-e", "-c", step("attest")], cwd=built, capture_output=True, text=True)
    assert done.returncode == 1
    assert "samovar-1.whl: FAILED" in done.stdout


def test_the_workflow_runs_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"run: make ([a-z-]+)", WORKFLOW))
    assert named
    assert named <= targets
