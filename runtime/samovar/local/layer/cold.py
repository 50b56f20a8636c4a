"""Write `samovar/cold.<tag>.bin`: the modules of the cold path in one file of bytecode, installed by `bootstrap`.

Finding, checking and reading these modules one by one would be most of what INIT costs beyond the bare interpreter.
The file is never compared with the sources, so it suits only a package whose sources no longer change. It must be
written by an interpreter of the version that will read it. Any interpreter can, as this imports nothing of Samovar:

    python3.13 cold.py DIRECTORY-WITH-SAMOVAR
"""

import ast
import marshal
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

# In the order of installation: a module comes after those it imports.
MODULES = (
    "samovar",
    "samovar.errors",
    "samovar.environment",
    "samovar.invocation",
    "samovar.wire",
    "samovar.runtime_api",
    "samovar.codec",
    "samovar.logs",
    "samovar.logging_hook",
    "samovar.context",
    "samovar.failure",
    "samovar.handler",
    "samovar.handler.function",
    "samovar.loop",
    "samovar.alias",
    "samovar.streams",
    "samovar.syspath",
    "samovar.__main__",
)

_INSTALLER = """
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import SourceFileLoader
from _imp import _fix_co_filename
package_root = sys.path[0]
for name, file, is_package, code in modules:
    path = f"{package_root}/{file}"
    module = type(sys)(name)
    spec = ModuleSpec(name, SourceFileLoader(name, path), origin=path, is_package=is_package)
    spec._set_fileattr = True
    module.__spec__, module.__loader__, module.__file__, module.__package__ = spec, spec.loader, path, spec.parent
    if is_package:
        module.__path__ = spec.submodule_search_locations = [path.rpartition("/")[0]]
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
    _fix_co_filename(code, path)
    sys.modules[name] = module
    exec(code, module.__dict__)
module.compiled_ahead = True  # samovar.__main__, the last
"""


def without_annotations(module: ast.Module) -> ast.Module:
    """Leave out what functions say of their types: Python would store it anew whenever it makes one."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return module


def build(package_root: Path) -> Path:
    """Write the file for the running interpreter into package_root/samovar and return its path.

    The same sources always give the same bytes.
    """
    modules = []
    for name in MODULES:
        file = name.replace(".", "/")
        is_package = (package_root / file).is_dir()
        file += "/__init__.py" if is_package else ".py"
        source = without_annotations(ast.parse((package_root / file).read_bytes(), file))
        code = compile(source, file, "exec", optimize=2)  # without docstrings
        modules.append((name, file, is_package, code))
    code = compile(_INSTALLER, "<samovar/cold>", "exec")
    target = package_root / "samovar" / f"cold.{sys.implementation.cache_tag}.bin"
    # marshal (version 4) marks objects with a reference count above 1. After a round trip, these counts depend on the
    # content alone.
    content = marshal.dumps(marshal.loads(marshal.dumps((code, {"modules": modules}))))
    target.write_bytes(MAGIC_NUMBER + content)
    return target


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
