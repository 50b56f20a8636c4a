"""The tools of the build, and pip: fetched once, each file checked against its hash, apart from what is installed.

They are not dependencies of samovar, and there is no extra for them: only pinned tools give the same bytes everywhere,
and they must not meet the versions in the user's environment.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from samovar.local.console import CommandError, working

FILES = Path(__file__).resolve().parent / "files"
# What the user has set for other purposes: pip would install elsewhere, or add these to the target's platforms.
_OURS = ("PIP_ABI", "PIP_PLATFORM", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_ROOT", "PIP_TARGET", "PIP_USER")


def fetch(name: str, cache: Path) -> Path:
    """Return a folder in `cache` with the packages that files/NAME.txt pins, and their programs in bin/.

    Raises CommandError if pip cannot fetch them.
    """
    pins = FILES / f"{name}.txt"
    key = hashlib.sha256(pins.read_bytes()).hexdigest()[:12]
    folder = cache / f"{name}-{sys.implementation.cache_tag}-{platform.machine()}-{key}"
    if not folder.exists():
        with working(f"fetching the {name.replace('-', ' ')}"), made(folder) as temporary:
            options: list[str | Path] = [
                "--no-compile",
                "--no-deps",
                "--require-hashes",
                "--target",
                temporary,
                "--requirement",
                pins,
            ]
            if pip(cache, "install", *options):
                raise CommandError(f"pip could not fetch the {name.replace('-', ' ')}: see its message above")
    return folder


def pip(cache: Path, *arguments: str | Path) -> int:
    """Run pip and return its exit status: the running Python's, or else one in a virtual environment in `cache`."""
    python = Path(sys.executable)
    if find_spec("pip") is None:
        venv = cache / f"pip-{sys.implementation.cache_tag}"
        if not venv.exists():
            if find_spec("ensurepip") is None:
                raise CommandError(
                    f"{sys.executable} has neither pip nor venv, which Debian and Ubuntu keep in packages of their own:"
                    f" apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
                )
            with made(venv) as temporary:
                subprocess.run([sys.executable, "-I", "-m", "venv", temporary], check=True)
        python = venv / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    command = [python, "-I", "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, env=environment, stdout=sys.stderr.fileno()).returncode


@contextmanager
def made(folder: Path) -> Iterator[Path]:
    """Give the block a folder to fill, which becomes `folder` once it is whole, also where two processes make it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        whole = Path(temporary, folder.name)
        yield whole
        try:
            whole.rename(folder)
        except OSError:
            if not folder.exists():
                raise
