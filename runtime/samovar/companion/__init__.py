"""Companion processes: a program in any language, started once, that reads a line of JSON and writes a line of JSON.

    _HANDLER='exec:./main --fast'                            the program is the function (samovar/handler/program.py)
    companion = samovar.Companion(["./main"])                a Python handler asks it (`Companion.call`)
    samovar.companion.serve(handler)                         the program is Python (`serve`)

The protocol is lambda_proc's, docs/companions.md has it in full. Each name is imported when first used, so that a
program that serves does not load what supervises it.
"""

from samovar import codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from samovar.companion.serving import serve as serve
    from samovar.companion.supervisor import Companion as Companion

_PLACES = {"Companion": "supervisor", "serve": "serving"}
__all__ = ["Companion", "serve"]


def loads(document: bytes) -> "Any":
    """Return the value of a JSON document. Raise ValueError where it is none, as with NaN or an infinity in it."""
    _refuse_constants(document)
    return codec.loads(document)


def dumps(value: "Any") -> bytes:
    """Return a value as a JSON document. Raise ValueError where it holds NaN or an infinity, else as `codec.dumps`."""
    document = codec.dumps(value)
    _refuse_constants(document)
    return document


def _refuse_constants(document: bytes) -> None:
    # One byte is found ten times as fast as three.
    if not ((b"N" in document and b"NaN" in document) or (b"I" in document and b"Infinity" in document)):
        return
    import json

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON value")

    json.loads(document, parse_constant=refuse)


def __getattr__(name: str) -> "Any":
    import sys

    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'samovar.companion' has no attribute {name!r}")
    place = f"{__name__}.{place}"
    __import__(place)
    value = globals()[name] = getattr(sys.modules[place], name)
    return value
