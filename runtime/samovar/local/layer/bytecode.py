"""Compile a tree ahead, and the runtime's cold path into one file (cold.py says why).

Run it with an interpreter of the version that will load the bytecode; it needs only the standard library:

    python3.X bytecode.py TREE PLACE

PLACE is the folder where the tree will be installed, for tracebacks. The bytecode is never checked against the source
(PEP 552): a layer's files cannot change, and the check would read the source at every import.
"""

import os
import runpy
import sys
from pathlib import Path
from py_compile import PycInvalidationMode, PyCompileError, compile

tree, place, *restarted = sys.argv[1:]
if not restarted:
    # The interpreter's options and PYTHON* variables, the caller's or a container image's, change the bytecode or its
    # folder: assertions, positions and, through the hash seed, the order of a frozenset's members.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    again = [sys.executable, "-s", "-P", __file__, tree, place, "restarted"]
    os.execve(sys.executable, again, {**kept, "PYTHONHASHSEED": "0"})
for source in sorted(Path(tree).rglob("*.py")):
    name = source.relative_to(tree)
    try:
        compile(
            str(source),
            dfile=f"{place}/{name}",
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
            doraise=True,
        )
    except PyCompileError as error:
        sys.exit(f"samovar layer: {name} does not compile with Python {sys.version.split()[0]}: {error}")
cold = Path(__file__).resolve().parent / "cold.py"
runpy.run_path(str(cold))["build"](Path(tree, "samovar", "lib"))
print("{}.{}".format(*sys.version_info))
