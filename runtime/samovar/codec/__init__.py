"""JSON to values and back: two engines, one meaning.

The scanner and encoder in C behind the standard library's `json` cost nothing to load and serve the cold path. orjson
is faster, but imports dataclasses, inspect, uuid and more, so it takes over only once that pays. No value shows which
engine ran: what orjson would change goes to the other one, and what neither encodes exactly to `codec.exact`. Knows
nothing of Lambda.
"""

import gc
import sys
from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap
    from typing import Any

    Document = bytes | bytearray | memoryview | mmap

_PAYS = 1 << 20  # after this many bytes the import of orjson would have paid for itself
_PAYS_SOONER = 1 << 17  # the same where the function has imported half of what orjson imports
_LARGE = 1 << 18  # one document of this size pays for the import by itself
_HUGE = 1 << 21  # from this size read a document in pieces: that takes less memory, and is no faster below
_PROSE = 1 << 16  # above this size, check whether the document is mostly text
_WHITESPACE = " \t\n\r"
_NEEDED_BY_ORJSON = ("dataclasses", "datetime", "enum", "inspect", "json", "uuid")
_LEVELS = 254  # of containers that orjson writes
_SAFE_LEVELS = 30  # that any orjson writes within its buffer
# Digits become "d", other bytes stay: a run of 19 or more may be an integer that orjson rounds to a float.
_DIGITS = bytes(0x64 if 0x30 <= i <= 0x39 else (0x65 if i == 0x64 else i) for i in range(256))
_RUN = b"d" * 19
_ATOMS = frozenset((str, int, float, bool, type(None)))


class _Scan:
    """The settings of the C scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    array_hook = None  # read by Python 3.15 and later
    parse_float = float
    parse_int = int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__


class NotPlain(Exception):
    """The value holds something that only `codec.exact` can encode."""


def _refuse(value: object) -> None:
    raise NotPlain


_scan: "Callable[[str, int], tuple[Any, int]]" = make_scanner(_Scan)  # type: ignore[arg-type]


def _new_encoder(encode_string: "Callable[[str], str]" = encode_basestring) -> "Callable[[Any, int], tuple[str, ...]]":
    return make_encoder({}, _refuse, encode_string, None, ":", ",", False, False, True)


# Those that nobody uses at present. An encoder marks the containers that it is in, and would take the marks of another
# thread for a circle.
_encoders = [_new_encoder()]
# As long as tuple and dict have only the subclasses that the interpreter started with, no value can hold another.
_tuples, _dicts = tuple.__subclasses__, dict.__subclasses__
_own_kinds = len(_tuples()) + len(_dicts())
_orjson_loads: "Callable[[Any], Any] | None" = None
_orjson_dumps: "Callable[..., bytes] | None" = None
_option = 0
_deep = False  # whether all levels are safe
_asked = allocate_lock()  # held from the first import of orjson on: there is one
_seen = 0
say: "Callable[[str], object]" = len  # told once why orjson is not used, or not for all


def loads(data: "Document") -> "Any":
    """Return the value of a JSON document in UTF-8.

    Integers of any size are exact; lone surrogates and a byte order mark are accepted, as by the official client, NaN
    and Infinity as by Python's json. Raises ValueError (UnicodeDecodeError, json.JSONDecodeError) where it is not JSON.
    A bytearray may be emptied and a mapping closed, so that a large document is not in memory twice.

    The engine for a document: the scanner until orjson has taken over, and afterwards for mostly text and for a long
    number; orjson for all else, in pieces from _HUGE on. What an engine refuses goes to the next.
    """
    global _seen
    size = len(data)
    if _orjson_loads is None:
        if size >= _LARGE and not _asked.locked():
            _ask_for_orjson()
        else:
            _seen += size
    if _orjson_loads is not None:
        try:
            if size > _PROSE:
                return _load_large(data, size)
            if size < 19 or not _long_number(data):
                return _orjson_loads(data)
        except (ValueError, RecursionError):
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
    return _looked_at_again(text)


def _looked_at_again(text: str) -> "Any":
    """Return the value of a document with white space or a byte order mark in front. Raises ValueError for others."""
    text = text.removeprefix("\ufeff")
    try:
        value, end = _scan(text, len(text) - len(text.lstrip(_WHITESPACE)))
        if not text[end:].strip(_WHITESPACE):
            return value
    except (StopIteration, ValueError, SystemError):
        pass
    try:
        from json import loads as json_loads  # for its message
    except Exception:  # the function has a module of its own by the name of json or of one that json needs
        raise ValueError("it is not JSON") from None
    return json_loads(text)


def _load_large(data: "Document", size: int) -> "Any":
    """Return the value of a document larger than _PROSE, read by orjson. Raises ValueError where it is one for the
    scanner.
    """
    assert _orjson_loads is not None
    if _is_prose(data):
        raise ValueError("mostly text")
    if size >= _HUGE and not isinstance(data, memoryview):
        from samovar.codec import large

        try:
            return _uncollected(large.loads, data, _orjson_loads, loads)
        except (ValueError, RecursionError):
            pass
    if _long_number(data):
        raise ValueError("a long number")
    return _uncollected(_orjson_loads, memoryview(data))


def _is_prose(data: "Document") -> bool:
    """Return whether a document is mostly strings of a line or a paragraph.

    The scanner reads those faster, and in half the memory: orjson's parser works on a copy of the document. For one
    string of megabytes orjson is faster.
    """
    sample = bytes(data[_PROSE - 4096 : _PROSE])
    return 0 < sample.count(b'"') * 24 < len(sample)


def _uncollected(parse: "Callable[..., Any]", *args: "Any") -> "Any":
    """Call parse(*args) with garbage collection off: everything that it makes stays alive."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return parse(*args)
    finally:
        if collects:
            gc.enable()


def _long_number(data: "Document") -> bool:
    """Return whether there may be an integer of 19 digits or more."""
    if isinstance(data, memoryview):
        data = bytes(data)
    elif len(data) > _PROSE and (between := _between_strings(data)) is not None:
        data = between
    # A run of 19 digits covers two in a row of every ninth byte, and four in a row of every fourth. Without such there
    # is no need to look at the rest.
    if len(data) > 4096 and (b"dd" not in data[::9].translate(_DIGITS) or b"dddd" not in data[::4].translate(_DIGITS)):
        return False
    digits = bytes(data).translate(_DIGITS)
    at = digits.find(_RUN)
    while at >= 0:
        if not at or digits[at - 1] != 0x2E:  # a fraction, which both engines read alike
            return True
        while digits[at : at + 1] == b"d":
            at += 1
        at = digits.find(_RUN, at)
    return False


def _between_strings(data: "bytes | bytearray | mmap") -> "bytes | None":
    """Return what a large document holds outside its strings, or None where they are many or have escapes."""
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
            outside[-1] += parts[0]  # a number may begin in one piece and end in the next
        outside += parts[2 - inside :: 2]
        inside ^= len(parts) & 1 ^ 1
    return b'"'.join(outside)


def dumps(value: "Any") -> bytes:
    """Return the value as compact JSON in UTF-8, exactly.

    As by the official client NaN and infinities are written as such, Decimal as its number, a namedtuple as an object
    and bytes as text. Types that it refuses are written too: dataclass, datetime, date, time, UUID, Enum. Raises
    TypeError or ValueError for any other.
    """
    global _seen
    if _orjson_dumps is not None and (_deep or _safe(value, _SAFE_LEVELS)):
        try:
            encoded = _orjson_dumps(value, None, _option)
        except TypeError:
            pass
        else:
            if not _deep or b"null" not in encoded or _safe(value, _LEVELS):
                return encoded
    try:
        if len(_tuples()) + len(_dicts()) != _own_kinds and not _plain(value):
            raise NotPlain
        try:
            encode = _encoders.pop()
        except IndexError:
            encode = _new_encoder()
        text = "".join(encode(value, 0))
        _encoders.append(encode)  # not one that failed: it still marks the containers that it was in
    except (NotPlain, TypeError, RecursionError):
        from samovar.codec import exact

        text = exact.encode(value)
    try:
        encoded = text.encode()
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8: what backslashreplace writes is JSON's escape
        encoded = text.encode("utf-8", "backslashreplace")
    _seen += len(encoded)
    return encoded


def dumps_ascii(value: "Any") -> bytes:
    """Return the value as compact JSON in ASCII, for a header. value: str, int, float, bool, None, dict or list."""
    return "".join(_new_encoder(encode_basestring_ascii)(value, 0)).encode("ascii")


def dumps_spaced(value: "Any", default: "Callable[[Any], Any]") -> str:
    """Return the value as `json.dumps(value, ensure_ascii=False, allow_nan=False, default=default)` does, without json:
    the function may have a module of that name.
    """
    encode = make_encoder({}, default, encode_basestring, None, ": ", ", ", False, False, False)
    return "".join(encode(value, 0))


def _plain(value: object) -> bool:
    """Return whether the C encoder writes value exactly: it would write a namedtuple as a list."""
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


def _safe(value: object, levels: int) -> bool:
    """Return whether orjson writes value exactly and within its buffer: finite floats, which it would write as `null`,
    and no more than so many levels of plain containers.
    """
    kind = type(value)
    if kind is dict:
        values = value.values()  # type: ignore[attr-defined]
    elif kind is list or kind is tuple:
        values = value
    else:
        return kind in _ATOMS and (kind is not float or value - value == 0.0)  # type: ignore[operator]
    for item in values:
        kind = type(item)
        if kind is float:
            if item - item:  # 0.0 where finite, else NaN, which is true
                return False
        elif kind not in _ATOMS and not (levels and _safe(item, levels - 1)):
            return False
    return True


def upgrade() -> None:
    """Let orjson take over once it pays. To be called between two invocations, when no caller waits."""
    if _orjson_loads is None and _seen >= _PAYS_SOONER and not _asked.locked():
        there = sum(name in sys.modules for name in _NEEDED_BY_ORJSON)
        if _seen >= _PAYS or there * 2 >= len(_NEEDED_BY_ORJSON):
            _ask_for_orjson()


def _ask_for_orjson() -> None:
    """Import orjson, once: a thread that comes meanwhile or later goes on with the engine that there is."""
    if _asked.acquire(False):
        _import_orjson()


def _import_orjson() -> None:
    global _orjson_loads, _orjson_dumps, _option, _deep
    try:
        from samovar.codec import engine

        # In this order: until _deep is true, another thread gives dumps only what it writes with any option.
        _orjson_loads, _orjson_dumps, _option, _deep = engine.find()
    except Exception as exc:
        say(f"orjson is not used for large events and results: {exc}")
        return
    if _orjson_dumps is None:
        say("orjson is used for large events, and not for results: from 3.12 on its dumps can corrupt memory")
