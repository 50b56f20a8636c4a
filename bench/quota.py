"""A share of a core, as a small function has on Lambda: a control group with a quota (v1 or v2), or a container.

Knows nothing about the processes in it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.launcher import Launcher

PERIOD = 20_000  # microseconds; the kernel's default of 100 ms would round all times to multiples of it


_V1 = {"cpu.cfs_period_us": "{period}", "cpu.cfs_quota_us": "{quota}"}
_V2 = {"cpu.max": "{quota} {period}"}


class NoQuota(Exception):
    """The processor cannot be limited on this machine; the text says why."""


@contextlib.contextmanager
def launcher(share: float, folder: Path, core: int | None) -> Iterator[Launcher]:
    """Yield a launcher whose processes together have `share` of one core. Raises NoQuota.

    It is in a control group if one can be created (as root it can), else in a container.
    """
    try:
        group = _make(share)
    except NoQuota as exc:
        with _container(share, folder, core, exc) as made:
            yield made
        return
    try:
        with contextlib.closing(Launcher(folder, core, group)) as made:
            yield made
    finally:
        group.rmdir()


@contextlib.contextmanager
def _container(share: float, folder: Path, core: int | None, why: object) -> Iterator[Launcher]:
    """Yield a launcher in a container with the quota and this machine's files, processes and network."""
    import docker
    from docker.errors import DockerException

    with tempfile.TemporaryDirectory(prefix="samovar-bench-") as place, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place}/launcher")
        listener.listen()
        listener.settimeout(30)
        command = [f"--userspec={os.getuid()}:{os.getgid()}", "/host", sys.executable, "-m", "bench.launcher"]
        command += [f"{place}/launcher", str(folder), *([str(core)] if core is not None else [])]
        container = None
        try:
            engine = docker.from_env()
            image = next(image for image in engine.images.list() if any("python" in tag for tag in image.tags))
            container = engine.containers.run(
                image,
                command,
                entrypoint="chroot",
                user="0",
                detach=True,
                volumes={"/": {"bind": "/host"}},
                network_mode="host",
                pid_mode="host",
                cpu_period=PERIOD,
                cpu_quota=_quota(share),
                environment={"PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
            )
            connection, _ = listener.accept()
        except StopIteration:
            raise NoQuota(f"{why}, and the container engine has no image with python in its name") from None
        except (DockerException, OSError) as exc:
            said = container.logs().decode().strip() if container is not None else ""
            raise NoQuota(f"{why}, and no container started: {exc} {said}") from None
        else:
            with contextlib.closing(Launcher(folder, over=connection)) as made:
                yield made
        finally:
            if container is not None:
                container.remove(force=True)


def _quota(share: float) -> int:
    return max(1000, round(PERIOD * share))  # the kernel's minimum is 1 ms


def _make(share: float) -> Path:
    reasons = []
    for controller, files in _places():
        folder = controller / f"samovar-bench-{os.getpid()}-{round(share * 100):02d}"
        try:
            folder.mkdir()
        except OSError as exc:
            reasons.append(f"{exc.strerror}: {folder}")
            continue
        try:
            for name, value in files.items():
                (folder / name).write_text(value.format(quota=_quota(share), period=PERIOD))
        except OSError as exc:
            folder.rmdir()
            reasons.append(f"{exc.strerror}: {exc.filename}")
            continue
        return folder
    raise NoQuota(
        "no control group can be created (it takes root): " + "; ".join(reasons or ["no cpu controller is mounted"])
    )


def _places() -> Iterator[tuple[Path, dict[str, str]]]:
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, options = line.split(" ")[:4]
        if kind == "cgroup" and "cpu" in options.split(","):
            path = next((path for names, path in own.items() if "cpu" in names.split(",")), "/")
            yield _existing(mount, path), _V1
        elif kind == "cgroup2":
            yield _existing(mount, own.get("", "/")), _V2
            yield Path(mount), _V2


def _existing(mount: str, path: str) -> Path:
    inside = Path(mount) / path.lstrip("/")
    return inside if inside.is_dir() else Path(mount)
