"""Documents that packages send, without what differs from one process to the next."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

FOLDER = re.compile(r'[^" ]*/attach-\w+/task')
"""The function's folder, in what the harness cannot read."""


def without(names: Collection[str], value: Any) -> Any:
    """Return a JSON document without the members of these names, at any depth."""
    match value:
        case dict():
            return {name: without(names, inner) for name, inner in value.items() if name not in names}
        case list():
            return [without(names, inner) for inner in value]
    return value
