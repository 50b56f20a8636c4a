"""Sizes of layers and images, and cold starts in containers beside AWS's client.

A cold start is a new container and one event; its INIT, from the runtime's start to its first /next, is the one that
the emulator in it reports. Both clients run the same handler on the same interpreter under the same processor quota, in
turns.
"""

from __future__ import annotations

import io
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import output
from bench.report import Cells, Progress, about, filled, machine, summary, text
from samovar.local import rie
from tests.container import engine
from tests.container.engine import Environment

VERSION, BUNDLED = "3.13", "3.11"  # in the images, and Debian 12's for the bundled layer
MEMORY = (128, 512)  # MB; the processor's share is as Lambda's
SAMOVAR, PEER = "samovar", "awslambdaric"
SIZE_TARGETS = {"layer": 1_000_000, "layer with an interpreter": 20_000_000}  # bytes


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
    parser = output.arguments("bench.containers", __doc__)
    parser.add_argument("--rounds", type=int, help="the number of containers for each figure")
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
        print("", text(size_cells(sizes)), "", sep="\n", flush=True)
        starts = measure(client, places, asked.rounds or (3 if asked.quick else 11))
    document = {"machine": machine(), "quick": asked.quick, "bytes": sizes, "cold start, ms": starts}
    print(text(start_cells(starts)), "", filled(about(document["machine"])), sep="\n")
    print(f"All figures: {output.shown(output.write('containers', document, output.folder(asked.quick)))}")
    return 0


def build(client: Any, work: Path) -> tuple[dict[str, Place], dict[str, int]]:
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
    return places, {
        "layer": zips["unbundled"].stat().st_size,
        "layer with an interpreter": zips["bundled"].stat().st_size,
        "Samovar in an image": image[SAMOVAR] - image["base"],
        "awslambdaric in an image": image[PEER] - image["base"],
        "the emulator in either image": Path(rie.find()).stat().st_size,
    }


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


def size_cells(sizes: Mapping[str, int]) -> Cells:
    """Return the table of sizes: the layers as zipped, and what each client adds to an image."""
    lines = [["size", "MB", "target"]]
    for name, size in sizes.items():
        limit = SIZE_TARGETS.get(name)
        held = f"≤ {limit / 1e6:.0f}: {'met' if size <= limit else 'MISSED'}" if limit else ""
        lines.append([name, f"{size / 1e6:.2f}", held])
    return lines


def start_cells(starts: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Cells:
    """Return the table of cold starts."""
    lines = [["INIT in the container, ms", SAMOVAR, PEER, "ratio"]]
    for row, both in starts.items():
        ours, theirs = both[SAMOVAR]["median"], both[PEER]["median"]
        lines.append([row, f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.2f}"])
    return lines


if __name__ == "__main__":
    sys.exit(main())
