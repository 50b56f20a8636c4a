"""INIT with and without SAMOVAR_LAZY_IMPORTS=all, on Python 3.15 in a container of the base image.

`python -m bench.lazy` prepares a folder, mounts it in a container and runs itself there with --inside: that Python
measures, over the container's own loopback. Needs a container engine and the base image, nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import output

IMAGE = "samovar-base/python:3.15"
PYTHON = "python3.15"
HANDLERS = {
    "echo": "no imports",
    "typical": "typical",
    "heavy": "boto3 client at INIT",
    "heavy_when_needed": "boto3 client when needed",
}
ENDS = {"next": "spawn to first /next", "answer": "spawn to first answer"}
_MOUNTED = Path("/bench")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print and write the figures, and return exit code 0, even without a container engine."""
    parser = output.arguments("bench.lazy", __doc__)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    rounds = 5 if options.quick else 25
    if options.inside:
        (_MOUNTED / "measured.json").write_text(json.dumps(inside(rounds)))
        return 0
    return outside(rounds, options.quick)


def outside(rounds: int, quick: bool) -> int:
    """Start the container and show what it measured."""
    import docker
    from docker.errors import DockerException, ImageNotFound

    from bench import report

    folder = output.RUNS / "lazy"
    _prepare(folder)
    try:
        engine = docker.from_env(timeout=600)
        engine.containers.run(
            IMAGE,
            [PYTHON, "-m", "bench.lazy", "--inside", *(["--quick"] if quick else [])],
            volumes={str(folder): {"bind": str(_MOUNTED)}},
            working_dir=str(_MOUNTED),
            environment={"HOME": "/tmp", "PYTHONPATH": str(_MOUNTED / "opt" / "samovar" / "lib")},
            network_mode="none",
            user=f"{os.getuid()}:{os.getgid()}",
            remove=True,
        )
    except ImageNotFound:
        print(f"bench.lazy: no figures, since {IMAGE} is missing: run tools/docker-engine {IMAGE}", file=sys.stderr)
        return 0
    except DockerException as exc:
        print(f"bench.lazy: no figures, since no container engine answers ({exc})", file=sys.stderr)
        return 0
    measured = json.loads((folder / "measured.json").read_text())
    document: dict[str, Any] = {
        "machine": {**report.machine(), "python": measured["python"]},
        "quick": quick,
        "image": IMAGE,
        "ms": {
            f"{handler}_{end}": {
                mode: report.summary(measured["ms"][f"{handler} {mode} {end}"]) for mode in ("eager", "lazy")
            }
            for handler in HANDLERS
            for end in ENDS
        },
    }
    print(report.filled(title(document)), "", report.text(cells(document)), sep="\n")
    print(report.filled(report.about(document["machine"])))
    print(f"All figures: {output.shown(output.write('lazy', document, output.folder(quick)))}")
    return 0


def title(document: Mapping[str, Any]) -> str:
    """Say what was measured."""
    rounds = document["ms"]["echo_next"]["eager"]["n"]
    return f"SAMOVAR_LAZY_IMPORTS=all, Python {document['machine']['python']} in a container; medians of {rounds}"


def cells(document: Mapping[str, Any]) -> list[list[str]]:
    """Return the table: a line for each handler and end point."""
    lines = [["ms", "eager", "lazy", "ratio"]]
    for handler, name in HANDLERS.items():
        for end, point in ENDS.items():
            eager, lazy = (document["ms"][f"{handler}_{end}"][mode]["median"] for mode in ("eager", "lazy"))
            lines.append([f"{name}, {point}", f"{eager:.1f}", f"{lazy:.1f}", f"{lazy / eager:.2f}"])
    return lines


def _prepare(folder: Path) -> None:
    """Fill the folder for the container: the benchmark, bootstrap, the package and boto3, without bytecode."""
    from bench import stage

    shutil.rmtree(folder, ignore_errors=True)
    plain = shutil.ignore_patterns("__pycache__", "results", "local")
    shutil.copytree(output.CHECKOUT / "bench", folder / "bench", ignore=plain)
    shutil.copytree(
        output.CHECKOUT / "runtime" / "samovar", folder / "opt" / "samovar" / "lib" / "samovar", ignore=plain
    )
    shutil.copy2(output.CHECKOUT / "bootstrap", folder / "opt" / "bootstrap")
    shutil.copy2(output.CHECKOUT / "runtime" / "samovar" / "local" / "layer" / "cold.py", folder / "cold.py")
    shutil.move(folder / "bench" / "handlers", folder / "task")
    for name in stage.DISTRIBUTIONS:
        if name not in ("awslambdaric", "orjson", "simplejson", "snapshot-restore-py"):  # not for this interpreter
            stage.install(name, folder / "task")


def inside(rounds: int) -> dict[str, object]:
    """Measure, in the container; return milliseconds by handler, mode and end point."""
    import compileall
    import importlib
    import py_compile

    from bench import events, platform
    from bench.launcher import Launcher

    opt = _MOUNTED / "opt"
    compileall.compile_dir(
        _MOUNTED, maxlevels=20, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    importlib.import_module("cold").build(opt / "samovar" / "lib")
    wire = platform.event(events.records(1 << 10))
    found: dict[str, list[float]] = defaultdict(list)
    launcher = Launcher(_MOUNTED / "task")
    try:
        for _ in range(rounds):
            for handler in HANDLERS:
                for mode in ("eager", "lazy"):
                    with platform.Runtime(launcher, [str(opt / "bootstrap")], _environment(handler, mode)) as runtime:
                        at = runtime.first_next() - runtime.started
                        found[f"{handler} {mode} next"].append(at / 1e6)
                        found[f"{handler} {mode} answer"].append((at + runtime.invoke(wire)) / 1e6)
    finally:
        launcher.close()
    return {"python": sys.version.partition(" ")[0], "ms": found}


def _environment(handler: str, mode: str) -> Mapping[str, str]:
    variables = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "SAMOVAR_PYTHON": sys.executable,
        "_HANDLER": f"{handler}.handler",
        "LAMBDA_TASK_ROOT": str(_MOUNTED / "task"),
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
    }
    return variables | ({"SAMOVAR_LAZY_IMPORTS": "all"} if mode == "lazy" else {})


if __name__ == "__main__":
    sys.exit(main())
