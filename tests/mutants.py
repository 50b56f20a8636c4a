"""`make mutants`: small changes of the core, one at a time, that the tests beside it should notice.

`make mutants ARGS='wire context'` takes these modules alone, named as below. cosmic-ray makes the changes, each
module's in a copy of the checkout of its own. What survives is printed: a test is missing, or the change makes no
difference.
"""

from __future__ import annotations

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "mutants"
TOOLS = ROOT / ".venv-mutants" / "bin"

# The module below runtime/samovar, and what pytest is told to run for it: those most likely to notice first.
MODULES = {
    "aio": "tests/handler/test_function.py tests/test_hooks.py tests/test_loop.py tests/caching/test_stale.py",
    "environment": "tests/test_hooks.py tests/test_loop.py",
    "failure": "tests/test_failure.py tests/contract",
    "handler/function": "tests/handler/test_function.py tests/contract",
    "loop": "tests/test_loop.py tests/contract tests/rie/test_environment.py",
    "report": "tests/test_report.py tests/contract",
    "runtime_api": "tests/test_runtime_api.py tests/contract/test_wire_faults.py",
    "wire": "tests/test_wire.py",
    "codec/__init__": "tests/codec",
    "codec/exact": "tests/codec/test_codec.py",
    "codec/large": "tests/codec/test_large.py",
    "context": "tests/test_context.py tests/contract -k 'test_context or (context or deadline) and wire'",
    "hooks": "tests/test_hooks.py tests/caching/test_after_response.py",
    "caching/entries": "tests/caching",
    "caching/store": "tests/caching",
    "caching/loading": "tests/caching/test_loading.py tests/caching/test_stale.py",
    "caching/flight": "tests/caching/test_loading.py tests/caching/test_stale.py",
    "caching/decorator": "tests/caching/test_decorator.py tests/caching/test_stale.py",
    "caching/metrics": "tests/caching/test_metrics.py",
    "caching/redis_tier": "tests/caching/test_redis_tier.py",
    "snapshot": "tests/test_snapshot.py tests/contract -k snapshot",
    "companion/process": "tests/companion",
    "companion/supervisor": "tests/companion",
    "companion/protocol": "tests/companion/test_protocol.py",
    "companion/serving": "tests/companion/test_serve.py",
}
# cosmic-ray tries each operator in the place of each: one other is enough to see whether anything looks.
OPERATORS = (
    r"core/ReplaceBinaryOperator_(?!(Add_Sub|Sub_Add|Mul_Add|FloorDiv_Mul|Div_Mul|Mod_Mul|LShift_RShift|RShift_LShift"
    r"|BitOr_BitAnd|BitAnd_BitOr|BitXor_BitOr)$)",
    r"core/ReplaceComparisonOperator_(?!(Eq_NotEq|NotEq_Eq|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Is_IsNot|IsNot_Is)$)",
    r"core/ReplaceUnaryOperator_(?!Delete_|USub_UAdd$)",
)
LIMIT = 120  # seconds for the tests of one change; one that hangs is noticed


def only_types(path: Path) -> set[int]:
    """Return the numbers of the lines that only a type checker reads: `if TYPE_CHECKING` and the line before it."""
    return {
        line
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for line in range(node.lineno - 1, (node.end_lineno or 0) + 1)
    }


def changed(module: str) -> tuple[int, list[str]]:
    """Return how many changes of that module were tried, and the diffs of those that no test noticed."""
    copy = FOLDER / module.replace("/", "_")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv*", "build", "__pycache__", ".*_cache"))
    command = f"{shlex.quote(sys.executable)} -m pytest -x -q --timeout {LIMIT // 2} {MODULES[module]}"
    config: dict[str, Any] = {
        "module-path": f"runtime/samovar/{module}.py",
        "timeout": float(LIMIT),
        "excluded-modules": [],
        "test-command": command,
    }
    text = "[cosmic-ray]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in config.items())
    text += '[cosmic-ray.distributor]\nname = "local"\n'
    text += f"[cosmic-ray.filters.operators-filter]\nexclude-operators = {json.dumps(OPERATORS)}\n"
    (copy / "mutants.toml").write_text(text)
    # PYTHONPATH: the package of the copy and not the one installed. No bytecode: a change within the same second and of
    # the same size would be taken for what is compiled already.
    environment = {**os.environ, "PYTHONPATH": str(copy / "runtime"), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*arguments: str) -> str:
        done = subprocess.run(arguments, cwd=copy, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{module}: {shlex.join(arguments)}\n{done.stdout}{done.stderr}")
        return done.stdout

    run(*shlex.split(command))  # they pass where nothing has been changed
    run(f"{TOOLS}/cosmic-ray", "init", "mutants.toml", "mutants.sqlite")
    run(f"{TOOLS}/cr-filter-operators", "mutants.sqlite", "mutants.toml")
    run(f"{TOOLS}/cosmic-ray", "exec", "mutants.toml", "mutants.sqlite")
    lines = map(json.loads, run(f"{TOOLS}/cosmic-ray", "dump", "mutants.sqlite").splitlines())
    unread = only_types(copy / config["module-path"])
    results = [
        result
        for item, result in lines
        if result["worker_outcome"] != "skipped" and item["mutations"][0]["start_pos"][0] not in unread
    ]
    return len(results), [result["diff"] for result in results if result["test_outcome"] == "survived"]


def main() -> None:
    names = sys.argv[1:] or list(MODULES)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, (count, survivors) in zip(names, pool.map(changed, names), strict=True):
            print(f"== {name}: {count - len(survivors)} of {count} changes were noticed")
            print(*survivors, sep="\n", flush=True)


if __name__ == "__main__":
    main()
