"""Publish the layers of each Python and architecture. Only shows what it would do, unless --yes is given."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from samovar.local.console import CommandError, say, show
from samovar.local.layer import ARCHITECTURES
from tools.publish import layers, region, table

PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
OUT = Path("build", "publish")


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    try:
        return publish(_parser().parse_args(arguments))
    except CommandError as error:
        say(f"publish: {error}", "bold red")
        return error.status


def publish(options: argparse.Namespace) -> int:
    """Publish to each region, or show what that would do, and write the table. Raises CommandError."""
    grants = [region.Grant.public()] if options.public else []
    grants += [region.Grant.account(number) for number in options.account]
    grants += [region.Grant.organization(options.organization)] if options.organization else []
    account = region.Account(options.region)
    say(f"account {account.number}, as {account.user}")
    wanted = layers.wanted(options.python, options.arch, options.bundle)
    built = [layers.take(each, options.source) if options.source else layers.build(each, OUT) for each in wanted]
    for layer in built:
        layer.check()
    rows: list[table.Row] = []
    failed = []
    for name in account.regions:
        try:
            target = region.Region(account, name)
            for layer in built:
                if options.yes:
                    rows.append(_publish(target, layer, grants))
                else:
                    _preview(target, layer, grants)
        except region.Failure as failure:
            failed.append(name)
            say(f"{name}  {failure}", "bold red", wrap=False)
    if rows:
        for file in table.write(rows, OUT):
            show(str(file), wrap=False)
    if failed:
        raise CommandError(f"failed in {', '.join(failed)}; a second run does only what is missing")
    if not options.yes:
        say("Nothing was changed: CONFIRM=1 (or --yes) does it.")
    return 0


def _preview(target: region.Region, layer: layers.Layer, grants: list[region.Grant]) -> None:
    """Show what is missing of a layer in a region."""
    found = target.find(layer)
    missing = grants if found is None else target.missing(layer, found, grants)
    state = f"would be published, {layer.size:,} bytes" if found is None else f"is there as version {found.number}"
    show(f"{target.name}  {layer.name}: {state}{_readers(', would be readable by ', missing)}", wrap=False)


def _publish(target: region.Region, layer: layers.Layer, grants: list[region.Grant]) -> table.Row:
    """Do what is missing of a layer in a region."""
    found = target.find(layer)
    version = found or target.publish(layer)
    missing = target.missing(layer, version, grants)
    for grant in missing:
        target.grant(layer, version, grant)
    state = f"{'is there' if found else 'published'} as version {version.number}"
    say(f"{target.name}  {layer.name}: {state}{_readers(', now readable by ', missing)}", wrap=False)
    return table.Row(target.name, layer, version.arn)


def _readers(begin: str, grants: list[region.Grant]) -> str:
    return begin + " and ".join(grant.readers for grant in grants) if grants else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("make publish", description=__doc__)
    parser.add_argument(
        "--region", nargs="+", default=[], metavar="REGION", help="default: the one that AWS's own settings name"
    )
    parser.add_argument("--python", nargs="+", default=PYTHONS, choices=PYTHONS, metavar="3.X", help="default: all")
    parser.add_argument(
        "--arch", nargs="+", default=ARCHITECTURES, choices=ARCHITECTURES, metavar="ARCH", help="default: both"
    )
    parser.add_argument("--bundle", action="store_true", help="also the layers that include an interpreter")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="take the layers that are in DIR instead of building them",
    )
    parser.add_argument("--public", action="store_true", help="let every account use them")
    parser.add_argument(
        "--account", nargs="+", default=[], type=_account, metavar="ID", help="let these accounts use them"
    )
    parser.add_argument(
        "--organization", type=_organization, metavar="o-ID", help="let the accounts of an organization use them"
    )
    parser.add_argument(
        "--yes", action="store_true", default=_confirmed(os.environ.get("CONFIRM", "")), help="do it; also CONFIRM=1"
    )
    return parser


def _confirmed(text: str) -> bool:
    if text not in ("", "0", "no", "false", "1", "yes", "true"):
        raise CommandError(f"CONFIRM={text} is neither 1, to publish, nor 0", 2)
    return text in ("1", "yes", "true")


def _account(text: str) -> str:
    if not re.fullmatch(r"\d{12}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of an account, which has 12 digits")
    return text


def _organization(text: str) -> str:
    if not re.fullmatch(r"o-[a-z0-9]{10,32}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the ID of an organization, as o-a1b2c3d4e5")
    return text


if __name__ == "__main__":
    sys.exit(main())
