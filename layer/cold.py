"""Makes `samovar/cold.<tag>.bin`: the modules of the cold path in one file of bytecode, which `bootstrap` installs
in one go.

Finding, checking and reading ten modules one by one is most of what INIT costs beyond the bare interpreter. Only for
a package whose sources no longer change: nothing compares the file with them. To be run by an interpreter of the
version that will read it; imports nothing of Samovar, so that any interpreter can:

    python3.13 layer/cold.py DIRECTORY-WITH-SAMOVAR
"""

import marshal
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

# In the order in which they are installed: a module after those that it imports.
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
    "samovar.streams",
    "samovar.syspath",
    "samovar.__main__",
)

_INSTALLER = """
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import SourceFileLoader
from _imp import _fix_co_filename
place = sys.path[0]
for name, file, is_package, code in modules:
    path = f"{place}/{file}"
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
"""


def build(place: Path) -> Path:
    """Write the file for the running interpreter into place/samovar and return its path. The same bytes from the
    same sources.
    """
    modules = []
    for name in MODULES:
        file = name.replace(".", "/")
        is_package = (place / file).is_dir()
        file += "/__init__.py" if is_package else ".py"
        code = compile((place / file).read_bytes(), file, "exec", optimize=2)  # nobody reads docstrings there
        modules.append((name, file, is_package, code))
    code = compile(_INSTALLER, "<samovar/cold>", "exec")
    target = place / "samovar" / f"cold.{sys.implementation.cache_tag}.bin"
    # Version 4 of marshal writes shared references by count: through a copy, the counts are those of the bytes alone.
    content = marshal.dumps(marshal.loads(marshal.dumps((code, {"modules": modules}))))
    target.write_bytes(MAGIC_NUMBER + content)
    return target


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
