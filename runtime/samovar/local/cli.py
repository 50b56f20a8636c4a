"""The command `samovar`: each subcommand is a module in this folder with `arguments(parser)` and `run(options) -> int`.

Only the module asked for is imported. This file knows its name and one line of help, and nothing else about it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from samovar import __version__
from samovar.local import console

COMMANDS = {
    "new": "make a small project: a function, its tests, and what deploys it",
    "demo": "run the example handlers under the emulator, and print what they cost",
    "doctor": "show where a function's INIT spends its time, and suggest what to change",
    "compile": "compile a deployment folder's Python files ahead, so that cold starts need not",
    "layer": "build the Lambda layer: a zip, its bill of materials and its checksums",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status; argparse exits with 2 for a wrong call."""
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
        sys.stdout.flush()
    except console.CommandError as exc:
        console.say(f"samovar {options.command}: {exc}")
        return exc.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # as after `| head`: the rest is not wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status


if __name__ == "__main__":
    sys.exit(main())
