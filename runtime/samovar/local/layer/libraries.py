"""The libraries that a bundled interpreter brings: their versions, licences and the texts of these.

A library is a file of its own, as with Debian's Python, or part of the interpreter's, as with python-build-standalone.
The version and the licence's text of the first come from Debian's package where there is one; of all others the version
is read from the bytes, and the texts are in files/LICENSE.NAME.txt.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from samovar.local.console import say
from samovar.local.layer import tools


@dataclass(frozen=True)
class Known:
    """A library. `mark` is in its bytes, with the version as its group where these have one; `cpe`: vendor:product."""

    name: str
    licence: str
    files: str
    mark: bytes
    cpe: str = ""


NEVER = rb"(?!)"
KNOWN = (
    Known("openssl", "Apache-2.0", r"lib(ssl|crypto)\b.*", rb"OpenSSL (3\.\d+\.\d+) +\d+ \w+ \d{4}", "openssl:openssl"),
    Known("sqlite", "blessing", r"libsqlite3\b.*", rb"\0(3\.[3-9]\d\.\d+)\0", "sqlite:sqlite"),
    Known("zlib", "Zlib", r"libz\b.*", rb"inflate (\d+\.[\d.]*\d)[ \w.-]* Copyright", "zlib:zlib"),
    Known("bzip2", "bzip2-1.0.6", r"libbz2\b.*", rb"\0(\d\.\d+\.\d+), +\d+-\w+-\d{4}", "bzip:bzip2"),
    Known("xz", "0BSD", r"liblzma\b.*", rb"\xfd7zXZ\0", "tukaani:xz"),
    Known("zstd", "BSD-3-Clause", r"libzstd\b.*", rb"Frame requires too much memory", "facebook:zstandard"),
    Known("libffi", "MIT", r"libffi\b.*", rb"ffi_prep_cif failed", "libffi_project:libffi"),
    Known("expat", "MIT", r"libexpat\b.*", rb"expat_(\d+\.\d+\.\d+)", "libexpat_project:libexpat"),
    Known("libuuid", "BSD-3-Clause", r"libuuid\b.*", rb"libuuid/clock"),
    Known("mpdecimal", "BSD-2-Clause", r"libmpdec\b.*", rb"mpd_setminalloc: ignoring"),
    Known("ncurses", "X11-distribute-modifications-variant", r"lib(ncurses|tinfo|panel)w?\b.*", rb"ncurses (\d\.\d+)"),
    Known("libedit", "BSD-3-Clause", r"libedit\b.*", rb"EditLine wrapper"),
    Known("berkeley-db", "Sleepycat", r"libdb-.*", rb"Berkeley DB (\d+\.\d+\.\d+)", "oracle:berkeley_db"),
    Known("libxcrypt", "LGPL-2.1-or-later", r"libcrypt\b.*", NEVER),  # never linked in
)


@dataclass(frozen=True)
class Library:
    """A library of the bundle. `licence`: an SPDX identifier, or LicenseRef-NAME; `digest` of a file of its own."""

    name: str
    version: str | None
    licence: str
    text: str
    purl: str | None = None
    cpe: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Package:
    """A package of the system that is installed at `root`."""

    root: Path
    name: str
    version: str
    purl: str


def collect(python: Path, came: Mapping[str, Path], arch: str) -> list[Library]:
    """Return the libraries of the interpreter at `python`, and write the texts of their licences to its licences/.

    Args:
        python: The folder with bin/ and lib/.
        came: The shared libraries in its lib/, and where each was copied from.
        arch: Lambda's name of its machine.
    """
    licences = python / "licences"
    licences.mkdir()
    found = [_shared(python / "lib" / name, source, arch, licences) for name, source in sorted(came.items())]
    found += _linked_in(python, came)
    for library in found:
        if library.text:
            (licences / f"{library.name}.txt").write_text(library.text)
        else:
            say(f"no licence text was found for {library.name}: the layer goes without it")
    return found


def _shared(file: Path, source: Path, arch: str, licences: Path) -> Library:
    known = next((known for known in KNOWN if re.fullmatch(known.files, file.name)), None)
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    licence = known.licence if known else f"LicenseRef-{re.sub(r'[^A-Za-z0-9.-]', '-', file.name)}"
    package = package_of(source, arch)
    if package is None:
        version = _version(known, content) if known else None
        return Library(file.name, version, licence, _text(known), cpe=_cpe(known, version), digest=digest)
    upstream = re.sub(r"^\d+:|(\.dfsg|[+~-]).*$", "", package.version)
    if known and known.name == "xz" and upstream.startswith(("5.0", "5.2", "5.4")):
        licence = "LicenseRef-public-domain"
    text = _debian_text(package, licences) or _text(known)
    return Library(file.name, package.version, licence, text, package.purl, _cpe(known, upstream), digest)


def _linked_in(python: Path, came: Mapping[str, Path]) -> Iterator[Library]:
    shared = {known.name for known in KNOWN for name in came if re.fullmatch(known.files, name)}
    own = [path for path in (*python.rglob("bin/*"), *python.rglob("*.so*")) if path.name not in came]
    contents = [path.read_bytes() for path in own if path.is_file()]
    for known in KNOWN:
        if known.name in shared or not any(re.search(known.mark, content) for content in contents):
            continue
        version = next(filter(None, (_version(known, content) for content in contents)), None)
        name = f"pkg:generic/{known.name}" + (f"@{version}" if version else "")
        yield Library(known.name, version, known.licence, _text(known), name, _cpe(known, version))


def _version(known: Known, content: bytes) -> str | None:
    found = re.search(known.mark, content)
    return found[1].decode() if found and found.groups() else None


def _text(known: Known | None) -> str:
    if known is None:
        return ""
    file = tools.FILES / ("LICENSE" if known.licence == "Apache-2.0" else f"LICENSE.{known.name}.txt")
    return file.read_text() if file.exists() else ""


def _cpe(known: Known | None, version: str | None) -> str | None:
    return f"cpe:2.3:a:{known.cpe}:{version}:*:*:*:*:*:*:*" if known and known.cpe and version else None


def package_of(file: Path, arch: str) -> Package | None:
    """Return the package that brought `file`; None where that system has no packages as Debian has them."""
    for root in file.parents:
        database = root / "var" / "lib" / "dpkg"
        if not (database / "status").is_file():
            continue
        # /lib is a link to /usr/lib, and packages say either.
        names = {f"/{file.relative_to(root)}", f"/{file.relative_to(root)}".removeprefix("/usr")}
        for listed in sorted((database / "info").glob("*.list")):
            if names.intersection(listed.read_text().splitlines()):
                name = listed.stem.partition(":")[0]
                version = next(v for n, v in installed((database / "status").read_text()) if n == name)
                release = (root / "usr" / "lib" / "os-release").read_text()
                return Package(root, name, version, purl(name, version, arch, os_release(release)))
    return None


def installed(status: str) -> Iterator[tuple[str, str]]:
    """Read the names and versions of the packages in dpkg's file `status`."""
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            yield fields["Package"], fields["Version"]


def purl(name: str, version: str, arch: str, release: Mapping[str, str]) -> str:
    """Return the package URL by which scanners look up a package of Debian or Ubuntu."""
    system = release.get("ID", "debian")
    distro = f"&distro={system}-{release['VERSION_ID']}" if "VERSION_ID" in release else ""
    return f"pkg:deb/{system}/{name}@{version}?arch={arch.replace('x86_64', 'amd64')}{distro}"


def os_release(text: str) -> dict[str, str]:
    """Return the fields of an os-release file."""
    return dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))


def _debian_text(package: Package, licences: Path) -> str:
    """Return the package's copyright file, and bring the licences that it refers to; "" where there is none."""
    share = package.root / "usr" / "share"
    try:
        text = (share / "doc" / package.name / "copyright").read_text(errors="replace")
    except OSError:
        return ""
    for name in set(re.findall(r"/usr/share/common-licenses/([A-Za-z][A-Za-z0-9.-]*[A-Za-z0-9])", text)):
        if (share / "common-licenses" / name).is_file():
            (licences / "common-licenses").mkdir(exist_ok=True)
            shutil.copyfile(share / "common-licenses" / name, licences / "common-licenses" / name)
    return text
