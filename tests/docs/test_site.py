"""The documentation site: it builds strictly, asks no other host for anything, and leaves out no public name."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest

import samovar
import samovar.caching
import samovar.companion
import samovar.local
from tests.conftest import ROOT

DOCS = ROOT / ".venv-docs"


class Tag(NamedTuple):
    page: str
    name: str
    attributes: dict[str, str | None]


class _Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page
        self.found: list[Tag] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(Tag(self.page, tag, dict(attrs)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    if not (DOCS / ".done").exists():
        pytest.skip("MkDocs is not installed: run `make docs`, which puts it into .venv-docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [DOCS / "bin" / "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="module")
def tags(site: Path) -> list[Tag]:
    def parsed() -> Iterator[Tag]:
        for page in sorted(site.rglob("*.html")):
            parser = _Tags(str(page.relative_to(site)))
            parser.feed(page.read_text())
            yield from parser.found

    return list(parsed())


def test_the_site_has_a_page_for_each_file_in_docs(site: Path) -> None:
    for file in (ROOT / "docs").glob("*.md"):
        assert (site / ("." if file.stem == "index" else file.stem) / "index.html").is_file()


def test_the_site_loads_nothing_from_another_host(site: Path, tags: list[Tag]) -> None:
    loaded = [
        (tag.page, tag.name, address)
        for tag in tags
        for attribute in ("src", "srcset", "href", "data")
        if tag.name not in ("a", "form") and (address := tag.attributes.get(attribute))
        if tag.attributes.get("rel") not in ("canonical", "edit")
    ]
    assert loaded
    assert [each for each in loaded if re.match(r"(https?:)?//", each[2])] == []
    # The theme's script asks GitHub about the repository that such an element names.
    assert [tag for tag in tags if tag.attributes.get("data-md-component") == "source"] == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", sheet.read_text()), sheet


def test_links_to_the_repository_name_its_files(tags: list[Tag]) -> None:
    """The hook tools/docs_links.py makes them; a link that it has not understood leads out of the site."""
    addresses = [(tag.page, tag.attributes.get("href") or "") for tag in tags if tag.name == "a"]
    assert [each for each in addresses if re.match(r"(\.\./)+[^#]*\.(md|py|mk|toml)\b", each[1])] == []


def test_the_api_reference_has_every_public_name(tags: list[Tag]) -> None:
    anchors = {(tag.attributes.get("id") or "").rpartition(".")[2] for tag in tags if tag.page == "api/index.html"}
    modules = (samovar, samovar.caching, samovar.companion, samovar.local)
    assert {name for module in modules for name in module.__all__} - anchors == set()


def test_settings_names_every_variable_that_the_code_reads() -> None:
    sources = [ROOT / "bootstrap", *(ROOT / "runtime" / "samovar").rglob("*.py")]
    read = {name for source in sources for name in re.findall(r"\bSAMOVAR_[A-Z_]+\b", source.read_text())}
    assert read == set(re.findall(r"\bSAMOVAR_[A-Z_]+\b", (ROOT / "docs" / "settings.md").read_text()))
