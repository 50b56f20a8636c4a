"""Names for annotations."""

from typing import Any

LambdaConfig = dict


def __getattr__(name: str) -> Any:
    return Any
