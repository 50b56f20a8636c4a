"""The code blocks of a Markdown page, and how each is run.

    python     run as a program; with a handler, invoked under the emulator; with tests, run by pytest
    console    each `$ ` line is run, and what follows it is the output, in which `...` stands for anything
    sh         run line by line; the first failure is one
    json       read as JSON
    text       a diagram or an output: not run

A block with a title (```python title="app.py") is a file, for the blocks after it: all blocks of a page run in one
folder, in order. Comments right before a block are for its test, and are not shown:

    <!-- event: {"code": "CI"} -->         the event that the block's handler gets; there may be several
    <!-- response: {"name": "…"} -->       the response to it; only that it succeeds if this is left out
    <!-- streams: "one\ntwo\n" -->        the bytes that are streamed to it, as a JSON string
    <!-- exits: 1 -->                      the status of the last command
    <!-- not run here: REASON -->          it is not run; a block in another language needs this, or a title
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = {"python", "console", "sh", "json"}
_REMARK = re.compile(r"<!--\s*([a-z ]+):\s*(.*?)\s*-->", re.DOTALL)
REMARKS = {"event", "response", "streams", "exits", "not run here"}


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    title: str
    source: str
    remarks: tuple[tuple[str, str], ...]

    def remarked(self, name: str) -> list[str]:
        return [value for key, value in self.remarks if key == name]

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the code blocks of a page, indented ones as those of no language."""
    remarks: list[tuple[str, str]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        if token.type == "html_block":
            remarks += [(name, value) for name, value in _REMARK.findall(token.content)]
        elif token.type in ("fence", "code_block"):
            language, _, rest = token.info.strip().partition(" ")
            title = re.search(r'title="([^"]+)"', rest)
            line = (token.map or [0])[0] + 1
            yield Block(page.name, line, language, title[1] if title else "", token.content, tuple(remarks))
            remarks = []
        elif token.nesting >= 0 and token.type != "inline":
            remarks = []


def unclear(block: Block) -> str:
    """Return what keeps a block from being run without saying why, or ""."""
    unknown = [name for name, _ in block.remarks if name not in REMARKS]
    if unknown:
        return f"{block.where}: the remark {unknown[0]!r} is not one of {sorted(REMARKS)}"
    if not block.language:
        return f"{block.where}: indented, or a fence without a language: name one, `text` for what is no code"
    if any(reason == "" for reason in block.remarked("not run here")):
        return f"{block.where}: `not run here` needs a reason"
    if block.language in RUN or block.language == "text" or block.title or block.remarked("not run here"):
        return ""
    return (
        f"{block.where}: {block.language} is not run by tests/docs: name the test that runs it, or the reason, "
        "in <!-- not run here: … --> above it"
    )
