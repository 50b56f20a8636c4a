"""Set up sys.path, .pth files and PYTHONPATH as AWS's own bootstrap.py does, and the part of `site` that is needed.

`bootstrap` starts the interpreter with -S, because `site` would cost every cold start time and is mostly there for
things that an environment does not have. Where one of them exists (a .pth file, sitecustomize, a user's site-packages,
Debian's layout), the real site runs. A process that multiprocessing spawns inherits -S and this sys.path. Imports
nothing of the package.
"""

import posix
import sys
from _io import FileIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LAYERS = "/opt/python"
_OF_LAYERS = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}"
_LIBRARY = f"{_OF_LAYERS}t" if "t" in sys.abiflags else _OF_LAYERS  # the interpreter's; python3.13t has no GIL


def set_up_sys_path(package_root: str = "") -> None:
    """Put the function's folder first, then layers, the managed runtime's folders and the interpreter's own, and last
    package_root, the folder that holds Samovar. A PYTHONPATH of the function's replaces the layers.
    """
    if sys.flags.no_site:
        _site()
    environ = posix.environ
    own_path = b"PYTHONPATH" in environ
    task_root, runtime_dir = (environ.get(name, b"").decode() for name in (b"LAMBDA_TASK_ROOT", b"LAMBDA_RUNTIME_DIR"))
    layers = [] if own_path else [f"{LAYERS}/{_OF_LAYERS}/site-packages", LAYERS]
    first = [task_root, _cwd(), *layers]
    if _is_dir(runtime_dir):
        # A managed runtime has site-packages before its own folder, and both before the standard library. Elsewhere
        # site-packages stay last, as under `python -m awslambdaric`: searching them first costs each import.
        first += [runtime_dir] if own_path else [f"{sys.prefix}/{_LIBRARY}/site-packages", runtime_dir]
    path = [entry for entry in first if entry and _is_dir(entry)]
    path += [entry for entry in sys.path if entry and entry != package_root]
    sys.path[:] = dict.fromkeys(path)
    for folder in (task_root, *layers):
        if _started_by(_names(folder)):
            import site

            site.addsitedir(folder)
    if package_root and package_root not in sys.path:
        sys.path.append(package_root)
    if runtime_dir and not own_path:
        environ[b"PYTHONPATH"] = runtime_dir.encode()
        posix.putenv(b"PYTHONPATH", runtime_dir)


def _site() -> None:
    folders = _plain_site_packages()
    if folders is None:
        import site

        site.main()
        return
    sys.path += folders
    import _sitebuiltins
    import builtins

    quitters: Any = builtins
    quitters.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    quitters.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    quitters.help = _sitebuiltins._Helper()


def _plain_site_packages() -> "list[str] | None":
    """Return the site-packages folders to add; None where something needs the real site."""
    environ = posix.environ
    binaries = sys.executable.rpartition("/")[0]
    prefix = _environment(binaries.rpartition("/")[0])
    home = environ.get(b"HOME", b"").decode()
    if (
        prefix is None
        or any(_customized(_names(path)) for path in environ.get(b"PYTHONPATH", b"").decode().split(":") if path)
        or sys.prefix == "/usr"
        or sys.platlibdir != "lib"
        or _exists(f"{binaries}/pyvenv.cfg")
        or _exists(f"{sys.base_prefix}/{_LIBRARY}/sitecustomize.py")
        or (home and _exists(f"{home}/.local/{_LIBRARY}/site-packages"))
    ):
        return None
    folder = f"{prefix}/{_LIBRARY}/site-packages"
    names = _names(folder)
    if _customized(names) or _started_by(names):
        return None
    sys.prefix = sys.exec_prefix = prefix
    return [folder]


def _customized(names: "list[str]") -> bool:
    """Return whether one of a folder's files is sitecustomize or usercustomize, which `site` imports."""
    return any(name.startswith(("sitecustomize", "usercustomize")) for name in names)


def _started_by(names: "list[str]") -> bool:
    """Return whether `site` would run one of a folder's files: a .pth, or a .start of Python 3.15 (PEP 829)."""
    return any(name.endswith((".pth", ".start")) for name in names)


def _names(folder: str) -> "list[str]":
    """Return the names of a folder's files; none where there is no such folder."""
    try:
        return posix.listdir(folder)
    except OSError:
        return []


def _environment(root: str) -> "str | None":
    """Return the prefix to use: root if it is a virtual environment without system site-packages, else the
    interpreter's own. None where only `site` can tell.
    """
    try:
        with FileIO(f"{root}/pyvenv.cfg") as file:
            settings = file.read().lower()
    except OSError:
        return sys.prefix if sys.prefix == sys.exec_prefix else None
    alone = any(line.replace(b" ", b"") == b"include-system-site-packages=false" for line in settings.splitlines())
    return root if alone else None


def _cwd() -> str:
    try:
        return posix.getcwd()
    except OSError:
        return ""


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def _is_dir(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & 0o170000 == 0o040000
    except OSError:
        return False
