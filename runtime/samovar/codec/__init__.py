"""JSON to values and back: two engines, one meaning.

The scanner and encoder in C behind the standard library's `json` cost nothing to load and serve the cold path;
orjson imports dataclasses, inspect, uuid and more, and takes over once that pays. Which
of them runs can never be seen in a value: what orjson would change goes to the other engine, and what neither can
encode exactly to `codec_exact`. Knows nothing of Lambda.
"""

import gc
import sys
from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap
    from typing import Any

    Document = bytes | bytearray | memoryview | mmap

_PAYS = 1 << 20  # bytes through the first engine after which orjson would have been the cheaper one
_PAYS_SOONER = 1 << 17  # bytes: the same where the function has imported half of what orjson imports
_LARGE = 1 << 18  # bytes: one payload that repays the import by itself
_HUGE = 1 << 21  # bytes from which on a document is read in pieces: in less memory, and no faster below
_PROSE = 1 << 16  # bytes from which on it matters what a document is made of
_WHITESPACE = " \t\n\r"
_NEEDED_BY_ORJSON = ("dataclasses", "datetime", "enum", "inspect", "json", "uuid")
# Digits become "d", all else stays: a run of 19 or more may be an integer that orjson rounds to a float.
_DIGITS = bytes(0x64 if 0x30 <= i <= 0x39 else (0x65 if i == 0x64 else i) for i in range(256))
_RUN = b"d" * 19
_ATOMS = frozenset((str, int, float, bool, type(None)))


class _Scan:
    """What the C scanner wants to be told."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    array_hook = None  # asked for from Python 3.15 on
    parse_float = float
    parse_int = int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__


class NotPlain(Exception):
    """The value holds something that only `codec_exact` can encode."""


def _refuse(value: object) -> None:
    raise NotPlain


_scan: "Callable[[str, int], tuple[Any, int]]" = make_scanner(_Scan)  # type: ignore[arg-type]


def _new_encoder(encode_string: "Callable[[str], str]" = encode_basestring) -> "Callable[[Any, int], tuple[str, ...]]":
    return make_encoder({}, _refuse, encode_string, None, ":", ",", False, False, True)


_encode = _new_encoder()
# While nobody has made a subclass of tuple or dict since the interpreter started, no value can hold one.
_tuples, _dicts = tuple.__subclasses__, dict.__subclasses__
_own_kinds = len(_tuples()) + len(_dicts())
_orjson_loads: "Callable[[Any], Any] | None" = None
_orjson_dumps: "Callable[..., bytes] | None" = None
_option = 0
_seen = 0


def loads(data: "Document") -> "Any":
    """The value of a JSON document in UTF-8.

    Integers of any size are exact; lone surrogates and a byte order mark are accepted, as by the official client, NaN
    and Infinity as by Python's json. Raises ValueError (UnicodeDecodeError, json.JSONDecodeError) where it is not JSON.
    A bytearray may be emptied and a mapping closed: they are given away, so that a large document is not in memory
    twice.
    """
    global _seen
    size = len(data)
    if _orjson_loads is None:
        if size >= _LARGE and _seen >= 0:
            _import_orjson()
        else:
            _seen += size
    if _orjson_loads is not None and not (size > _PROSE and _is_prose(data)):
        if size >= _HUGE and not isinstance(data, memoryview):
            from samovar.codec import large

            try:
                return _uncollected(large.loads, data, _orjson_loads, loads)
            except (ValueError, RecursionError):
                pass
        if not (size >= 19 and _long_number(data)):
            try:
                return _uncollected(_orjson_loads, memoryview(data)) if size > _PROSE else _orjson_loads(data)
            except ValueError:
                pass
    text = str(data, "utf-8")
    if isinstance(data, bytearray):
        data.clear()
    elif not isinstance(data, (bytes, memoryview)):
        data.close()
    try:
        value, end = _scan(text, 0)
        if end == len(text) or not text[end:].strip(_WHITESPACE):
            return value
    except (StopIteration, ValueError, SystemError):  # SystemError: before 3.12, while json.decoder is not imported
        pass
    import json

    return json.loads(text.removeprefix("\ufeff"))


def _is_prose(data: "Document") -> bool:
    """Whether a document is strings of some length, a line or a paragraph.

    Those the scanner reads faster, and in half the memory: orjson's parser works on a copy of the document. One string
    of megabytes orjson reads faster.
    """
    sample = bytes(data[_PROSE - 4096 : _PROSE])
    return 0 < sample.count(b'"') * 24 < len(sample)


def _uncollected(parse: "Callable[..., Any]", *args: "Any") -> "Any":
    """What parse makes of a document, without the collector's looking at objects that all live on."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return parse(*args)
    finally:
        if collects:
            gc.enable()


def _long_number(data: "Document") -> bool:
    """Whether there may be an integer of 19 digits or more."""
    if isinstance(data, memoryview):
        data = bytes(data)
    elif len(data) > _PROSE and (between := _between_strings(data)) is not None:
        data = between
    # A run of 19 digits covers two neighbours of every ninth byte and four of every fourth: where there are none, the
    # rest need not be looked at.
    if len(data) > 4096 and (b"dd" not in data[::9].translate(_DIGITS) or b"dddd" not in data[::4].translate(_DIGITS)):
        return False
    digits = bytes(data).translate(_DIGITS)
    at = digits.find(_RUN)
    while at >= 0:
        if not at or digits[at - 1] != 0x2E:  # after a point they are a fraction, which both engines read alike
            return True
        while digits[at : at + 1] == b"d":
            at += 1
        at = digits.find(_RUN, at)
    return False


def _between_strings(data: "bytes | bytearray | mmap") -> "bytes | None":
    """What a large document holds outside its strings, where those are few and without escapes."""
    outside = [b""]
    inside = 0
    for at in range(0, len(data), 65536):
        piece = data[at : at + 65536]
        if b"\\" in piece:
            return None
        if inside and b'"' not in piece:
            continue
        parts = bytes(piece).split(b'"')
        if len(parts) > 500:
            return None
        if not inside:
            outside[-1] += parts[0]  # a number may lie across two pieces
        outside += parts[2 - inside :: 2]
        inside ^= len(parts) & 1 ^ 1
    return b'"'.join(outside)


def dumps(value: "Any") -> bytes:
    """The value as compact JSON in UTF-8, exactly.

    NaN and infinities are written as such, as by the official client; Decimal as its number, a namedtuple as an
    object, bytes as text; and what the official client refuses: dataclass, datetime, date, time, UUID, Enum. Raises
    TypeError or ValueError for anything else.
    """
    global _encode, _seen
    if _orjson_dumps is not None:
        try:
            encoded = _orjson_dumps(value, None, _option)
        except TypeError:
            pass
        else:
            if b"null" not in encoded or _finite(value):
                return encoded
    try:
        if len(_tuples()) + len(_dicts()) != _own_kinds and not _plain(value):
            raise NotPlain
        text = "".join(_encode(value, 0))
    except (NotPlain, TypeError, RecursionError):
        _encode = _new_encoder()  # the old one still has markers of the containers it was in
        from samovar.codec import exact

        text = exact.encode(value)
    except BaseException:
        _encode = _new_encoder()
        raise
    # A lone surrogate has no UTF-8: it is escaped, and backslashreplace writes just JSON's escape.
    encoded = text.encode("utf-8", "backslashreplace")
    _seen += len(encoded)
    return encoded


def dumps_ascii(value: "Any") -> bytes:
    """The value as compact JSON in ASCII, for a header. Only str, int, float, bool, None, dict and list."""
    return "".join(_new_encoder(encode_basestring_ascii)(value, 0)).encode("ascii")


def _plain(value: object) -> bool:
    """Whether the C encoder sees value as it is: it takes a namedtuple for a list and asks nobody."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is dict:
        values = value.values()  # type: ignore[attr-defined]
    elif kind is list or kind is tuple:
        values = value
    else:
        return False
    for item in values:  # noqa: SIM110 (a generator expression costs twice the time)
        if type(item) not in _ATOMS and not _plain(item):
            return False
    return True


def _finite(value: object) -> bool:
    """Whether each `null` that orjson wrote stands for a None: it writes NaN and infinities so, too."""
    kind = type(value)
    if kind is dict:
        values = value.values()  # type: ignore[attr-defined]
    elif kind is list or kind is tuple:
        values = value
    else:
        return value is None or kind is str
    for item in values:
        kind = type(item)
        if kind is float:
            if item - item:  # NaN, and true, for what is not finite
                return False
        elif kind not in _ATOMS and not _finite(item):
            return False
    return True


def settle() -> None:
    """Lets orjson take over once it pays, at a moment when nobody waits."""
    if _orjson_loads is None and _seen >= _PAYS_SOONER:
        there = sum(name in sys.modules for name in _NEEDED_BY_ORJSON)
        if _seen >= _PAYS or there * 2 >= len(_NEEDED_BY_ORJSON):
            _import_orjson()


def _import_orjson() -> None:
    global _orjson_loads, _orjson_dumps, _option, _seen
    try:
        # What orjson takes without a check: it crashes where the function has a module of its own by such a name.
        from dataclasses import _FIELD  # type: ignore[attr-defined]  # noqa: F401
        from datetime import datetime_CAPI  # noqa: F401
        from enum import EnumMeta  # noqa: F401
        from json import JSONDecodeError  # noqa: F401
        from uuid import UUID  # noqa: F401

        import orjson
    except Exception:
        _seen = -1 << 62  # not shipped, or not to be had here: never asked for again
        return
    _orjson_loads, _orjson_dumps = orjson.loads, orjson.dumps
    _option = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
