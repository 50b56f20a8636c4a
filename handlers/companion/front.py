"""A Python handler that keeps a companion beside it: what needs Python stays here, the program does the rest."""

from typing import Any

import samovar

companion = samovar.Companion(["./companion/hello.sh"])  # a global: started once, during INIT


def handler(event: Any, context: Any) -> Any:
    return {"front": "python", "companion": companion.call(event)}
