"""Files of environment variables, as `docker run --env-file` and `.env` have them. Knows nothing of the commands."""

from __future__ import annotations

import os
import re
from pathlib import Path

_LINE = re.compile(r"(?:export\s+)?(?P<name>[^\s=]+)\s*(?:=\s*(?P<value>.*))?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_QUOTED = re.compile(r"""(?:'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)")\s*(?:#.*)?""")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


def read(path: Path) -> dict[str, str]:
    """Return the variables of the file; a name without a value has this process's, if there is one.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line is wrong. The message has the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ValueError(f"{path} is not UTF-8: {exc.reason} at byte {exc.start}") from None
    variables = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            name, value = _parse(line)
        except ValueError as exc:
            raise ValueError(f"{path}, line {number}: {exc}") from None
        if value is not None:
            variables[name] = value
    return variables


def _parse(line: str) -> tuple[str, str | None]:
    found = _LINE.fullmatch(line)
    if found is None or not _NAME.fullmatch(found["name"]):
        raise ValueError(f"{line!r} is not NAME=VALUE")
    name, value = found["name"], found["value"]
    if value is None:
        return name, os.environ.get(name)
    if value[:1] not in ("'", '"'):
        return name, re.split(r"(?:^|\s)#", value, maxsplit=1)[0].rstrip()
    quoted = _QUOTED.fullmatch(value)
    if quoted is None:
        raise ValueError(f"the quotes of {name} do not end where its value does")
    if quoted["single"] is not None:
        return name, quoted["single"]
    return name, _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), quoted["double"])
