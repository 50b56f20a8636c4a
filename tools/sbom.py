"""Bills of materials of what is built beside the layers: `make image` and `make dist` call it.

python -I tools/sbom.py image IMAGE FILE    what is in the image, to FILE
python -I tools/sbom.py dist FILE...        a bill beside each wheel and source archive, FILE.cdx.json
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "runtime"))
from samovar.local.layer import tools  # noqa: E402

sys.path.insert(0, str(tools.fetch("layer-tools", ROOT / "build")))
from cyclonedx.model import HashAlgorithm, HashType, Property  # noqa: E402
from cyclonedx.model.bom import Bom  # noqa: E402
from cyclonedx.model.component import Component, ComponentType  # noqa: E402
from cyclonedx.model.license import DisjunctiveLicense  # noqa: E402
from packageurl import PackageURL  # noqa: E402
from packaging.requirements import Requirement  # noqa: E402

from samovar.local.layer import libraries, sbom  # noqa: E402

EMULATOR = "usr/local/bin/aws-lambda-rie"
WANTED = re.compile(
    rf"(usr/lib|etc)/os-release|var/lib/dpkg/status(\.d/[^/]+)?|{EMULATOR}"
    r"|.+\.dist-info/(METADATA|sboms/.+\.json)|opt/samovar/.+\.cdx\.json"
)


def image(name: str) -> str:
    """Return the bill of an image: the system's packages, Python's, and the parts that have bills of their own."""
    (about,) = json.loads(docker("image", "inspect", name))
    container = docker("create", name).decode().strip()
    try:
        files = dict(exported(container))
    finally:
        docker("rm", "--volumes", container)
    arch = about["Architecture"].replace("amd64", "x86_64")
    parts = [*packages(files), *system(files, arch), *interpreter(about["Config"].get("Env") or [])]
    for file, content in files.items():
        if file.endswith(".cdx.json"):
            parts += Bom.from_json(json.loads(content)).components
    if EMULATOR in files:
        parts.append(emulator(files[EMULATOR]))
    digest = about["Id"].removeprefix("sha256:")
    purl = PackageURL(
        "oci", None, name.rpartition("/")[2].partition(":")[0], about["Id"], {"arch": about["Architecture"]}
    )
    root = sbom.artefact(name, digest, parts, {"architecture": arch}, ComponentType.CONTAINER, purl)
    return sbom.document(parts, root)


def docker(*arguments: str) -> bytes:
    done = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"tools/sbom.py: docker {arguments[0]} failed: see its message above")
    return done.stdout


def exported(container: str) -> Iterator[tuple[str, bytes]]:
    """Read the files of a container that say what is in it, without running anything of it."""
    with (
        subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export,
        tarfile.open(fileobj=export.stdout, mode="r|") as archive,
    ):
        for entry in archive:
            if entry.isfile() and WANTED.fullmatch(entry.name):
                yield entry.name, archive.extractfile(entry).read()  # type: ignore[union-attr]


def packages(files: dict[str, bytes]) -> Iterator[Component]:
    """Describe Python's packages, each with what its own bills say is compiled into it."""
    for name, content in files.items():
        folder, _, file = name.rpartition("/")
        if file == "METADATA":
            inner = [json.loads(files[bill]) for bill in files if bill.startswith(f"{folder}/sboms/")]
            yield sbom.package(content.decode(errors="replace"), inner=inner)


def system(files: dict[str, bytes], arch: str) -> Iterator[Component]:
    """Describe the base image's system and its packages, where these are Debian's."""
    release = libraries.os_release((files.get("usr/lib/os-release") or files.get("etc/os-release", b"")).decode())
    yield Component(
        name=release.get("ID", "linux"),
        version=release.get("VERSION_ID"),
        description=release.get("PRETTY_NAME"),
        type=ComponentType.OPERATING_SYSTEM,
        bom_ref="operating-system",
    )
    for file in sorted(files):
        if file.startswith("var/lib/dpkg/status"):
            for name, version in libraries.installed(files[file].decode(errors="replace")):
                purl = libraries.purl(name, version, arch, release)
                yield Component(name=name, version=version, bom_ref=purl, purl=PackageURL.from_string(purl))


def interpreter(environment: list[str]) -> Iterator[Component]:
    """Describe the interpreter of a base image that no package of its system brought, as in Docker's Python images."""
    variables = dict(line.split("=", 1) for line in environment)
    if version := variables.get("PYTHON_VERSION"):
        yield sbom.cpython(version)


def emulator(content: bytes) -> Component:
    pins = (ROOT / "requirements" / "sam.txt").read_text()
    pin = next(line for line in pins.splitlines() if line.startswith("aws-sam-cli=="))
    return Component(
        name="aws-lambda-rie",
        type=ComponentType.APPLICATION,
        description=f"from the wheel {pin.split()[0]}",
        bom_ref="aws-lambda-rie",
        purl=PackageURL("github", "aws", "aws-lambda-runtime-interface-emulator"),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(content).hexdigest())],
        licenses=[DisjunctiveLicense(id="Apache-2.0")],
    )


def distribution(file: Path) -> str:
    """Return the bill of a wheel or a source archive, in which there is samovar alone, and of what it requires."""
    content = file.read_bytes()
    if file.suffix == ".whl":
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            metadata = next(wheel.read(name) for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    else:
        with tarfile.open(fileobj=io.BytesIO(content)) as source:
            found: Any = next(
                entry for entry in source if entry.name.count("/") == 1 and entry.name.endswith("/PKG-INFO")
            )
            metadata = source.extractfile(found).read()  # type: ignore[union-attr]
    own = sbom.package(metadata.decode())
    parts = [own, *required(metadata.decode())]
    purl = PackageURL("pypi", None, own.name, own.version, {"file_name": file.name})
    return sbom.document(parts, sbom.artefact(file.name, hashlib.sha256(content).hexdigest(), parts, {}, purl=purl))


def required(metadata: str) -> Iterator[Component]:
    """Describe the packages that pip brings with it, without versions, which each installation has its own of."""
    for said in HeaderParser().parsestr(metadata).get_all("Requires-Dist", []):
        requirement = Requirement(said)
        if "extra" not in str(requirement.marker):
            purl = PackageURL("pypi", None, requirement.name)
            requires = Property(name="samovar:requirement", value=said)
            yield Component(name=requirement.name, bom_ref=str(purl), purl=purl, properties=[requires])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["image", name, file]:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(image(name))
            print(file)
        case ["dist", *names] if names:
            for name in names:
                bill = Path(f"{name}.cdx.json")
                bill.write_text(distribution(Path(name)))
                print(bill)
        case _:
            sys.exit(__doc__)
