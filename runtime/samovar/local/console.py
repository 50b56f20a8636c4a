"""The look that the commands share: a result on stdout alone, and everything said about it on stderr.

A command raises CommandError for what the user has to change. On a terminal rich adds colour and a spinner; elsewhere,
or where rich is not installed, the same text is written plain. Knows nothing of the commands.
"""

from __future__ import annotations

import os
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

WIDTH = 80
_PATIENCE = 1.0  # seconds of silence before a command says what it is doing


class CommandError(Exception):
    """A command cannot do what was asked. The message is one line: what is wrong, and what to do.

    `status` is the exit status: 1 for a failure, 2 for a wrong call.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def say(message: str, style: str = "", *, wrap: bool = True) -> None:
    """Write a line about the work to stderr.

    Args:
        message: The line.
        style: rich's name for its look on a terminal, such as "dim".
        wrap: Whether a terminal breaks it between words; False for what is copied.
    """
    width = _width(sys.stderr) if wrap and sys.stderr.isatty() else None
    _write(sys.stderr, _wrapped(message, width), style)


def fail(name: str, message: str) -> None:
    """Write to stderr why the command `samovar NAME` failed."""
    begin = f"samovar {name}:" if name else "samovar:"
    width = _width(sys.stderr) if sys.stderr.isatty() else None
    _write(sys.stderr, _wrapped(f"{begin} {message}", width), "bold red", len(begin))


def show(line: str = "", style: str = "", *, wrap: bool = True, hanging: int | None = None) -> None:
    """Write a line of the command's result to stdout.

    Args:
        line: The line.
        style: rich's name for its look on a terminal, such as "bold".
        wrap: Whether it is broken between words after 80 columns; False for what is copied.
        hanging: Where the lines that it is broken into begin; by default two columns to the right of it.
    """
    _write(sys.stdout, _wrapped(line, _width(sys.stdout) if wrap else None, hanging), style)


@contextmanager
def working(message: str) -> Iterator[None]:
    """Say on stderr what the block does if it takes longer than a second: a spinner on a terminal, else one line.

    Args:
        message: What is being done, such as "building the layer".
    """
    spinners: list[Live] = []

    def begin() -> None:
        console = _rich(sys.stderr)
        if console is None:
            print(f"{message} …", file=sys.stderr, flush=True)
            return
        from rich.live import Live
        from rich.spinner import Spinner

        # Console.status() would send to stderr what the block writes to stdout.
        spinner = Spinner("dots", f"{message} …", style="cyan")
        spinners.append(Live(spinner, console=console, transient=True, redirect_stdout=False, redirect_stderr=False))
        spinners[0].start(refresh=True)

    timer = threading.Timer(_PATIENCE, begin)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        for spinner in spinners:
            spinner.stop()


def _write(stream: TextIO, text: str, style: str, end: int | None = None) -> None:
    """Write the text, up to `end` in this style."""
    console = _rich(stream) if style else None
    if console is None:
        print(text, file=stream, flush=True)
    else:
        from rich.text import Text

        styled = Text(text)
        styled.stylize(style, 0, end)
        console.print(styled, soft_wrap=True)


def _rich(stream: TextIO) -> Console | None:
    """Return rich's console for the stream; None where it must be plain or rich is not installed."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return None
    try:
        from rich.console import Console  # takes 45 ms
    except ImportError:
        return None
    return Console(file=stream, width=_width(stream), highlight=False, markup=False, emoji=False)


def _width(stream: TextIO) -> int:
    """Return how many columns a line may take: 80, or fewer on a narrow terminal."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # not a terminal, or a stream without descriptor
        return WIDTH
    return min(columns or WIDTH, WIDTH)


def _wrapped(text: str, width: int | None, hanging: int | None = None) -> str:
    if width is None:
        return text
    return "\n".join(_wrapped_line(line, width, hanging) for line in text.split("\n"))


def _wrapped_line(line: str, width: int, hanging: int | None) -> str:
    if len(line) <= width:
        return line
    indent = len(line) - len(line.lstrip())
    return textwrap.fill(
        line.strip(),
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2 if hanging is None else hanging),
        break_long_words=False,  # paths and addresses are copied
        break_on_hyphens=False,
    )
