"""From `pip install` to the first answer of one's own handler: `python -m bench.first_answer` prints the seconds.

A new user's way, with nothing cached: the wheel of this checkout in an empty virtual environment, its dependencies as
requirements/dev.txt pins them, `samovar new`, `samovar run`. The index, and the network to it, count.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bench.report import about, machine
from tests.container.engine import ROOT, pinned

TARGET = 0.6  # seconds from `samovar run` to its answer, once the emulator is there
REPEATED = 9  # times that `samovar run` is measured once everything is there


class User:
    """Somebody with an empty virtual environment, an empty home and a folder to work in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "venv" / "bin"
        hidden = ("AWS_", "LAMBDA_", "MAKE", "MFLAGS", "PIP_", "PYTEST", "PYTHON", "SAMOVAR_", "VIRTUAL_ENV", "XDG_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        path = f"{self.programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        caches = {"XDG_CACHE_HOME": str(folder / "cache"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        self.environment = {**kept, **caches, "PATH": path}
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)

    def run(self, *command: str | Path, folder: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of the virtual environment in `folder`, and return what it did."""
        program = shutil.which(command[0], path=self.environment["PATH"]) or command[0]
        given = {"env": self.environment, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True, **options}
        return subprocess.run([program, *command[1:]], cwd=folder or self.folder, **given)

    def install(self, wheel: Path) -> None:
        """Install `samovar[local]` from the wheel; pip checks every file against its hash."""
        listed = self.folder / "requirements.txt"
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        own = f"samovar[local] @ {wheel.as_uri()} --hash=sha256:{digest}\n"
        listed.write_text(own + pinned(*sorted(_dependencies(requires("samovar") or (), "local"))))
        self.succeed("python", "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", listed)

    def succeed(self, *command: str | Path, folder: Path | None = None) -> str:
        """Run a command that has to succeed, and return its stdout."""
        done = self.run(*command, folder=folder)
        if done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


def build(target: Path, checkout: Path = ROOT) -> Path:
    """Build the sdist of a checkout, where that writes, and a wheel from it; return the wheel."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return next(target.glob("*.whl"))


def _dependencies(lines: Iterable[str], extra: str = "") -> set[str]:
    """Return the names of all packages that these requirements bring, in this environment."""
    found: set[str] = set()
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            name = canonicalize_name(requirement.name)
            found |= {name} | _dependencies(requires(name) or ())
    return found


def main() -> int:
    """Go the way once, then repeat its last step, and print a line for each."""
    argparse.ArgumentParser(prog="python -m bench.first_answer", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="samovar-first-") as folder:
        user = User(Path(folder).resolve())
        wheel = build(user.folder / "dist")
        event = ("samovar", "run", "app.handler", "--task-root", "src", "--event", "event.json")
        project = user.folder / "hello"
        steps: list[tuple[str, Callable[[], object]]] = [
            ("pip install 'samovar[local]'", lambda: user.install(wheel)),
            ("samovar new hello", lambda: user.succeed("samovar", "new", "hello")),
            ("samovar run, which fetches the emulator", lambda: user.succeed(*event, folder=project)),
        ]
        taken = [(title, _seconds(step)) for title, step in steps]
        for title, seconds in (*taken, ("from pip install to the first answer", sum(each for _, each in taken))):
            print(f"{title:<44}{seconds:>6.1f} s", flush=True)
        again = [_seconds(steps[-1][1]) for _ in range(REPEATED)]
        median = statistics.median(again)
        print(f"{f'samovar run to its answer, median of {REPEATED}':<44}{median:>6.2f} s", end="; ")
        print(f"at most {TARGET} s wanted: {'met' if median <= TARGET else 'missed'}")
    print(about(machine()))
    return 0


def _seconds(step: Callable[[], object]) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
