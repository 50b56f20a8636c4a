"""README.md keeps its promises, and every page's links, anchors, make targets and commands exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from samovar.local.cli import COMMANDS
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob(".github/*.md")])
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
MARKDOWN = MarkdownIt("commonmark").enable("table")


def _commands(text: str, name: str) -> Iterator[list[str]]:
    """Yield the words after a program's name, for each command that a code span or a code block shows."""
    for token in MARKDOWN.parse(text):
        blocks = [token] if token.type in ("fence", "code_block") else []
        spans = [child for child in token.children or () if child.type == "code_inline"]
        for line in "\n".join(code.content for code in (*blocks, *spans)).splitlines():
            unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "''", line).partition("#")[0]
            for command in re.split(r"&&|\||;", unquoted.strip().removeprefix("$ ")):
                if command.strip().startswith(f"{name} "):
                    yield command.split()[1:]


def _links(text: str) -> Iterator[str]:
    """Yield the targets of links and pictures that are not URLs."""
    for token in MARKDOWN.parse(text):
        for child in token.children or ():
            target = str(child.attrs.get("href") or child.attrs.get("src") or "")
            if target and not re.match(r"[a-z]+:", target):
                yield target


def _anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    tokens = MARKDOWN.parse(text)
    headings = [tokens[index + 1].content for index, token in enumerate(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken(page: Path) -> list[str]:
    broken = []
    for link in _links(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    return broken


def _unknown_targets(text: str) -> list[str]:
    named = [word for words in _commands(text, "make") if "-f" not in words for word in words]
    return [word for word in named if re.fullmatch(r"[a-z-]+", word) and word not in TARGETS]


def _unknown_commands(text: str) -> list[str]:
    return [words[0] for words in _commands(text, "samovar") if words[0].isalpha() and words[0] not in COMMANDS]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 100


def test_its_first_screen_has_the_two_commands_and_what_they_need() -> None:
    screen = "\n".join(README.splitlines()[:30])
    assert list(_commands(screen, "make")) == [["demo"], ["test"]]
    for need in ("Linux", "x86_64", "arm64", "Python 3.11", "`venv`", "bash", "make"):
        assert need in screen


def test_it_says_how_to_install_each_of_the_three_ways() -> None:
    section = README.partition("\n## Install it\n")[2].partition("\n## ")[0]
    for words in ("samovar[local]", "samovar layer", "AWS_LAMBDA_EXEC_WRAPPER", "FROM samovar"):
        assert words in section


@EVERY_PAGE
def test_links_and_their_anchors_exist(page: Path) -> None:
    assert _broken(page) == []


@EVERY_PAGE
def test_make_targets_exist(page: Path) -> None:
    assert _unknown_targets(page.read_text(encoding="utf-8")) == []


@EVERY_PAGE
def test_commands_exist(page: Path) -> None:
    assert _unknown_commands(page.read_text(encoding="utf-8")) == []


def test_what_does_not_exist_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    block = "```\n$ cd a && make ARGS='x | y z' cup  # ok\n```\n"
    text = f"# A b\n\n[x](no.md) [y](#a-c) [z](#a-b) `make teapot`, `samovar brew`\n\n{block}"
    page.write_text(text)
    assert _broken(page) == ["no.md", "#a-c"]
    assert _unknown_targets(text) == ["teapot", "cup"]
    assert _unknown_commands(text) == ["brew"]
