"""The interpreter in a bundled layer: its origin, the parts of it that are used, and the shared libraries they need.

Knows nothing of samovar or of zips. A prefix is a relocatable folder with bin/python3.X and lib/python3.X. `python` is
that 3.X, or 3.Xt for an interpreter without the GIL, which has the t in these names.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from samovar.local.console import CommandError, working
from samovar.local.layer import elf

TRIPLETS = {"x86_64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
# Every base has these: the loader, the parts of the C library, the compiler's runtime. All others are included.
BASE_LIBRARIES = re.compile(r"(lib(c|m|dl|rt|util|pthread|resolv|anl)|ld-linux-\S+|libgcc_s)\.so(\.\d+)?")
LEFT_OUT = {  # folders and files, anywhere in lib/python3.X
    *("test", "tests", "idle_test", "idlelib", "tkinter", "turtledemo", "turtle.py", "ensurepip"),
    *("site-packages", "dist-packages", "__pycache__", "EXTERNALLY-MANAGED"),
}
# Extension modules: the interpreter's own tests, tkinter, what needs a terminal, a sound card or NIS, and those of dbm
# whose libraries ask for the source of the programs that use them (GPL-3, Sleepycat); dbm.dumb and sqlite3 are left.
EXTENSIONS_LEFT_OUT = re.compile(
    r"(_test.*|_ctypes_test|_xxtest.*|xx.*|_tkinter|readline|_curses(_panel)?|ossaudiodev|nis|_g?dbm)"
)


def obtain(python: str, arch: str, cache: Path, uv: Path) -> Path:
    """Return a python-build-standalone prefix, which `uv python install` fetches into `cache` once.

    Raises CommandError if uv cannot fetch it.
    """
    kind = python.replace("t", "+freethreaded")
    name = f"cpython-{kind}-linux-{'aarch64' if arch == 'arm64' else arch}-gnu"
    # uv unpacks to cpython-3.13.9-linux-x86_64-gnu and links cpython-3.13-… to it.
    link = cache / name
    if not link.exists():
        command: list[str | Path] = [uv, "python", "install", "--no-bin", "--install-dir", cache, name]
        with working(f"fetching {name}"):
            failed = subprocess.run(command, stdout=sys.stderr.fileno()).returncode
        if failed or not link.exists():
            raise CommandError(
                f"uv could not fetch {name}: give the folder of a relocatable Python {python} for {arch}"
                f" (--python-prefix, in make PYTHON_PREFIX=), or try again where the releases of"
                f" python-build-standalone can be reached"
            )
    return link.resolve()


def full_version(python: Path, version: str) -> str:
    """Return the interpreter's full version, as 3.13.9, read from the binary, which may be for another machine."""
    found = re.search(rb"\x00(%s\.\d+\w*)\+?\x00" % re.escape(version.encode()), python.read_bytes())
    return found[1].decode() if found else version


def wanted(relative: Path) -> bool:
    """Return whether a file of lib/python3.X belongs in a layer."""
    if LEFT_OUT.intersection(relative.parts) or relative.parts[0].startswith("config-"):
        return False
    if relative.suffix in (".a", ".o", ".h", ".c", ".exe"):
        return False
    return not (relative.suffix == ".so" and EXTENSIONS_LEFT_OUT.fullmatch(relative.name.split(".")[0]))


def install(prefix: Path, python: str, arch: str, target: Path, patchelf: Path) -> dict[str, Path]:
    """Copy what a function needs of the interpreter at `prefix` to `target`.

    Returns the shared libraries that came with it, by name, and where each was found. Raises CommandError.
    """
    program, library = prefix / "bin" / f"python{python}", prefix / "lib" / f"python{python}"
    if (prefix / "lib" / f"python{python}t").is_dir() and not library.is_dir():
        raise CommandError(f"the Python {python} in {prefix} has no GIL: ask for {python}t, or give another prefix")
    if not program.is_file():
        raise CommandError(f"there is no bin/python{python} in {prefix}: give its version, or another prefix")
    if not (library / "LICENSE.txt").is_file():
        raise CommandError(
            f"there is no lib/python{python}/LICENSE.txt in {prefix}: a layer must carry Python's licence"
        )
    copied = [target / "bin" / "python3"]
    copied[0].parent.mkdir(parents=True)
    shutil.copyfile(program, copied[0])
    for source in sorted(library.rglob("*")):
        relative = source.relative_to(library)
        if source.is_file() and wanted(relative):  # not a broken link, as Debian's sitecustomize.py is
            copied.append(target / "lib" / f"python{python}" / relative)
            copied[-1].parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copied[-1])
    places = [prefix / "lib", prefix / "lib64", prefix / "lib" / TRIPLETS[arch]]
    return bring_libraries(places, arch, copied, target / "lib", patchelf)


def bring_libraries(places: list[Path], arch: str, files: list[Path], target: Path, patchelf: Path) -> dict[str, Path]:
    """Copy to `target` the shared libraries that `files` need and no base has, and make each file search there.

    The path is written into the files (DT_RPATH, relative to the file), so that the function's LD_LIBRARY_PATH is
    neither needed nor able to interfere. Raises CommandError if a library is not found.
    """
    if platform.machine().replace("aarch64", "arm64") == arch:
        places = places + [
            Path(p)
            for p in (f"/usr/lib/{TRIPLETS[arch]}", f"/lib/{TRIPLETS[arch]}", "/usr/lib64", "/lib64", "/usr/lib")
        ]
    came: dict[str, Path] = {}
    queue = list(files)
    for file in queue:  # grows during the loop: libraries need libraries
        found = elf.read(file)
        lacking = [name for name in found.needed if not BASE_LIBRARIES.fullmatch(name)] if found else []
        for name in lacking:
            if name in came:
                continue
            source = next((p / name for p in places if (p / name).is_file()), None)
            if source is None:
                raise CommandError(f"{file.name} needs {name}, which is in none of {', '.join(map(str, places))}")
            shutil.copyfile(source, target / name)
            came[name] = source
            queue.append(target / name)
        if lacking:
            up = "../" * len(file.parent.relative_to(target.parent).parts)
            subprocess.run([patchelf, "--force-rpath", "--set-rpath", f"$ORIGIN/{up}lib", file], check=True)
    return came
