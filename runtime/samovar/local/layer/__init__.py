"""`samovar layer`: the Lambda layer as a zip, its bill of materials and its checksums.

The build is in build.py; the tools it needs are pinned by hash and kept in a folder of their own (tools.py), so that
the same sources give the same bytes whoever builds them. The wheel carries what the layer needs in files/.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import sys
import tempfile
from pathlib import Path

from samovar.local.console import CommandError, say

RUNNING = "{}.{}".format(*sys.version_info)
BASES = ("al2023", "debian12")
ARCHITECTURES = ("x86_64", "arm64")
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "--python",
        metavar="3.X",
        help=f"the function's Python, as 3.13, or 3.13t with --bundle: without the GIL (default: this one, {RUNNING})",
    )
    parser.add_argument("--arch", metavar="ARCH", help="the function's architecture, x86_64 or arm64 (default: ours)")
    parser.add_argument(
        "--bundle", action="store_true", help="include an interpreter, for an OS-only function (provided.al2023)"
    )
    parser.add_argument(
        "--python-prefix",
        metavar="DIR",
        type=Path,
        help="with --bundle: a relocatable folder with bin/python3.X and lib/python3.X (default: uv fetches one)",
    )
    parser.add_argument(
        "--base", metavar="BASE", help="whose C library it must run with: al2023 (default, 2.34) or debian12 (2.36)"
    )
    parser.add_argument(
        "--bytecode-python", metavar="COMMAND", help="a command that starts a Python of that version here"
    )
    parser.add_argument("--bytecode-image", metavar="IMAGE", help="a container image with a Python of that version")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("build"), help="default: build")
    parser.add_argument(
        "--cache",
        metavar="DIR",
        type=Path,
        default=Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "samovar"),
        help="where downloads are kept (default: ~/.cache/samovar)",
    )


def run(options: argparse.Namespace) -> int:
    """Build the layer, and print the path of the zip. Raises CommandError."""
    python, arch, base = _python(options.python), _architecture(options.arch), options.base or BASES[0]
    free_threaded = python.endswith("t")
    if free_threaded and not options.bundle:
        raise CommandError(f"Lambda has no Python {python}, which has no GIL: give --bundle to include one", 2)
    if base not in BASES:
        raise CommandError(f"no base is called {base!r}: use {' or '.join(BASES)}", 2)
    if options.python_prefix and not options.bundle:
        raise CommandError("--python-prefix names the interpreter to include: give --bundle as well", 2)
    from samovar.local.layer import build

    for folder in (options.out, options.cache):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as exc:
            raise CommandError(
                f"cannot write to {folder}: {exc.strerror}; give another with --out or --cache"
            ) from None
    archive = options.out / name(options)
    bom = archive.with_suffix(".cdx.json")
    build.layer_zip(
        build.Order(
            version=python.removesuffix("t"),
            free_threaded=free_threaded,
            arch=arch,
            base=base,
            bundle=options.bundle,
            prefix=options.python_prefix,
            bytecode_python=options.bytecode_python,
            bytecode_image=options.bytecode_image,
            cache=options.cache.absolute(),
        ),
        archive,
        bom,
    )
    checksums(options.out / "SHA256SUMS", [archive, bom])
    print(archive)
    return 0


def name(options: argparse.Namespace) -> str:
    """Return the zip's name: layer.zip, or the whole of what it is for where anything of that was asked for."""
    if not (options.python or options.arch or options.base or options.bundle):
        return "layer.zip"
    parts = [f"python{_python(options.python)}", _architecture(options.arch)]
    parts += ["bundle"] if options.bundle else []
    parts += [options.base] if options.base not in (None, BASES[0]) else []
    return f"layer-{'-'.join(parts)}.zip"


def checksums(listed: Path, files: list[Path]) -> None:
    """Write the lines of `files` to `listed`, and keep those of other files that are still there."""
    known = [line.split() for line in listed.read_text().splitlines()] if listed.exists() else []
    lines = {file: digest for digest, file in known if (listed.parent / file).exists()}
    lines |= {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    listed.write_text("".join(f"{lines[file]}  {file}\n" for file in sorted(lines)))
    for file in files:
        say(f"{lines[file.name]}  {file.name}")


def _python(asked: str | None) -> str:
    found = re.fullmatch(r"(?:python)?3\.((\d+)t?)", asked or RUNNING)
    if not found or int(found[2]) < 11:
        raise CommandError(f"Samovar runs on Python 3.11 and later, and not on {asked}: give one as 3.13", 2)
    return f"3.{found[1]}"


def _architecture(asked: str | None) -> str:
    if asked is None:
        machine = platform.machine()
        if machine.lower() not in _MACHINES:
            raise CommandError(f"Lambda has no {machine}: give --arch x86_64 or --arch arm64", 2)
        return _MACHINES[machine.lower()]
    if asked not in ARCHITECTURES:
        raise CommandError(f"Lambda has no architecture {asked!r}: use {' or '.join(ARCHITECTURES)}", 2)
    return asked
