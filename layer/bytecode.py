"""Compiles a tree ahead: run by the interpreter that will load it (any build of the same minor version), with nothing but its stdlib.

    python3.X layer/bytecode.py TREE PLACE

PLACE is where the tree will be, which tracebacks show. The bytecode is not checked against the source: a layer's files cannot
change, and one stat and one read less for every import is what the check would cost. https://peps.python.org/pep-0552/
"""

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
print("%d.%d" % sys.version_info[:2])
