"""The place where runtimes are measured: an interpreter of its own under build/, laid out as in a container image.

It has a copy of this interpreter's standard library and the installed distributions that the runtimes need, nothing
else: no .pth file, and no virtual environment whose configuration `site` would read. Every runtime is started by the
same binary in the same folder with the same variables. Samovar is beside it as in the layer (bootstrap, samovar/lib,
bytecode with unchecked hashes, the cold path in one file), and in site-packages for `python -m samovar`.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bench.output import CHECKOUT, RUNS
from samovar.local.layer import cold

DISTRIBUTIONS = (
    "awslambdaric",
    "simplejson",
    "snapshot-restore-py",
    "orjson",
    "urllib3",
    "boto3",
    "botocore",
    "jmespath",
    "python-dateutil",
    "s3transfer",
    "six",
)
_NOT_NEEDED = (
    "__pycache__",
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "tkinter",
    "turtledemo",
    "config-*",
)


@dataclass(frozen=True, slots=True)
class Stage:
    """The paths of what the benchmark starts."""

    python: Path
    bootstrap: Path
    task_root: Path
    peers: Path

    def environment(self, handler: str) -> dict[str, str]:
        """Return a function's environment variables, the same for every runtime except its own settings."""
        return {
            "PATH": f"{self.python.parent}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            "_HANDLER": handler,
            "LAMBDA_TASK_ROOT": str(self.task_root),
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_LAMBDA_FUNCTION_NAME": "bench",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/bench",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]bench",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        }


def stage(folder: Path | None = None) -> Stage:
    """Create the stage or update it: the interpreter once, Samovar and the handlers on every call."""
    folder = folder or RUNS
    folder.mkdir(parents=True, exist_ok=True)
    _lock(folder / "lock")
    prefix = folder / "python"
    key = _key()
    stamp = folder / "python.stamp"
    if not stamp.exists() or stamp.read_text() != key:
        shutil.rmtree(prefix, ignore_errors=True)
        _interpreter(prefix)
        stamp.write_text(key)
    library = prefix / sys.platlibdir / _version()
    _package(library / "site-packages" / "samovar", py_compile.PycInvalidationMode.TIMESTAMP)
    layer = folder / "opt"
    _package(layer / "samovar" / "lib" / "samovar", py_compile.PycInvalidationMode.UNCHECKED_HASH)
    cold.build(layer / "samovar" / "lib")
    bootstrap = layer / "bootstrap"
    shutil.copy2(CHECKOUT / "bootstrap", bootstrap)
    for name in ("handlers", "peers"):
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(CHECKOUT / "bench" / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        _compile(folder / name, py_compile.PycInvalidationMode.TIMESTAMP)
    return Stage(prefix / "bin" / "python3", bootstrap, folder / "handlers", folder / "peers")


def _lock(path: Path) -> None:
    """Lock the stage until this process ends: two benchmarks would change each other's files and figures."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"bench: waiting for another benchmark in {path.parent}", file=sys.stderr)
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _version() -> str:
    return f"python{sys.version_info[0]}.{sys.version_info[1]}"


def _base_interpreter() -> Path:
    return Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()


def _key() -> str:
    base = _base_interpreter()
    parts = [sys.version, str(base), str(base.stat().st_mtime_ns), Path(__file__).read_text()]
    parts += [f"{name} {metadata.version(name)}" for name in DISTRIBUTIONS if _installed(name)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return name != "orjson" and _missing(name)  # orjson has no wheel for every interpreter
    return True


def _missing(name: str) -> bool:
    raise SystemExit(
        f"bench: {name} is not installed in {sys.prefix}: run `make setup`, then .venv/bin/python -m bench"
    )


def _interpreter(prefix: Path) -> None:
    base = _base_interpreter()
    library = prefix / sys.platlibdir / _version()
    stdlib = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}))
    ignore = shutil.ignore_patterns(*_NOT_NEEDED)
    shutil.copytree(stdlib, library, ignore=ignore, copy_function=_link)
    binary = prefix / "bin" / "python3"
    binary.parent.mkdir(parents=True)
    shutil.copy2(base, binary)
    for shared in (Path(sys.base_prefix) / sys.platlibdir).glob(f"libpython{sys.version_info[0]}*.so*"):
        _link(shared, prefix / sys.platlibdir / shared.name)
    site_packages = library / "site-packages"
    site_packages.mkdir()
    for name in filter(_installed, DISTRIBUTIONS):
        install(name, site_packages)
    found = subprocess.run([binary, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, env={})
    if found.stdout.strip() != str(prefix):
        raise SystemExit(f"bench: the copy of {base} in {prefix} does not run: {found.stdout}{found.stderr}")
    _compile(library, py_compile.PycInvalidationMode.TIMESTAMP)


def install(name: str, target: Path) -> None:
    """Copy an installed distribution's files into a folder, without bytecode and scripts."""
    for file in metadata.files(name) or ():
        source = Path(str(file.locate()))
        if ".." not in file.parts and "__pycache__" not in file.parts and source.exists():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            _link(source, target / file)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(Path(source).resolve(), target)
    except OSError:
        shutil.copy2(source, target)


def _package(target: Path, mode: py_compile.PycInvalidationMode) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(CHECKOUT / "runtime" / "samovar", target, ignore=shutil.ignore_patterns("__pycache__", "local"))
    _compile(target, mode)


def _compile(folder: Path, mode: py_compile.PycInvalidationMode) -> None:
    # quiet=2, since packages contain templates that do not compile.
    compileall.compile_dir(
        folder,
        maxlevels=20,
        force=True,
        quiet=2,
        workers=0 if len(list(folder.iterdir())) > 60 else 1,
        invalidation_mode=mode,
    )
