"""sys.path as Lambda has it, and what of `site` an environment needs.

`bootstrap` starts the interpreter with -S: site is part of every cold start, nearly all of it for things
that are not there. Where any of them is there (a .pth file, sitecustomize, a user's site-packages, Debian's
layout), the real site runs, as it would have.
"""

import posix
import sys
from _io import FileIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def arrange(place: str = "") -> None:
    """The function's own folder first, then layers, then the interpreter's; place, where Samovar itself lies, last.

    Order of the developer guide, "Search path for runtime dependencies": LAMBDA_TASK_ROOT, /opt/python, then the
    runtime's.
    """
    if sys.flags.no_site:
        _site()
    version = "python{}.{}".format(*sys.version_info[:2])
    task_root = posix.environ.get(b"LAMBDA_TASK_ROOT", b"").decode()
    first = [task_root, _cwd(), f"/opt/python/lib/{version}/site-packages", "/opt/python"]
    runtime_dir = posix.environ.get(b"LAMBDA_RUNTIME_DIR", b"").decode()
    if runtime_dir:
        first.append(runtime_dir)
    path = [entry for entry in first if entry and _is_dir(entry)]
    path += [entry for entry in sys.path if entry and entry != place]
    if place:
        path.append(place)
    sys.path[:] = dict.fromkeys(path)


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
    """The site-packages folders to add; None when there is anything that only the real site does."""
    environ = posix.environ
    binaries = sys.executable.rpartition("/")[0]
    prefix = _environment(binaries.rpartition("/")[0])
    library = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    home = environ.get(b"HOME", b"").decode()
    if (
        prefix is None
        or any(_customized(path) for path in environ.get(b"PYTHONPATH", b"").decode().split(":") if path)
        or sys.prefix == "/usr"
        or sys.platlibdir != "lib"
        or _exists(f"{binaries}/pyvenv.cfg")
        or _exists(f"{sys.base_prefix}/{library}/sitecustomize.py")
        or (home and _exists(f"{home}/.local/{library}/site-packages"))
    ):
        return None
    folder = f"{prefix}/{library}/site-packages"
    if _customized(folder, ".pth"):
        return None
    sys.prefix = sys.exec_prefix = prefix
    return [folder]


def _customized(folder: str, suffix: str = "/") -> bool:
    """Whether folder holds code that `site` would run; files that end so count as such."""
    try:
        names = posix.listdir(folder)
    except OSError:
        return False
    return any(name.startswith(("sitecustomize", "usercustomize")) or name.endswith(suffix) for name in names)


def _environment(root: str) -> "str | None":
    """The prefix to use: root where it is a virtual environment that stands alone, else the interpreter's own."""
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
