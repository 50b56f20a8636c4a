"""A handler string that cannot be right, found without importing the function, and the names that it could mean.

Knows how Lambda names handlers (`module.function`, `package/module.function`); says nothing where one may be right.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

_SHOWN = 8
_MAKES_NAMES = re.compile(r"import \*|__getattr__|globals\(|setattr\(|exec\(|vars\(|__dict__")


def problem(handler: str, root: Path, path: Sequence[str] = ()) -> str:
    """Return what is wrong with the handler string; empty if it may be right.

    Args:
        handler: The handler string.
        root: The function's folder, which Lambda searches first.
        path: Further folders that the function's environment adds to sys.path.
    """
    module, dot, function = handler.rpartition(".")
    if not (dot and module and function):
        return f"{handler!r} is not MODULE.FUNCTION{_meant(_handlers(root, handler, ''))}"
    if module.startswith(".") or module.partition(".")[0] in sys.builtin_module_names:
        return ""  # the runtime has its own words for these
    try:
        spec = _find(module.replace("/", "."), root, path)
    except Exception:
        return ""  # whatever a finder of the user's environment does, the runtime will say more
    if spec is None:
        return f"there is no module {module!r} in {root}{_meant(_handlers(root, module, function))}"
    if not (spec.origin and spec.origin.endswith(".py")):
        return ""
    source = _source(spec.origin)
    if re.search(rf"\b{re.escape(function)}\b", source) or _MAKES_NAMES.search(source):
        return ""
    return missing(handler, spec.origin)


def missing(handler: str, origin: str = "", root: Path = Path()) -> str:
    """Return that the handler's module has no such function, and the functions that it has.

    Args:
        handler: The handler string.
        origin: The module's file; looked for in `root` if empty.
        root: The function's folder.
    """
    module, _, function = handler.rpartition(".")
    if not origin:
        spec = _find(module.replace("/", "."), root, ())
        origin = spec.origin if spec and spec.origin else ""
    names = _functions(_source(origin)) if origin.endswith(".py") else []
    return f"{module} has no function {function!r}{_meant([f'{module}.{name}' for name in _sorted(names, function)])}"


def _meant(handlers: Sequence[str]) -> str:
    return f"; it could be {', '.join(handlers[:_SHOWN])}" if handlers else ""


def _find(name: str, root: Path, path: Sequence[str]) -> ModuleSpec | None:
    """Return where the module is, without importing its parents."""
    first, *rest = name.split(".")
    spec = PathFinder.find_spec(first, [str(root), *path])
    for finder in sys.meta_path if spec is None else ():  # editable installs have finders of their own
        if (spec := finder.find_spec(first, None)) is not None:
            break
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(f"{spec.name}.{part}", list(spec.submodule_search_locations))
    return spec


def _source(origin: str) -> str:
    return Path(origin).read_text(encoding="utf-8", errors="replace")


def _handlers(root: Path, module: str, function: str) -> list[str]:
    """Return the functions of the folder's modules, those that resemble the given names first."""
    files = {file.stem: file for file in sorted(root.glob("*.py")) if not file.stem.startswith(("_", "test_"))}
    return [
        f"{name}.{found}"
        for name in _sorted(list(files), module)
        for found in _sorted(_functions(_source(str(files[name]))), function)
    ]


def _sorted(names: Sequence[str], like: str) -> list[str]:
    likely = get_close_matches(like, names, n=len(names) or 1)
    return [*likely, *(name for name in names if name not in likely)]


def _functions(source: str) -> list[str]:
    import ast

    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    made = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = [node.name for node in tree.body if isinstance(node, made) and not node.name.startswith("_")]
    # as in `handler = Mangum(app)`
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call | ast.Lambda):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names
