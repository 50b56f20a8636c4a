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

MODULES = ("", "wire", "api", "codec", "context", "handler", "logs", "loop", "syspath", "__main__")

_INSTALLER = """
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import SourceFileLoader
from _imp import _fix_co_filename
place, package = sys.path[0], None
for name, code in modules:
    path = f"{place}/samovar/{name or '__init__'}.py"
    full = f"samovar.{name}" if name else "samovar"
    module = type(sys)(full)
    spec = ModuleSpec(full, SourceFileLoader(full, path), origin=path, is_package=not name)
    spec._set_fileattr = True
    module.__spec__, module.__loader__, module.__file__, module.__package__ = spec, spec.loader, path, "samovar"
    if name:
        setattr(package, name, module)
    else:
        package = module
        module.__path__ = spec.submodule_search_locations = [f"{place}/samovar"]
    _fix_co_filename(code, path)
    sys.modules[full] = module
    exec(code, module.__dict__)
"""


def build(place: Path) -> Path:
    """Write the file for the running interpreter into place/samovar and return its path. The same bytes from the
    same sources.
    """
    package = place / "samovar"
    modules = []
    for name in MODULES:
        file = f"{name or '__init__'}.py"
        source = (package / file).read_bytes()
        modules.append((name, compile(source, f"samovar/{file}", "exec", optimize=2)))  # nobody reads docstrings there
    code = compile(_INSTALLER, "<samovar/cold>", "exec")
    target = package / f"cold.{sys.implementation.cache_tag}.bin"
    # Version 4 of marshal writes shared references by count: through a copy, the counts are those of the bytes alone.
    content = marshal.dumps(marshal.loads(marshal.dumps((code, {"modules": modules}))))
    target.write_bytes(MAGIC_NUMBER + content)
    return target


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
