"""Print the changelog's section of a version, for the release of a tag: python tools/release_notes.py v0.1.0

Fails where the tag is not the version of the code, or the changelog has no section for it.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def notes(tag: str, version: str, changelog: str) -> str:
    """Return the text below the version's heading, which is `## [0.1.0] - 2026-01-31`. Raises ValueError."""
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag} and samovar.__version__ is {version}: the tag has to be v{version}")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    found = re.search(rf"{heading}\n+(.+?)\s*(?=^## |^\[[^]]+\]: |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError(f"CHANGELOG.md has no section `## [{version}] - YYYY-MM-DD`")
    return found[1]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "runtime"))
    from samovar import __version__

    try:
        print(notes(sys.argv[1], __version__, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")))
    except ValueError as error:
        sys.exit(f"release_notes: {error}")
