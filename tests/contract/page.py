"""Write docs/compatibility.md from the differences and the cases: `make compatibility`.

The page has a section for each kind of comparison: with AWS's client, and beside packages that attach to it.
"""

from __future__ import annotations

import sys

from tests.attach import table
from tests.contract.contracts import CONTRACTS
from tests.contract.differences import GROUPS
from tests.contract.harness import CHECKOUT

PAGE = CHECKOUT / "docs" / "compatibility.md"
HEADING = "Differences from awslambdaric"

HEAD = """# Compatibility

A handler that works with AWS's own client, awslambdaric, works with Samovar unchanged. This page lists every difference
that is known, and why each is there. `make compatibility` writes it from the test cases.
"""
COMPARED = """
Samovar and awslambdaric run as processes against one scripted Runtime API, with the same handlers, events and
environment. The tests in [`tests/contract`](../tests/contract) compare what both post, log and exit with: about
{cases:,} cases over Samovar's own transport, and all but about {once:,} of them over urllib3 too (those left out are
mostly about logging, INIT and the process). A case has the same outcome for both, or it names a row of these tables. A
test keeps rows and cases equal, in both directions.
"""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, f"## {HEADING}", compared(), tables(), f"## {table.HEADING}", table.section()]
    return "\n".join(parts)


def compared() -> str:
    """Say how the two are compared, with the numbers of cases rounded to hundreds."""
    once = sum(not contract.urllib3 for contract in CONTRACTS)
    return COMPARED.format(cases=round(len(CONTRACTS), -2), once=round(once, -2))


def tables() -> str:
    """Return a table of differences for each group."""
    return "\n".join(
        f"### {title}\n\n| what differs | why |\n|---|---|\n"
        + "".join(f"| {difference.title} | {difference.reason} |\n" for difference in group.values())
        for title, group in GROUPS.items()
    )


def main() -> int:
    """Write the page and return 0."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE.relative_to(CHECKOUT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
