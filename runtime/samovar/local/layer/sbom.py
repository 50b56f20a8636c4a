"""Bills of materials in CycloneDX 1.6: of a layer and the interpreter in it, by the library of that standard.

A bill is beside what it describes, since it holds its hash. The same artefact always gets the same bill.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.contrib.this.builders import this_component
from cyclonedx.model import AttachedText, HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.spdx import is_supported_id
from license_expression import get_spdx_licensing
from packageurl import PackageURL

from samovar import __version__
from samovar.local.layer.libraries import Library


def artefact(
    name: str,
    digest: str,
    parts: Iterable[Component],
    properties: Mapping[str, str],
    kind: ComponentType = ComponentType.FILE,
    purl: PackageURL | None = None,
) -> Component:
    """Describe what a bill is of, under the licences of all its parts."""
    return Component(
        name=name,
        type=kind,
        version=__version__,
        supplier=OrganizationalEntity(name="The Samovar authors"),
        bom_ref=name,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        licenses=[LicenseExpression(together(parts))],
        properties=[Property(name=f"samovar:{key}", value=value) for key, value in properties.items()],
        purl=purl,
    )


def together(parts: Iterable[Component]) -> str:
    """Return the one expression that says under which licences all of `parts` are."""
    said = sorted({expression(part) for part in parts} - {""})
    return str(get_spdx_licensing().parse(" AND ".join(f"({licence})" for licence in said)).simplify())


def expression(part: Component) -> str:
    """Return a component's licence as an SPDX expression; "" where it names none, or in words of its own."""
    for licence in part.licenses:
        if isinstance(licence, LicenseExpression):
            return licence.value
        if licence.id or str(licence.name).startswith("LicenseRef-"):
            return str(licence.id or licence.name)
    return ""


def packages(library: Path, wheels: Iterable[Path] = ()) -> list[Component]:
    """Describe the packages that have a .dist-info in `library`, those of `wheels` with the hash of their wheel."""
    digests = {wheel.name.split("-")[0]: file_digest(wheel) for wheel in wheels}
    found = []
    for folder in sorted(library.glob("*.dist-info")):
        inner = [json.loads(bill.read_text()) for bill in sorted(folder.glob("sboms/*.json"))]
        found.append(package((folder / "METADATA").read_text(), digests.get(folder.name.split("-")[0]), inner))
    return found


def package(metadata: str, digest: str | None = None, inner: Iterable[Any] = ()) -> Component:
    """Describe a Python package by its METADATA, and what is compiled into it by its own bills (PEP 770)."""
    fields = HeaderParser().parsestr(metadata)
    purl = PackageURL("pypi", None, fields["Name"].lower(), fields["Version"])
    licence = fields["License-Expression"] or fields["License"]
    compiled = []
    for bill in inner:
        for part in Bom.from_json(bill).components:  # type: ignore[attr-defined]
            part.bom_ref.value = f"{purl}#{part.purl}"
            compiled.append(part)
    return Component(
        name=fields["Name"],
        version=fields["Version"],
        description=fields["Summary"],
        bom_ref=str(purl),
        purl=purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else [],
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
        components=compiled,
    )


def cpython(version: str, text: str = "", purl: str | None = None) -> Component:
    """Describe an interpreter, with the text of its licence; `purl` is that of its package, if any."""
    return Component(
        name="cpython",
        type=ComponentType.PLATFORM,
        version=version,
        bom_ref="cpython",
        purl=PackageURL.from_string(purl or f"pkg:generic/cpython@{version}"),
        cpe=f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
        licenses=[DisjunctiveLicense(id="PSF-2.0", text=AttachedText(content=text) if text else None)],
    )


def library(library: Library) -> Component:
    """Describe a library of an interpreter."""
    text = AttachedText(content=library.text) if library.text else None
    known = is_supported_id(library.licence)
    return Component(
        name=library.name,
        version=library.version,
        bom_ref=library.name,
        purl=PackageURL.from_string(library.purl) if library.purl else None,
        cpe=library.cpe,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=library.digest)] if library.digest else [],
        licenses=[
            DisjunctiveLicense(
                id=library.licence if known else None, name=None if known else library.licence, text=text
            )
        ],
    )


def document(parts: Iterable[Component], root: Component | None = None) -> str:
    """Return the bill of `parts`, which are those of `root` where it has one."""
    tool = ToolRepository(components=[this_component()])
    bom = Bom(components=parts, metadata=BomMetaData(component=root, tools=tool))
    if root:
        bom.register_dependency(root, bom.components)
    written = json.loads(JsonV1Dot6(bom).output_as_string())
    # Neither the hour nor a random number: they would make another bill of the same artefact.
    written["metadata"].pop("timestamp", None)
    written.pop("serialNumber", None)
    if root:
        digest = next(iter(root.hashes)).content
        written["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, f"sha256:{digest}").urn
    return json.dumps(written, indent=2) + "\n"


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
