"""`make bench-containers`: sizes of layers and images, and cold starts in containers beside AWS's client.

A cold start is a new container and one event; its INIT, from the runtime's start to its first /next, is the one that
the emulator in it reports. Both clients run the same handler on the same interpreter under the same processor quota, in
turns. --quick, or QUICK=1, for few rounds; --rounds N.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.report import Progress, about, machine, summary
from samovar.local import rie
from tests.container import engine
from tests.container.engine import Environment

OUTPUT = engine.ROOT / "build" / "bench" / "containers.json"
VERSION, BUNDLED = "3.13", "3.11"  # in the images, and Debian 12's for the bundled layer
MEMORY = (128, 512)  # MB; the processor's share is as Lambda's
SAMOVAR, PEER = "samovar", "awslambdaric"


@dataclass(frozen=True)
class Place:
    """A container image to run in, and what differs for each client."""

    image: dict[str, str]
    entrypoint: dict[str, list[str]] = field(default_factory=dict)
    env: dict[str, dict[str, str]] = field(default_factory=dict)
    mounts: dict[str, str] = field(default_factory=dict)

    def start(self, client: Any, runtime: str, memory: int) -> Environment:
        """Return a new environment with `memory` MB and its share of a core."""
        return Environment(
            client,
            self.image[runtime],
            None if runtime in self.entrypoint else ["plain.handler"],
            entrypoint=self.entrypoint.get(runtime),
            env=self.env.get(runtime),
            mounts={engine.TASK: "/var/task", **self.mounts},
            memory=memory,
            cpus=memory / engine.VCPU_MB,
        )


def main() -> int:
    """Return exit code 0, or 1 with a message if there is no container engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    parser.add_argument("--rounds", type=int)
    asked = parser.parse_args()
    try:
        client = engine.connect()
    except engine.NoEngine as error:
        print(f"make bench-containers: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        print("== building the layers and images", flush=True)
        places, sizes = build(client, work)
        print(size_table(sizes), flush=True)
        starts = measure(client, places, asked.rounds or (3 if asked.quick else 11))
    print(start_table(starts))
    here = machine()
    print(about(here))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps({"machine": here, "sizes": sizes, "cold start, ms": starts}, indent=1) + "\n")
    return 0


def build(client: Any, work: Path) -> tuple[dict[str, Place], dict[str, dict[str, int]]]:
    """Build everything; return every place to run in by name, and the sizes in bytes of what was built."""
    emulator = {rie.find(): "/usr/local/bin/aws-lambda-rie"}
    base = engine.BASES[VERSION][0]
    ours = engine.samovar_image(client, VERSION)
    context = work / "peer"
    context.mkdir()
    shutil.copy(engine.ROOT / "bench" / "awslambdaric.Dockerfile", context / "Dockerfile")
    (context / "requirements.txt").write_text(engine.pinned("awslambdaric", "simplejson", "snapshot-restore-py"))
    arguments = {"BASE_IMAGE": base, "SAMOVAR_IMAGE": ours}
    peer = engine.build(client, context, f"samovar-bench/awslambdaric:{VERSION}", buildargs=arguments)

    plain, bundle = work / "plain", work / "bundle"
    zips = {"unbundled": engine.layer(VERSION, plain)}
    prefix = engine.python_prefix(client, BUNDLED, work / "prefix")
    zips["bundled"] = engine.layer(BUNDLED, bundle, BUNDLE="1", BASE="debian12", PYTHON_PREFIX=str(prefix))
    for archive in zips.values():
        engine.unpack(archive, archive.parent / "opt")
    managed = engine.official_image(client, VERSION, fresh(work / "managed"))
    client_folder = copy_out(
        client, engine.official_image(client, BUNDLED, fresh(work / "bundled")), "/var/runtime", work
    )

    wrapper = {SAMOVAR: {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/samovar-exec"}}
    start = "/usr/local/bin/aws-lambda-rie"
    handler = {"LAMBDA_TASK_ROOT": "/var/task", "_HANDLER": "plain.handler"}
    places = {
        f"image, Python {VERSION}": Place({SAMOVAR: ours, PEER: peer}),
        f"layer on python{VERSION}": Place(
            dict.fromkeys((SAMOVAR, PEER), managed), env=wrapper, mounts=emulator | {str(plain / "opt"): "/opt"}
        ),
        f"bundle, OS-only, Python {BUNDLED}": Place(
            dict.fromkeys((SAMOVAR, PEER), engine.OS_ONLY),
            entrypoint={
                SAMOVAR: [start],
                PEER: [start, "/opt/samovar/python/bin/python3", "-m", "awslambdaric", "plain.handler"],
            },
            env={SAMOVAR: handler, PEER: {**handler, "PYTHONPATH": "/client:/var/task"}},
            mounts=emulator | {str(bundle / "opt"): "/opt", str(client_folder): "/client"},
        ),
    }
    image = {
        name: int(client.images.get(tag).attrs["Size"]) for name, tag in (("base", base), (SAMOVAR, ours), (PEER, peer))
    }
    layers = {name: archive.stat().st_size for name, archive in zips.items()}
    emulated = {"binary": Path(rie.find()).stat().st_size}
    return places, {"image": image, "layer, zipped": layers, "emulator": emulated}


def fresh(folder: Path) -> Path:
    """Create the folder and return it."""
    folder.mkdir()
    return folder


def copy_out(client: Any, image: str, path: str, target: Path) -> Path:
    """Copy the folder `path` of an image into `target`; return the copy."""
    container = client.containers.create(image)
    try:
        chunks, _ = container.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            archive.extractall(target, filter="tar")
    finally:
        container.remove(v=True)
    return target / path.rpartition("/")[2]


def measure(client: Any, places: Mapping[str, Place], rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Measure cold starts in ms; return place and memory -> client -> statistics."""
    taken: dict[str, dict[str, list[float]]] = {}
    progress = Progress(rounds * len(places) * len(MEMORY) * 2)
    for _ in range(rounds):
        for name, place in places.items():
            for memory in MEMORY:
                row = taken.setdefault(f"{name}, {memory} MB", {SAMOVAR: [], PEER: []})
                for runtime, values in row.items():
                    values.append(cold_start(place.start(client, runtime, memory), runtime))
                    progress.step(1, f"{name}, {memory} MB, {runtime}")
    progress.close()
    return {row: {name: summary(values) for name, values in both.items()} for row, both in taken.items()}


def cold_start(environment: Environment, runtime: str) -> float:
    """Return the INIT of a new environment in ms, and end it. Raises ValueError if another runtime answers."""
    with environment:
        if (answer := environment.invoke({})).get("official_client") is not (runtime == PEER):
            raise ValueError(f"expected a response from {runtime}, not {answer}:\n{environment.log()}")
        environment.wait_log("INIT REPORT(")
        duration = rie.parse(*environment.outputs()).inits[0].duration_ms
    if duration is None:
        raise ValueError(f"{runtime}: the emulator reported no INIT")
    return duration


def size_table(sizes: Mapping[str, Mapping[str, int]]) -> str:
    """Format the sizes."""
    image, layers = sizes["image"], sizes["layer, zipped"]
    added = {name: (image[name] - image["base"]) / 1e6 for name in (SAMOVAR, PEER)}
    lines = [
        f"image on Python {VERSION}: base {image['base'] / 1e6:.1f} MB; "
        + ", ".join(f"with {name} {image[name] / 1e6:.1f} MB (+{added[name]:.1f})" for name in added)
        + f"; each with the emulator, {sizes['emulator']['binary'] / 1e6:.1f} MB"
    ]
    lines.append(
        f"layer, zipped: {layers['unbundled'] / 1e6:.2f} MB (target ≤ 1: {met(layers['unbundled'] <= 1e6)}); "
        f"with an interpreter {layers['bundled'] / 1e6:.1f} MB (target ≤ 20: {met(layers['bundled'] <= 20e6)})"
    )
    return "\n".join(lines)


def met(within: bool) -> str:
    """Return the word for a verdict."""
    return "met" if within else "MISSED"


def start_table(starts: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Format the cold starts."""
    head = f"{'INIT in the container, ms (median)':<44}{SAMOVAR:>10}{PEER:>14}{'ratio':>8}"
    lines = [head, "─" * len(head)]
    for row, both in starts.items():
        ours, theirs = both[SAMOVAR]["median"], both[PEER]["median"]
        lines.append(f"{row:<44}{ours:>10.1f}{theirs:>14.1f}{ours / theirs:>8.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
