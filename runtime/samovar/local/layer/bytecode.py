"""Compile a tree ahead, and the runtime's cold path into one file (cold.py says why).

Run it with an interpreter of the version that will load the bytecode; it needs only the standard library:

    python3.X bytecode.py TREE PLACE

PLACE is the folder where the tree will be installed, for tracebacks. The bytecode is never checked against the source
(PEP 552): a layer's files cannot change, and the check would read the source at every import. That of the packages has
no docstrings, and that of Samovar's own functions no annotations: they are of use to nobody in Lambda.
"""

import ast
import marshal
import os
import runpy
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path
from types import CodeType

tree, place, *restarted = sys.argv[1:]
if not restarted:
    # The interpreter's options and PYTHON* variables, the caller's or a container image's, change the bytecode or its
    # folder: assertions, positions and, through the hash seed, the order of a frozenset's members.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # Columns are left out: only the carets of a traceback through these files need them, and INIT has less to load.
    again = [sys.executable, "-X", "no_debug_ranges", "-s", "-P", __file__, tree, place, "restarted"]
    os.execve(sys.executable, again, {**kept, "PYTHONHASHSEED": "0"})


def without_docstrings(content: bytes, name: str) -> ast.Module:
    """Parse a source, and leave its docstrings out."""
    module = ast.parse(content, name)
    for node in ast.walk(module):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body[:1] = [] if len(node.body) > 1 else [ast.copy_location(ast.Pass(), node.body[0])]
    return module


def write(source: Path, content: bytes, code: CodeType) -> None:
    """Write the file of bytecode, never to be checked: flags 0b01. A round trip makes marshal's output depend on the
    code alone, as cold.py says.
    """
    target = Path(cache_from_source(source))
    target.parent.mkdir(exist_ok=True)
    data = marshal.dumps(marshal.loads(marshal.dumps(code)))
    target.write_bytes(MAGIC_NUMBER + (0b01).to_bytes(4, "little") + source_hash(content) + data)


cold = runpy.run_path(str(Path(__file__).resolve().parent / "cold.py"))
packages = Path(tree, "samovar", "lib")
for source in sorted(Path(tree).rglob("*.py")):
    name = source.relative_to(tree)
    content = source.read_bytes()
    file = f"{place}/{name}"
    try:
        parsed = without_docstrings(content, file) if source.is_relative_to(packages) else content
        if source.is_relative_to(packages / "samovar"):
            parsed = cold["without_annotations"](parsed)
        write(source, content, compile(parsed, file, "exec", dont_inherit=True))
    except (SyntaxError, ValueError) as error:
        sys.exit(f"samovar layer: {name} does not compile with Python {sys.version.split()[0]}: {error}")
cold["build"](packages)
print("{}.{}".format(*sys.version_info))
