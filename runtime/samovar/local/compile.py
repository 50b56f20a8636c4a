"""`samovar compile DIR`: bytecode for a deployment folder, validated by the source's hash and not by its time.

A zip rounds modification times to two seconds, so ordinary bytecode is stale once it is unpacked in /var/task. That
folder is read-only, so everything would be compiled again at every cold start. This file is also run as a script by
another interpreter (`--python`), so it imports nothing of Samovar.
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

_CHECKED_HASH = 0b11  # PEP 552: the flags of a .pyc that holds its source's hash, which is compared when it is loaded


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder to be deployed to /var/task")
    parser.add_argument(
        "--python", metavar="COMMAND", help="the interpreter to compile for, e.g. python3.13 (default: this one)"
    )


def run(options: argparse.Namespace) -> int:
    """Return the exit status: 1 if a file does not compile, 2 if there is no file or no interpreter to compile it."""
    from samovar.local import console  # not above, since another interpreter runs this file

    if not options.folder.is_dir():
        raise console.CommandError(f"{options.folder} is not a folder", 2)
    # PYTHON* variables change the bytecode or its folder, and the function's environment will not have them. The order
    # of a frozenset's members depends on the hash seed: with a fixed one, the same sources give the same bytes.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1", "PYTHONSAFEPATH": "1"}
    command = [options.python or sys.executable, __file__, options.folder]
    try:
        with console.working(f"compiling {options.folder}"):
            return subprocess.run(command, env=environment, check=False).returncode
    except OSError as exc:
        raise console.CommandError(f"cannot run {options.python}: {exc.strerror}", 2) from None


def main(folder: Path) -> int:
    """Compile what is not up to date for the running interpreter, print a summary and return the exit status."""
    compiled = kept = failed = 0
    for source in _sources(folder):
        if up_to_date(source):
            kept += 1
            continue
        # The path on Lambda, for tracebacks; the import system then need not correct it.
        target = f"/var/task/{source.relative_to(folder).as_posix()}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mode = py_compile.PycInvalidationMode.CHECKED_HASH
                py_compile.compile(str(source), str(cached(source)), target, doraise=True, invalidation_mode=mode)
        except py_compile.PyCompileError as exc:
            failed += 1
            _print_failure(source, exc.exc_value)
        except OSError as exc:
            failed += 1
            _print_failure(source, exc)
        else:
            compiled += 1
    version = sys.version.partition(" ")[0]
    if not compiled + kept + failed:
        print(f"samovar compile: there is no .py file in {folder}", file=sys.stderr)
        return 2
    failures = f", {failed} failed" if failed else ""
    print(f"{compiled} compiled, {kept} up to date{failures}: bytecode for Python {version}, validated by hash")
    return 1 if failed else 0


def cached(source: Path) -> Path:
    """Return where Python on Lambda looks for the bytecode, whatever this machine's PYTHON* variables say."""
    return source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"


def up_to_date(source: Path) -> bool:
    """Return whether the source has bytecode for the running interpreter that is valid by its hash."""
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
            if name.endswith(".py") and not name.startswith("."):  # .#app.py is an editor's lock
                yield Path(where, name)


def _print_failure(source: Path, exc: BaseException) -> None:
    if isinstance(exc, SyntaxError) and exc.lineno:
        print(f"{source}:{exc.lineno}: {type(exc).__name__}: {exc.msg}", file=sys.stderr)
    else:
        print(f"{source}: {type(exc).__name__}: {exc}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
