"""Build the content of /opt: bootstrap, samovar, its two dependencies, bytecode, licences, optionally an interpreter.

    python layer/build.py --zip build/layer.zip …   the Lambda layer, for any Python and machine; layer.zip.mk calls it
    python layer/build.py --tree /opt --wheels DIR  the same files for an image, for the Python that runs this

Runs from a checkout. The same tools and sources always give the same bytes: entries are sorted, times and modes fixed,
and nothing in the zip depends on the machine that builds it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PLACE = "/opt"  # where Lambda unpacks a layer
RUNNING = "{}.{}".format(*sys.version_info)
MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}  # Lambda's name -> the name in wheels


def requirements(version: str) -> str:
    """Return requirements/runtime.txt without the lines whose markers exclude Python `version`.

    pip cannot do this: it evaluates markers for the Python that runs it, even with --python-version.
    """
    text = (ROOT / "requirements" / "runtime.txt").read_text()
    if version == RUNNING:
        return text
    from packaging.requirements import Requirement

    target = {"python_version": version, "python_full_version": f"{version}.0"}
    kept = []
    for line in text.replace("\\\n", "").splitlines():
        marker = Requirement(line.split("--hash")[0]).marker
        if marker is None or marker.evaluate(target):
            kept.append(line)
    return "\n".join(kept) + "\n"


def wheels(version: str, arch: str, glibc: tuple[int, int], cache: Path) -> Path:
    """Return a folder in `cache` with the pinned wheels for the target, fetched once, their hashes checked."""
    text = requirements(version)
    key = hashlib.sha256(f"{text} {version} {arch} {glibc}".encode()).hexdigest()[:16]
    folder = cache / key
    if folder.exists():
        return folder
    abi = f"cp{version.replace('.', '')}"
    platforms = [f"manylinux_{glibc[0]}_{n}_{MACHINES[arch]}" for n in range(5, glibc[1] + 1)]
    platforms.append(f"manylinux2014_{MACHINES[arch]}")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        listed = Path(temporary, "requirements.txt")
        listed.write_text(text)
        command = [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += [
            "--require-hashes",
            "--only-binary=:all:",
            "--requirement",
            str(listed),
            "--dest",
            f"{temporary}/wheels",
        ]
        command += ["--implementation=cp", f"--python-version={version}", f"--abi={abi}", "--abi=abi3", "--abi=none"]
        command += [f"--platform={name}" for name in platforms]
        # pip would add the values of these to the target's.
        environment = {k: v for k, v in os.environ.items() if k not in ("PIP_PLATFORM", "PIP_ABI")}
        if subprocess.run(command, env=environment).returncode:
            raise SystemExit(f"layer: pip found no wheels for Python {version} on {arch}; see its message above")
        Path(temporary, "wheels").rename(folder)
    return folder


def unpack(folder: Path, library: Path, licences: Path) -> list[str]:
    """Unpack the wheels in `folder` to `library`, their licences to `licences`; return the packages' names."""
    names = []
    for wheel in sorted(folder.glob("*.whl")):
        names.append(wheel.name.split("-")[0])
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.namelist():
                if ".dist-info/" not in entry:
                    archive.extract(entry, library)
                elif "/licenses/" in entry:
                    target = licences / names[-1] / Path(entry).name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(entry))
    return names


def compiler(
    version: str, arch: str, prefix: Path | None, given: str | None, image: str | None, tree: Path
) -> list[str]:
    """Return a command that starts Python `version` on this machine, to compile with. Raises SystemExit without one."""
    if given:
        return shlex.split(given)
    if version == RUNNING:
        return [sys.executable]
    candidates = [str(prefix / "bin" / f"python{version}")] if prefix else []
    candidates += [f"python{version}"]
    for candidate in candidates:
        with tempfile.TemporaryFile() as nothing:
            try:
                if not subprocess.run([candidate, "-c", ""], stderr=nothing).returncode:
                    return [candidate]
            except OSError:
                pass  # not found, or for another machine
    if image:
        user = f"{os.getuid()}:{os.getgid()}"
        mounts = ["--volume", f"{tree}:{tree}", "--volume", f"{ROOT}:{ROOT}:ro"]
        return ["docker", "run", "--rm", "--network=none", "--user", user, *mounts, image, f"python{version}"]
    raise SystemExit(
        f"layer: there is no Python {version} here to compile the bytecode, and a layer without bytecode compiles at "
        f"every cold start. Install python{version}, or set BYTECODE_PYTHON=COMMAND, a command that starts one, or "
        f"BYTECODE_IMAGE=IMAGE, a container image with python{version} on its PATH."
    )


def plain_files(tree: Path) -> None:
    """Copy our own files: bootstrap, the exec wrapper, the package without its local tools, the licence."""
    for source in (ROOT / "bootstrap", ROOT / "layer" / "samovar-exec"):
        shutil.copyfile(source, tree / source.name)
        (tree / source.name).chmod(0o755)
    package = ROOT / "runtime" / "samovar"
    for source in sorted(package.rglob("*")):
        way = source.relative_to(package)
        # Only files named like this: editors and tools leave copies, locks and bytecode.
        if way.parts[0] != "local" and re.fullmatch(r"(\w+/)*(\w+\.py|py\.typed)", way.as_posix()):
            target = tree / "samovar" / "lib" / "samovar" / way
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    licences = tree / "samovar" / "licences" / "samovar"
    licences.mkdir(parents=True)
    shutil.copyfile(ROOT / "LICENSE", licences / "LICENSE")


def compile_ahead(command: list[str], tree: Path, version: str) -> None:
    """Compile every source below `tree` with `command`, a Python of the target's minor version."""
    command = [*command, str(ROOT / "layer" / "bytecode.py"), str(tree), PLACE]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    if done.stdout.strip() != version:
        raise SystemExit(f"layer: {' '.join(command)} is Python {done.stdout.strip()}, the layer is for {version}")


def pack(tree: Path, target: Path) -> None:
    """Zip `tree`: entries sorted, dated 1980-01-01, with mode 755 for executable files and 644 for the rest."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(tree.rglob("*"), key=lambda path: path.relative_to(tree).as_posix()):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(tree).as_posix())
                entry.create_system = 3  # Unix: the mode is in the upper half of external_attr
                entry.external_attr = (0o100755 if os.access(path, os.X_OK) else 0o100644) << 16
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)


def parts(archive: Path) -> dict[str, list[int]]:
    """Return, for each part of the layer, the number of files, and their bytes zipped and unzipped."""
    found: dict[str, list[int]] = {}
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            way = entry.filename.split("/")
            match way:
                case ["samovar", "lib", name, *_]:
                    part = name.split(".")[0]
                case ["samovar", "python", *_, last]:
                    part = "python: " + (
                        "bytecode"
                        if last.endswith(".pyc")
                        else "shared objects"
                        if ".so" in last
                        else "interpreter"
                        if way[2] == "bin"
                        else "standard library"
                    )
                case ["samovar", "licences", *_]:
                    part = "licences"
                case _:
                    part = "bootstrap, samovar-exec"
            row = found.setdefault(part, [0, 0, 0])
            row[:] = row[0] + 1, row[1] + entry.compress_size, row[2] + entry.file_size
    return found


def report(archive: Path) -> None:
    """Print the size of each part of the zip."""
    rows = parts(archive)
    print(f"{'part':<26}{'files':>7}{'zipped, B':>14}{'unzipped, B':>14}")
    for name in sorted(rows):
        print(f"{name:<26}{rows[name][0]:>7}{rows[name][1]:>14,}{rows[name][2]:>14,}")
    files, _, unzipped = (sum(column) for column in zip(*rows.values(), strict=True))
    print(f"{archive.name:<26}{files:>7}{archive.stat().st_size:>14,}{unzipped:>14,}", flush=True)


def main() -> None:
    """Run the command line. A failure is a line on stderr and exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zip", type=Path, help="the layer to write")
    parser.add_argument("--sbom", type=Path, help="with --zip: the bill of materials to write beside it")
    parser.add_argument(
        "--tree", type=Path, help="instead of a zip, write the files to this folder, for the Python that runs this"
    )
    parser.add_argument("--wheels", type=Path, help="with --tree: the folder of downloaded wheels")
    parser.add_argument("--python-version", default=RUNNING)
    parser.add_argument("--arch", default="x86_64", choices=MACHINES)
    parser.add_argument(
        "--base", default="al2023", help="the system whose C library the layer must run with: al2023 or debian12"
    )
    parser.add_argument("--bundle", action="store_true", help="include an interpreter")
    parser.add_argument(
        "--python-prefix", type=Path, help="with --bundle: the interpreter to include, instead of one from uv"
    )
    parser.add_argument("--bytecode-python", help="a command that starts a Python of that version on this machine")
    parser.add_argument("--bytecode-image", help="a container image with a Python of that version")
    parser.add_argument("--cache", type=Path, default=ROOT / "build", help="the folder for downloads")
    asked = parser.parse_args()
    if asked.tree:
        image_tree(asked.tree, asked.wheels)
    else:
        layer_zip(asked)


def image_tree(tree: Path, folder: Path) -> None:
    """Write the files of an image's /opt, for the running interpreter."""
    tree.mkdir(parents=True, exist_ok=True)
    plain_files(tree)
    unpack(folder, tree / "samovar" / "lib", tree / "samovar" / "licences")
    compile_ahead([sys.executable], tree, RUNNING)


def layer_zip(asked: argparse.Namespace) -> None:
    """Build the layer as a zip, and audit it."""
    from layer import audit, interpreter, sbom

    if asked.base not in audit.BASES:
        raise SystemExit(f"layer: BASE={asked.base} is not known; use one of {', '.join(audit.BASES)}")
    version, arch = asked.python_version, asked.arch
    prefix = None
    if asked.bundle:
        prefix = (asked.python_prefix or interpreter.obtain(version, arch, asked.cache / "python")).resolve()
    asked.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.cache, prefix="layer-") as temporary:
        tree = Path(temporary).resolve()
        plain_files(tree)
        licences = tree / "samovar" / "licences"
        folder = asked.wheels or wheels(version, arch, audit.BASES[asked.base], asked.cache / "wheels")
        names = unpack(folder, tree / "samovar" / "lib", licences)
        print(
            f"layer: samovar and {', '.join(names)} for Python {version} on {arch}, with the C library of {asked.base}",
            flush=True,
        )
        if "orjson" not in names:
            print(
                f"layer: orjson has no wheel for Python {version}; samovar uses the interpreter's own JSON instead",
                flush=True,
            )
        full, came = None, []
        if prefix:
            target = tree / "samovar" / "python"
            came = interpreter.install(prefix, version, arch, target)
            (target / "bin" / "python3").chmod(0o755)
            licence = prefix / "lib" / f"python{version}" / "LICENSE.txt"
            (licences / "python").mkdir()
            shutil.copyfile(licence, licences / "python" / "LICENSE.txt")
            full = interpreter.full_version(prefix / "bin" / f"python{version}", version)
            print(f"layer: includes Python {full}" + (f" with {', '.join(came)}" if came else ""), flush=True)
        wrong = audit.binaries(tree, arch, asked.base) + audit.unzipped(tree)
        if not wrong:
            command = compiler(version, arch, prefix, asked.bytecode_python, asked.bytecode_image, tree)
            compile_ahead(command, tree, version)
        wrong += audit.no_builders_paths(tree, [tree, ROOT, *([prefix] if prefix else [])])
        asked.zip.parent.mkdir(parents=True, exist_ok=True)
        if not wrong and asked.sbom:
            libraries = [tree / "samovar" / "python" / "lib" / name for name in came]
            sbom.write(asked.sbom, requirements(version), ROOT / "pyproject.toml", full, libraries)
        if not wrong:
            pack(tree, asked.zip)
            wrong += audit.zipped(asked.zip.stat().st_size)
    if wrong:
        asked.zip.unlink(missing_ok=True)
        raise SystemExit("\n".join(f"layer: {line}" for line in wrong))
    report(asked.zip)


if __name__ == "__main__":
    main()
