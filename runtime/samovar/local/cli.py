"""The command `samovar`: each subcommand is a module of this folder with `arguments(parser)` and `run(options) -> int`.

Only the module that is asked for is imported; this file knows no more of it than its name and one line of help.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from samovar import __version__

COMMANDS = {
    "doctor": "show where a function's INIT spends its time, and what to do about it",
    "compile": "compile a deployment folder's Python files ahead, so that no cold start has to",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand; the result is the exit status, 2 for a wrong call."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="samovar", description="Local tools of the Samovar Lambda runtime.")
    parser.add_argument("--version", action="version", version=f"samovar {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
        if name in given[:1]:
            import_module(f"samovar.local.{name}").arguments(command)
    options = parser.parse_args(given)
    try:
        status: int = import_module(f"samovar.local.{options.command}").run(options)
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
