"""What a function shares between invocations that run at the same time in one process, as its source shows it.

Used by `samovar doctor`. Reads the source and runs nothing, so it sees names and not values: a global that is changed
through another name is not found, and a change that a lock guards is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_CONTAINERS = {"dict", "list", "set", "defaultdict", "deque", "Counter", "OrderedDict", "bytearray"}
_CHANGES = {
    "add",
    "append",
    "appendleft",
    "clear",
    "discard",
    "extend",
    "insert",
    "pop",
    "popitem",
    "popleft",
    "remove",
    "setdefault",
    "sort",
    "update",
}
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_CALLS = {  # in a function: what it does to the process, and what to do instead
    "os.chdir": ("changes the folder of all invocations", "use absolute paths"),
    "os.putenv": ("changes the variables of all invocations", "pass env= to what needs them"),
    "os.environ.update": ("changes the variables of all invocations", "pass env= to what needs them"),
    "os.umask": ("changes the file mode of all invocations", "use os.chmod on the file"),
    "signal.signal": ("raises ValueError outside the main thread", "call it in the module, or use a timeout argument"),
    "signal.alarm": ("has one timer for all invocations", "use samovar.remaining() and timeout arguments"),
    "signal.setitimer": ("has one timer for all invocations", "use samovar.remaining() and timeout arguments"),
}
_NOT_THREAD_SAFE = {
    "boto3.resource": "a boto3 resource is not thread-safe: use a client, which is",
    "boto3.Session": "a boto3 session is not thread-safe: make clients from it in the module, and share those",
    "boto3.session.Session": "a boto3 session is not thread-safe: make clients from it in the module, and share those",
}


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What is shared, in which line, and what to do about it."""

    line: int
    text: str
    advice: str


def find(source: str) -> list[Finding]:
    """Return what the source of a module shares, in the order of its lines. Raises SyntaxError."""
    module = ast.parse(source)
    imported = _imported(module)
    containers = {
        target.id
        for value, targets in _assignments(module.body)
        if _is_container(value)
        for target in targets
        if isinstance(target, ast.Name)
    }
    found = {
        Finding(value.lineno, f"{_target(targets)} is {name}()", _NOT_THREAD_SAFE[name])
        for value, targets in _assignments(module.body)
        if isinstance(value, ast.Call) and (name := _dotted(value.func, imported)) in _NOT_THREAD_SAFE
    }
    for function in ast.walk(module):
        if isinstance(function, _FUNCTIONS):
            found.update(_in_function(function, containers, imported))
    return sorted(found)


def _in_function(function: ast.AST, containers: set[str], imported: dict[str, str]) -> Iterator[Finding]:
    name = getattr(function, "name", "a lambda")
    own = list(_own_nodes(function))
    declared = {each for node in own if isinstance(node, ast.Global) for each in node.names}
    bound = {node.id for node in own if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {
        argument.arg for argument in ast.walk(getattr(function, "args", function)) if isinstance(argument, ast.arg)
    }
    shared = containers - (bound - declared)
    where = f"in {name}()" if name != "a lambda" else "in a lambda"
    advice = "guard it with a threading.Lock, or load it once with samovar.cached"
    for node in own:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load) and node.id in declared:
            yield Finding(node.lineno, f"the global {node.id} is assigned {where}", advice)
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            if isinstance(node.value, ast.Name) and node.value.id in shared:
                yield Finding(node.lineno, f"the global {node.value.id} is changed {where}", advice)
            elif _dotted(node.value, imported) == "os.environ":
                yield Finding(
                    node.lineno,
                    f"os.environ is changed {where}, which changes the variables of all invocations",
                    "pass env= to what needs them",
                )
        elif isinstance(node, ast.Call):
            called = _dotted(node.func, imported)
            if called in _CALLS:
                what, instead = _CALLS[called]
                yield Finding(node.lineno, f"{called}() {where} {what}", instead)
            elif (
                isinstance(node.func, ast.Attribute)
                and node.func.attr in _CHANGES
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in shared
            ):
                yield Finding(node.lineno, f"the global {node.func.value.id} is changed {where}", advice)


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Return the nodes of a function without those of the functions in it, which are looked at by themselves."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _FUNCTIONS):
            waiting += ast.iter_child_nodes(node)


def _assignments(body: list[ast.stmt]) -> Iterator[tuple[ast.expr, list[ast.expr]]]:
    """Return the values and targets of a module's own assignments, also those in its ifs, trys and withs."""
    for statement in body:
        if isinstance(statement, ast.Assign):
            yield statement.value, statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            yield statement.value, [statement.target]
        elif not isinstance(statement, _FUNCTIONS | ast.ClassDef):
            for _, nested in ast.iter_fields(statement):
                if isinstance(nested, list):
                    yield from _assignments([each for each in nested if isinstance(each, ast.stmt)])


def _is_container(value: ast.expr) -> bool:
    if isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp):
        return True
    function = value.func if isinstance(value, ast.Call) else None
    return (isinstance(function, ast.Name) and function.id in _CONTAINERS) or (
        isinstance(function, ast.Attribute) and function.attr in _CONTAINERS
    )


def _imported(module: ast.Module) -> dict[str, str]:
    """Return what each name that is imported anywhere stands for."""
    names = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.expr, imported: dict[str, str]) -> str:
    """Return the full name that an expression like `a.b.c` stands for; empty where it is no such thing."""
    if isinstance(node, ast.Name):
        return imported.get(node.id, "")
    if isinstance(node, ast.Attribute) and (value := _dotted(node.value, imported)):
        return f"{value}.{node.attr}"
    return ""


def _target(targets: list[ast.expr]) -> str:
    return f"the global {ast.unparse(targets[0])}"
