"""Run a command on a real pseudo-terminal, and read what a user would see."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(
    command: Sequence[str],
    *,
    columns: int = 80,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdout: int | None = None,
    seen: Callable[[str], bytes] = lambda text: b"",
) -> tuple[int, str]:
    """Run the command to its end; return its exit status and all that reached the terminal, with its escapes.

    `stdout` is where its standard output goes instead. `seen` gets what is there so far and returns what to type.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    variables |= {"TERM": "xterm-256color", **(env or {})}
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        cwd=cwd,
        env=variables,
        start_new_session=True,
    )
    os.close(theirs)
    output = b""
    while True:
        try:
            data = os.read(ours, 1 << 16)
        except OSError:  # EIO: nobody has the other end open
            break
        if not data:
            break
        output += data
        if typed := seen(output.decode(errors="replace")):
            os.write(ours, typed)
    os.close(ours)
    return process.wait(), output.decode().replace("\r\n", "\n")


def plain(text: str) -> str:
    """Return the text without a terminal's escapes."""
    return _ESCAPE.sub("", text)
