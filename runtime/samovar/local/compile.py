"""`samovar compile DIR`: bytecode for a deployment folder, checked against the source's hash and not its time.

A zip rounds modification times to two seconds, so bytecode of the usual kind is stale once it is unpacked in
/var/task; that is read-only, and everything would be compiled again at every cold start. Also run as a script by
another interpreter (`--python`): imports nothing of Samovar.
"""

from __future__ import annotations

import argparse
import os
import py_compile
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path

_CHECKED_HASH = 0b11  # PEP 552: the flags of a .pyc that holds its source's hash and is held against it when loaded


def arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's arguments."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder that will be /var/task")
    parser.add_argument(
        "--python", metavar="COMMAND", help="the interpreter to compile for, e.g. python3.13 (default: this one)"
    )


def run(options: argparse.Namespace) -> int:
    """Exit status 1 when a file does not compile, 2 when there is nothing to compile or nobody to do it."""
    if not options.folder.is_dir():
        print(f"samovar compile: {options.folder} is not a folder", file=sys.stderr)
        return 2
    # Variables of this interpreter (assertions, positions, PYTHONPYCACHEPREFIX) are not those of the function's. The
    # order of a frozen set's members depends on the seed: with a fixed one the same sources make the same bytes.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1", "PYTHONSAFEPATH": "1"}
    command = [options.python or sys.executable, __file__, options.folder]
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    except OSError as exc:
        print(f"samovar compile: cannot run {options.python}: {exc.strerror}", file=sys.stderr)
        return 2


def main(folder: Path) -> int:
    """Compiles what is not up to date, for the running interpreter; says what it did. The result is the exit status."""
    compiled = kept = failed = 0
    for source in _sources(folder):
        if up_to_date(source):
            kept += 1
            continue
        # What a traceback shows, and what the import system need not correct: where the file will be.
        place = f"/var/task/{source.relative_to(folder).as_posix()}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mode = py_compile.PycInvalidationMode.CHECKED_HASH
                py_compile.compile(str(source), str(cached(source)), place, doraise=True, invalidation_mode=mode)
        except py_compile.PyCompileError as exc:
            failed += 1
            _say_failed(source, exc.exc_value)
        except OSError as exc:
            failed += 1
            _say_failed(source, exc)
        else:
            compiled += 1
    version = sys.version.partition(" ")[0]
    if not compiled + kept + failed:
        print(f"samovar compile: no .py file in {folder}", file=sys.stderr)
        return 2
    failures = f", {failed} failed" if failed else ""
    print(f"{compiled} compiled, {kept} up to date{failures}: bytecode for Python {version}, checked by hash")
    return 1 if failed else 0


def cached(source: Path) -> Path:
    """Where an interpreter of the running version looks for the source's bytecode in Lambda, whatever is set here."""
    return source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"


def up_to_date(source: Path) -> bool:
    """Whether the source has bytecode for the running interpreter that is valid by its hash."""
    try:
        with cached(source).open("rb") as file:
            head = file.read(16)
        return head == MAGIC_NUMBER + _CHECKED_HASH.to_bytes(4, "little") + source_hash(source.read_bytes())
    except OSError:
        return False


def _sources(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
        for name in sorted(files):
            if name.endswith(".py") and not name.startswith("."):  # .#app.py is the lock of an editor
                yield Path(where, name)


def _say_failed(source: Path, exc: BaseException) -> None:
    if isinstance(exc, SyntaxError) and exc.lineno:
        print(f"{source}:{exc.lineno}: {type(exc).__name__}: {exc.msg}", file=sys.stderr)
    else:
        print(f"{source}: {type(exc).__name__}: {exc}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
