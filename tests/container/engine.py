"""A container engine, the base images, and one environment in a container. For the container tests and benchmark."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import docker
import docker.errors
import urllib3

from samovar.local.layer.build import Order

ROOT = Path(__file__).resolve().parent.parent.parent
TASK = Path(__file__).resolve().parent / "task"
GET_ENGINE = "tools/docker-engine starts one on Debian, as root; elsewhere start Docker or set DOCKER_HOST"
OS_ONLY = "samovar-base/provided:debian12"
# Python version -> base image, and the interpreter's full path unless it is the image's python3.
BASES = {
    "3.11": ("samovar-base/python:3.11", ""),
    "3.13": ("samovar-base/python:3.13", ""),
    "3.14": ("samovar-base/python:3.15", ""),
    "3.15": ("samovar-base/python:3.15", "/usr/bin/python3.15"),
}
# One vCPU at 1,769 MB: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
VCPU_MB = 1769
PERIOD_US = 20_000  # the engine's default of 100 ms would round a short start up to whole periods


class NoEngine(Exception):
    """There is no container engine, or a base image is missing. The message says how to get it."""


def connect() -> Any:
    """Return a client of the container engine. Raises NoEngine without an engine or a base image."""
    try:
        client = docker.from_env(timeout=300)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise NoEngine(f"no container engine answers: {GET_ENGINE} ({error})") from None
    for image in sorted({OS_ONLY, *(base for base, _ in BASES.values())}):
        try:
            client.images.get(image)
        except docker.errors.ImageNotFound:
            raise NoEngine(f"the base image {image} is missing: run tools/docker-engine {image}") from None
    return client


def build(client: Any, context: Path, tag: str, **options: Any) -> str:
    """Build `context` as the image `tag` and return its name. If that fails, the error has the build's output."""
    try:
        client.images.build(path=str(context), tag=tag, rm=True, forcerm=True, **options)
    except docker.errors.BuildError as error:
        printed = "".join(line.get("stream", "") for line in error.build_log)
        raise RuntimeError(f"building {tag} failed: {error}\n{printed}") from None
    return tag


def samovar_image(client: Any, version: str) -> str:
    """Build the project's image on the base with Python `version`."""
    base, python = BASES[version]
    return build(
        client,
        ROOT,
        f"samovar-test/python:{version}",
        buildargs={"BASE_IMAGE": base, "PYTHON": python},
    )


def build_with_buildkit(context: Path, tag: str, **arguments: str) -> str:
    """Build `context` as the image `tag` with BuildKit and return its name. Raises NoEngine where no `docker` has it.

    A client from version 23 on needs the plug-in buildx for it; an older one has it built in.
    """
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for docker_client in dict.fromkeys(filter(None, (shutil.which("docker", path=folder) for folder in folders))):
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        command = [docker_client, "build", "--tag", tag, *options, str(context)]
        done = subprocess.run(
            command,
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if "buildx component is missing" not in done.stdout:
            assert done.returncode == 0, done.stdout
            return tag
    raise NoEngine("no `docker` on PATH can use BuildKit: install its plug-in buildx")


def pinned(*names: str) -> str:
    """Return the lines of requirements/dev.txt for these packages, including hashes."""
    text = (ROOT / "requirements" / "dev.txt").read_text()
    return "".join(re.search(rf"^{name}==(?:.*\\\n)*.*\n", text, re.MULTILINE)[0] for name in names)  # type: ignore[index]


def official_image(client: Any, version: str, folder: Path) -> str:
    """Build an image laid out as AWS's for python3.x: interpreter in /var/lang, official client in /var/runtime."""
    for file in (TASK.parent / "aws").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
        (folder / file.name).chmod(file.stat().st_mode)
    (folder / "requirements.txt").write_text(pinned("awslambdaric", "simplejson", "snapshot-restore-py"))
    arguments = {"BASE_IMAGE": BASES[version][0], "VERSION": version}
    return build(client, folder, f"samovar-test/aws:{version}", buildargs=arguments)


# For the imports of tests/contract and the pytest settings in pyproject.toml.
CONTRACT_PACKAGES = (
    *("awslambdaric", "simplejson", "snapshot-restore-py", "urllib3", "orjson"),
    *("pytest", "iniconfig", "packaging", "pluggy", "pygments", "pytest-timeout", "hypothesis", "sortedcontainers"),
)


def contract_image(client: Any, version: str, folder: Path) -> str:
    """Build an image with this checkout and the packages of tests/contract, on the base with Python `version`."""
    (folder / "requirements.txt").write_text(pinned(*CONTRACT_PACKAGES))
    (folder / "Dockerfile").write_bytes((TASK.parent / "contract" / "Dockerfile").read_bytes())
    copy_checkout(folder / "checkout")
    arguments = {"BASE_IMAGE": BASES[version][0], "VERSION": version}
    return build(client, folder, f"samovar-test/contract:{version}", buildargs=arguments)


NOT_COPIED = (".git", ".venv*", "build", "node_modules", "__pycache__", ".aws-sam", ".hypothesis", ".*_cache")


def copy_checkout(target: Path) -> None:
    """Copy this checkout without anything built in it, or written there by a test that runs beside this one."""
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*NOT_COPIED))


def install_sam() -> None:
    """Install the SAM CLI if it is missing: one of the processes that run tests does, and the others wait."""
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / "sam.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "--silent", "sam"], cwd=ROOT, check=True)


def layer(version: str, target: Path, **variables: str) -> Path:
    """Build the layer in `target` with layer.zip.mk and return the zip."""
    make(version, target, "layer", 0, **variables)
    return archive(target)


def archive(folder: Path) -> Path:
    """Return the one layer in `folder`."""
    (found,) = folder.glob("layer*.zip")
    return found


def make(version: str, target: Path, goal: str, expect: int = 0, /, **variables: str) -> str:
    """Run layer.zip.mk for Python `version`, building in `target`; check its exit status and return its output."""
    variables = {"PYTHON": sys.executable, "PYTHON_VERSION": version, "OUT": str(target), **variables}
    if "BYTECODE_IMAGE" not in variables:
        variables["BYTECODE_IMAGE"] = BASES[version][0]
    command = ["make", "-f", "layer.zip.mk", goal, *(f"{name}={value}" for name, value in variables.items())]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == expect, done.stdout
    return done.stdout


DIRECT = """
import sys
from pathlib import Path
from samovar.local.console import CommandError
from samovar.local.layer import build
try:
    build.layer_zip(eval(sys.argv[1], vars(build)), Path(sys.argv[2]), Path(sys.argv[2]).with_suffix(".cdx.json"))
except CommandError as error:
    sys.exit(str(error))
"""


def direct(order: Order, target: Path, status: int = 1) -> str:
    """Build `order` as `target` by itself, without the command; check the exit status and return the output."""
    written = repr(order).replace("PosixPath(", "Path(")
    done = subprocess.run([sys.executable, "-c", DIRECT, written, target], capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def unpack(archive: Path, target: Path) -> Path:
    """Unpack a layer as Lambda does, with a folder to mount another layer's Python packages on."""
    (target / "python").mkdir(parents=True)
    subprocess.run(
        [sys.executable, ROOT / "runtime" / "samovar" / "local" / "layer" / "unpack.py", archive, target], check=True
    )
    for folder, _, _ in os.walk(target):
        os.chmod(folder, 0o755)
    return target


def python_prefix(client: Any, version: str, target: Path) -> Path:
    """Copy a relocatable prefix with Debian's Python `version`, and dpkg's records, from its base image."""
    container = client.containers.create(BASES[version][0])
    triplet = (
        container.image.attrs["Architecture"].replace("amd64", "x86_64").replace("arm64", "aarch64") + "-linux-gnu"
    )
    try:
        prefix = [f"usr/bin/python{version}", f"usr/lib/python{version}", f"usr/lib/{triplet}"]
        for place in (*prefix, "usr/lib/os-release", "usr/share/doc", "usr/share/common-licenses", "var/lib/dpkg"):
            chunks, _ = container.get_archive(f"/{place}")
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
                archive.extractall((target / place).parent, filter="tar")
    finally:
        container.remove(v=True)
    return target / "usr"


class Environment:
    """One environment: a container under the emulator, with a read-only root, an unknown user and a writable /tmp.

    `memory` in MB is enforced; `cpus` is the share of one core. Leaving the block removes the container.
    """

    def __init__(
        self,
        client: Any,
        image: str,
        command: list[str] | None = None,
        *,
        entrypoint: list[str] | None = None,
        env: Mapping[str, str] | None = None,
        mounts: Mapping[Any, str] | None = None,
        memory: int = 256,
        cpus: float | None = None,
        user: str = "54321:54321",
    ) -> None:
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=120), retries=False)
        self.container = client.containers.create(
            image,
            command,
            entrypoint=entrypoint,
            environment={"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory), **(env or {})},
            volumes={str(source): {"bind": target, "mode": "ro"} for source, target in (mounts or {}).items()},
            read_only=True,
            tmpfs={"/tmp": ""},
            user=user,
            mem_limit=f"{memory}m",
            memswap_limit=f"{memory}m",
            cpu_period=PERIOD_US if cpus else None,
            cpu_quota=max(1000, round(PERIOD_US * cpus)) if cpus else None,
            ports={"8080/tcp": ("127.0.0.1", None)},
        )

    def __enter__(self) -> Self:
        self.container.start()
        self.container.reload()
        port = self.container.ports["8080/tcp"][0]["HostPort"]
        self.url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        deadline = time.monotonic() + 60
        # The engine's proxy takes connections before the emulator does, so wait for an answer to any request.
        while True:
            try:
                self._http.request("GET", f"http://127.0.0.1:{port}/")
                return self
            except urllib3.exceptions.HTTPError as error:
                self.container.reload()
                if self.container.status == "exited" or time.monotonic() > deadline:
                    raise AssertionError(f"the container does not listen ({error}):\n{self.log()}") from None
                time.sleep(0.02)

    def __exit__(self, *exception: object) -> None:
        self.container.remove(force=True, v=True)

    def invoke(self, event: Any) -> Any:
        """Send one event and return the function's response."""
        answer = self._http.request(
            "POST", self.url, body=json.dumps(event), headers={"Content-Type": "application/json"}
        )
        try:
            return json.loads(answer.data)
        except ValueError:
            raise AssertionError(f"status {answer.status}, body {answer.data[:500]!r}:\n{self.log()}") from None

    def log(self) -> str:
        """Return the container's output so far, stdout and stderr."""
        return str(self.container.logs().decode(errors="replace"))

    def wait_log(self, text: str, times: int = 1) -> str:
        """Wait until the log contains `text` that often (the engine writes it late) and return it; fail after 30 s."""
        deadline = time.monotonic() + 30
        while (log := self.log()).count(text) < times:
            if time.monotonic() > deadline:
                raise AssertionError(f"{text!r} is not {times} times in the log:\n{log}")
            time.sleep(0.02)
        return log

    def outputs(self) -> tuple[str, str]:
        """Return stdout and stderr so far."""
        both: Iterator[bytes] = (self.container.logs(stdout=out, stderr=not out) for out in (True, False))
        stdout, stderr = (text.decode(errors="replace") for text in both)
        return stdout, stderr

    def stop(self) -> int:
        """End the container with SIGTERM, as Lambda does, or SIGKILL after 10 s; return the exit status."""
        self.container.stop(timeout=10)
        self.container.reload()
        return int(self.container.attrs["State"]["ExitCode"])
