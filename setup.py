"""The README as PyPI shows it; everything else about the package is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

REPOSITORY = "https://github.com/samovar-runtime/samovar"


def readme() -> str:
    """Return README.md with absolute links and pictures, since PyPI has no files beside it and no anchors in it."""
    parts = Path("README.md").read_text(encoding="utf-8").split("```")
    link = re.compile(r"""(\]\(|(?:href|src|srcset)=")(?!\w+:)([^)"\s]+)""")
    parts[::2] = [link.sub(_absolute, part) for part in parts[::2]]  # between two fences is code
    return "```".join(parts)


def _absolute(link: re.Match[str]) -> str:
    before, target = link.groups()
    if target.startswith("#"):
        return f"{before}{REPOSITORY}{target}"
    return f"{before}{REPOSITORY}/{'raw' if target.endswith(('.svg', '.png')) else 'blob'}/main/{target}"


setup(long_description=readme(), long_description_content_type="text/markdown")
