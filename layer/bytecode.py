"""Compiles a tree ahead, and the runtime's cold path into one file (layer/cold.py tells why).

To be run by an interpreter of the version that will load it, with nothing but its stdlib:

    python3.X layer/bytecode.py TREE PLACE

PLACE is where the tree will be, which tracebacks show. The bytecode is never checked against the source (PEP 552): a
layer's files cannot change, and the check would read the source at every import.
"""

import runpy
import sys
from pathlib import Path
from py_compile import PycInvalidationMode, PyCompileError, compile

tree, place = Path(sys.argv[1]), sys.argv[2]
for source in sorted(tree.rglob("*.py")):
    try:
        compile(
            str(source),
            dfile=f"{place}/{source.relative_to(tree)}",
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
            doraise=True,
        )
    except PyCompileError as error:
        sys.exit(f"layer: {source.relative_to(tree)} does not compile with Python {sys.version.split()[0]}: {error}")
cold = Path(__file__).resolve().parent.parent / "runtime" / "samovar" / "local" / "cold.py"
runpy.run_path(str(cold))["build"](tree / "samovar" / "lib")
print("{}.{}".format(*sys.version_info))
