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

IMAGE = "samovar-base/python:3.15"
PYTHON = "python3.15"
HANDLERS = {
    "echo": "no imports",
    "typical": "typical",
    "heavy": "boto3 client at INIT",
    "heavy_when_needed": "boto3 client when needed",
}
_MOUNTED = Path("/bench")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table, write bench/results/lazy.json, and return exit code 0, even without a container engine."""
    parser = argparse.ArgumentParser(prog="python -m bench.lazy")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")), help="also QUICK=1")
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
    from bench.stage import CHECKOUT

    folder = CHECKOUT / "build" / "lazy"
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
    lines = [f"{'':50}{'eager':>10}{'lazy':>10}{'ratio':>8}"]
    summaries: dict[str, dict[str, dict[str, float]]] = {}
    for handler, title in HANDLERS.items():
        for what, text in (("next", "spawn to first /next"), ("answer", "spawn to first answer")):
            summaries[f"{handler}_{what}"] = pair = {
                mode: report.summary(measured["ms"][f"{handler} {mode} {what}"]) for mode in ("eager", "lazy")
            }
            eager, lazy = pair["eager"]["median"], pair["lazy"]["median"]
            lines.append(f"{title + ', ' + text:50}{eager:8.1f}ms{lazy:8.1f}ms{lazy / eager:8.2f}")
    print(f"SAMOVAR_LAZY_IMPORTS=all, Python {measured['python']} in {IMAGE}; medians of {rounds}")
    print("\n".join(lines))
    if not quick:
        document = {"machine": {**report.machine(), "python": measured["python"]}, "image": IMAGE, "ms": summaries}
        (CHECKOUT / "bench" / "results").mkdir(exist_ok=True)
        (CHECKOUT / "bench" / "results" / "lazy.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _prepare(folder: Path) -> None:
    """Fill the folder for the container: the benchmark, bootstrap, the package and boto3, without bytecode."""
    from bench import stage

    shutil.rmtree(folder, ignore_errors=True)
    plain = shutil.ignore_patterns("__pycache__", "results", "local")
    shutil.copytree(stage.CHECKOUT / "bench", folder / "bench", ignore=plain)
    shutil.copytree(
        stage.CHECKOUT / "runtime" / "samovar", folder / "opt" / "samovar" / "lib" / "samovar", ignore=plain
    )
    shutil.copy2(stage.CHECKOUT / "bootstrap", folder / "opt" / "bootstrap")
    shutil.copy2(stage.CHECKOUT / "runtime" / "samovar" / "local" / "layer" / "cold.py", folder / "cold.py")
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
