"""Build the content of /opt: bootstrap, samovar, its two dependencies, bytecode, optionally an interpreter.

The same tools and sources always give the same bytes, from a checkout or from an installed package: nothing in the
zip depends on the machine that builds it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from samovar.local.console import CommandError, say, working
from samovar.local.layer import RUNNING, archive, distinfo, tools, wheels

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent.parent
PLACE = "/opt"  # where Lambda unpacks a layer


@dataclass(frozen=True)
class Order:
    """A layer that was asked for. `wheels`: a folder with its packages, instead of those that pip fetches.

    free_threaded: whether the included interpreter has no GIL; the files of such a one are named python3.Xt.
    """

    version: str
    arch: str
    cache: Path
    base: str = "al2023"
    bundle: bool = False
    prefix: Path | None = None
    bytecode_python: str | None = None
    bytecode_image: str | None = None
    wheels: Path | None = None
    free_threaded: bool = False

    @property
    def name(self) -> str:
        return f"{self.version}t" if self.free_threaded else self.version


def layer_zip(order: Order, target: Path, bom: Path) -> None:
    """Build the layer as the zip `target`, audit it and write its bill of materials. Raises CommandError.

    Puts the folder of the build tools on sys.path.
    """
    packages = tools.fetch("layer-tools", order.cache)
    sys.path.insert(0, str(packages))
    from samovar.local.layer import audit, interpreter, libraries, sbom

    version, arch = order.version, order.arch
    programs, prefix = Path(), None
    if order.bundle:
        programs = tools.fetch("bundle-tools", order.cache) / "bin"
        prefix = order.prefix or interpreter.obtain(order.name, arch, order.cache / "python", programs / "uv")
        prefix = prefix.resolve()
    with tempfile.TemporaryDirectory(dir=order.cache, prefix="layer-") as temporary:
        tree = Path(temporary).resolve()
        plain_files(tree)
        library, place = tree / "samovar" / "lib", tree / "samovar" / "python"
        folder = order.wheels or wheels.fetch(order.name, arch, audit.BASES[order.base], order.cache / "wheels")
        brought = wheels.unpack(folder, library)
        names = [wheel.name.split("-")[0] for wheel in brought]
        say(f"samovar and {', '.join(names)} for Python {order.name} on {arch}, with the C library of {order.base}")
        if "orjson" not in names:
            say(f"orjson has no wheel for Python {order.name}; samovar uses the interpreter's own JSON instead")
        parts = sbom.packages(library, brought)
        if prefix:
            came = interpreter.install(prefix, order.name, arch, place, programs / "patchelf")
            # Elastic's exec wrapper, for one, is a script of `python`. A link in a zip is not one everywhere.
            (place / "bin" / "python").write_text('#!/bin/sh\nexec "${0%/*}/python3" "$@"\n')
            for name in ("python", "python3"):
                (place / "bin" / name).chmod(0o755)
            python = f"python{order.name}"
            full = interpreter.full_version(prefix / "bin" / python, version)
            say(f"includes Python {full}" + (f" with {', '.join(sorted(came))}" if came else ""))
            licence = (place / "lib" / python / "LICENSE.txt").read_text()
            package = libraries.package_of(prefix / "bin" / python, arch)
            brings = libraries.collect(place, came, arch)
            bundled = [sbom.cpython(full, licence, package.purl if package else None), *map(sbom.library, brings)]
            (place / "sbom.cdx.json").write_text(sbom.document(bundled))
            parts += bundled
        wrong = audit.binaries(tree, arch, order.base) + audit.unzipped(tree)
        if not wrong:
            compile_ahead(compiler(order, prefix, tree), tree, version)
        ours = [tree, PACKAGE.parent, order.cache.resolve(), *([prefix] if prefix else [])]
        # Every system has /usr, and names it.
        wrong += audit.no_builders_paths(tree, [path for path in ours if len(path.parts) > 2])
        if not wrong:
            archive.pack(tree, target)
            wrong = audit.zipped(target.stat().st_size)
    if wrong:
        target.unlink(missing_ok=True)
        for line in wrong[:-1]:
            say(f"samovar layer: {line}")
        raise CommandError(wrong[-1])
    what = {
        "python": order.name,
        "architecture": arch,
        "base": order.base,
        "interpreter": "included" if prefix else "none",
    }
    root = sbom.artefact(target.name, sbom.file_digest(target), parts, what)
    bom.write_text(sbom.document(parts, root))
    archive.report(target)
    say(f"licences: {sbom.together(parts)}")


def plain_files(tree: Path) -> None:
    """Copy our own files: bootstrap, the exec wrapper, the package without its local tools, its .dist-info."""
    for name in ("bootstrap", "samovar-exec"):
        shutil.copyfile(tools.FILES / name, tree / name)
        (tree / name).chmod(0o755)
    for source in sorted(PACKAGE.rglob("*")):
        way = source.relative_to(PACKAGE)
        # Only files named like this: editors and tools leave copies, locks and bytecode.
        if way.parts[0] != "local" and re.fullmatch(r"(\w+/)*(\w+\.py|py\.typed)", way.as_posix()):
            target = tree / "samovar" / "lib" / "samovar" / way
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    distinfo.write_own(tree / "samovar" / "lib")


def compiler(order: Order, prefix: Path | None, tree: Path) -> list[str]:
    """Return a command that starts the layer's Python on this machine, to compile with. Raises CommandError."""
    if order.bytecode_python:
        return shlex.split(order.bytecode_python)
    if order.version == RUNNING:
        return [sys.executable]
    name = f"python{order.name}"
    for candidate in [*([str(prefix / "bin" / name)] if prefix else []), name]:
        with tempfile.TemporaryFile() as nothing:
            try:
                if not subprocess.run([candidate, "-c", ""], stderr=nothing).returncode:
                    return [candidate]
            except OSError:
                pass  # not found, or for another machine
    if order.bytecode_image:
        user = f"{os.getuid()}:{os.getgid()}"
        mounts = ["--volume", f"{tree}:{tree}", "--volume", f"{HERE}:{HERE}:ro"]
        return ["docker", "run", "--rm", "--network=none", "--user", user, *mounts, order.bytecode_image, name]
    raise CommandError(
        f"there is no Python {order.version} here to compile the bytecode, without which every cold start would"
        f" compile it: install {name}, or give a command that starts one (--bytecode-python, in make BYTECODE_PYTHON=)"
        f" or a container image that has one (--bytecode-image, BYTECODE_IMAGE=)"
    )


def compile_ahead(command: list[str], tree: Path, version: str) -> None:
    """Compile every source below `tree` with `command`, a Python of the target's minor version."""
    whole = [*command, str(HERE / "bytecode.py"), str(tree), PLACE]
    try:
        with working(f"compiling with {command[0]}"):
            done = subprocess.run(whole, stdout=subprocess.PIPE, text=True)
    except OSError as exc:
        raise CommandError(f"cannot run {command[0]}: {exc.strerror}") from None
    if done.returncode:
        raise CommandError(f"{' '.join(command)} could not compile the layer: see its message above")
    if done.stdout.strip() != version:
        raise CommandError(f"{' '.join(command)} is Python {done.stdout.strip()}, the layer is for {version}")
