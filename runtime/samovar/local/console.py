"""The look that the commands share: a result on stdout alone, and everything said about it on stderr.

A command raises CommandError for what the user has to change. Knows nothing of the commands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class CommandError(Exception):
    """A command cannot do what was asked. The message is one line: what is wrong, and what to do.

    `status` is the exit status: 1 for a failure, 2 for a wrong call.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def say(message: str) -> None:
    """Write a line about the work to stderr."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def working(message: str) -> Iterator[None]:
    """Show on stderr what the block does, where it takes longer than a second."""
    yield
