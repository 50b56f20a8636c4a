"""What pyproject.toml cannot say: the wheel's copies of the repository's files, and the README as PyPI shows it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

REPOSITORY = "https://github.com/samovar-runtime/samovar"
# Copied to samovar/local/repository, where samovar.local.sources finds them; an editable install reads them in place.
COPIED = ["handlers"]


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "samovar", "local", "repository")
        shutil.rmtree(target, ignore_errors=True)  # a build in place may find what an earlier one left
        for name in COPIED:
            for source in [Path(name), *Path(name).rglob("*")]:
                if source.is_file() and "__pycache__" not in source.parts:
                    (target / source).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(source, target / source)  # with its mode: a companion is a program


def readme() -> str:
    """Return README.md with absolute links and pictures, since PyPI has no files beside it and no anchors in it."""
    parts = Path("README.md").read_text(encoding="utf-8").split("```")
    parts[::2] = [re.sub(r"""(\]\(|(?:href|src|srcset)=")(?!\w+:)([^)"\s]+)""", _absolute, part) for part in parts[::2]]
    return "```".join(parts)


def _absolute(link: re.Match[str]) -> str:
    before, target = link.groups()
    if target.startswith("#"):
        return f"{before}{REPOSITORY}{target}"
    return f"{before}{REPOSITORY}/{'raw' if target.endswith(('.svg', '.png')) else 'blob'}/main/{target}"


setup(cmdclass={"build_py": BuildPy}, long_description=readme(), long_description_content_type="text/markdown")
