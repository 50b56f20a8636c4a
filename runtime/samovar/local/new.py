"""`samovar new DIR`: a small project: template/, with the names of this folder, this Python and this machine."""

from __future__ import annotations

import argparse
import platform
import re
import shlex
import sys
from pathlib import Path

from samovar import __version__
from samovar.local.console import CommandError, say

TEMPLATE = Path(__file__).with_name("template")
REPOSITORY = "https://github.com/samovar-runtime/samovar"
NEWEST = (3, 15)  # of the Pythons that Lambda's managed runtimes have
_NO_CONTENT = {".git", ".venv", "venv"}  # what a folder may hold that somebody has prepared for a new project


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="a new or empty folder, which names the project")


def run(options: argparse.Namespace) -> int:
    """Write the project and say what to do next. Raises CommandError if something is there already."""
    folder: Path = options.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if found := sorted({entry.name for entry in folder.iterdir()} - _NO_CONTENT):
            raise CommandError(f"{folder} is not empty ({found[0]} is there): name a new or an empty folder", 2)
        _write(folder, _names(folder.resolve().name))
    except FileExistsError:
        raise CommandError(f"{folder} is a file: name a new or an empty folder", 2) from None
    except OSError as exc:
        raise CommandError(f"cannot write {exc.filename}: {exc.strerror}") from None
    say(f"A new project is in {folder}. What to do next:\n")
    if folder.resolve() != Path.cwd():
        say(f"  cd {shlex.quote(str(folder))}")
    say("  make run      the answer to event.json, under AWS's emulator")
    say("  make test     the tests, with and without the emulator")
    say("  make deploy   build the layer and deploy, with the SAM CLI")
    return 0


def _names(title: str) -> dict[str, str]:
    """Return what takes the place of each {{name}} in the template."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    if not slug[:1].isalpha():
        slug = f"function-{slug}".rstrip("-")
    return {
        "title": title,
        "slug": slug[:100].rstrip("-"),  # CloudFormation's limit for a stack is 128, Lambda's for a layer 140
        "python": "{}.{}".format(*min(sys.version_info[:2], NEWEST)),
        "arch": "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64",
        "version": __version__,
        "repository": REPOSITORY,
    }


def _write(folder: Path, names: dict[str, str]) -> None:
    for source in sorted(TEMPLATE.rglob("*")):
        if source.is_file() and "__pycache__" not in source.parts:
            target = folder / source.relative_to(TEMPLATE)
            target.parent.mkdir(exist_ok=True)
            text = re.sub(r"{{(\w+)}}", lambda found: names[found[1]], source.read_text(encoding="utf-8"))
            target.write_text(text, encoding="utf-8")
