"""The command `samovar`: each subcommand is a module in this folder with `arguments(parser)` and `run(options) -> int`.

Only the module asked for is imported. This file knows its name and one line of help, and nothing else about it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import IO, NoReturn

from samovar import __version__
from samovar.local import console, interrupts

COMMANDS = {
    "new": "make a small project: a function, its tests, and what deploys it",
    "run": "run a handler under Lambda's emulator, and invoke it",
    "doctor": "show where a function's INIT spends its time, and suggest what to change",
    "compile": "compile a deployment folder's Python files ahead, so that cold starts need not",
    "layer": "build the Lambda layer: a zip, its bill of materials and its checksums",
    "demo": "run the example handlers under the emulator, and print what they cost",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status: 2 for a wrong call."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = ""
    try:
        with interrupts.raised():
            if given[:1] in ([], ["-h"], ["--help"]):
                _overview()
                return 0
            if given[0] == "--version":
                console.show(f"samovar {__version__}")
                return 0
            if given[0] not in COMMANDS:
                raise console.CommandError(f"there is no command {given[0]!r}; there are {', '.join(COMMANDS)}", 2)
            name = given[0]
            command = import_module(f"samovar.local.{name}")
            parser = _Parser(name)
            command.arguments(parser)
            status: int = command.run(parser.parse_args(given[1:]))
            sys.stdout.flush()
            return status
    except console.CommandError as exc:
        console.fail(name, str(exc))
        return exc.status
    except KeyboardInterrupt:
        return interrupts.status()
    except BrokenPipeError:  # as after `| head`: the rest is not wanted
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return 128 + signal.SIGPIPE


def _overview() -> None:
    console.show("usage: samovar COMMAND …", "bold")
    console.show()
    console.show("Tools of the Samovar Lambda runtime for your machine.")
    console.show()
    width = max(map(len, COMMANDS)) + 4
    for name, what in COMMANDS.items():
        console.show(f"  {name:{width - 2}}{what}", hanging=width)
    console.show()
    console.show("samovar COMMAND --help explains a command. To begin:")
    console.show("  samovar run app.handler --event '{}'")


class _Parser(argparse.ArgumentParser):
    """The arguments of one command, with the look of the others' help and errors."""

    def __init__(self, name: str) -> None:
        what = COMMANDS[name]
        super().__init__(
            prog=f"samovar {name}",
            description=f"{what[0].upper()}{what[1:]}.",
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=26, width=console.WIDTH - 2),
            allow_abbrev=False,
        )
        self.color = False  # of Python 3.14 and later

    def error(self, message: str) -> NoReturn:
        raise console.CommandError(f"{message}; see {self.prog} --help", 2)

    def print_help(self, file: IO[str] | None = None) -> None:  # type: ignore[override]
        for line in self.format_help().rstrip("\n").split("\n"):
            console.show(line, "bold" if line[:1].strip() and line.endswith(":") else "")


if __name__ == "__main__":
    sys.exit(main())
