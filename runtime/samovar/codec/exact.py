"""The encoder for values that neither engine writes exactly: Decimal, namedtuple, subclasses, bytes, dates, and keys
that are no strings.

Writes what simplejson writes as the official client sets it up, and also the types that it refuses. Imported when
first needed. Knows neither engine.
"""

import sys
from _json import encode_basestring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_INFINITY = float("inf")


def encode(value: "Any") -> str:
    """Return the value as compact JSON. Raises TypeError for a type without a form in JSON, ValueError for a circular
    reference.
    """
    chunks: list[str] = []
    _encode(value, chunks.append, set())
    return "".join(chunks)


def _encode(value: "Any", write: "Any", inside: "set[int]") -> None:
    if (scalar := _scalar(value)) is not None:
        write(scalar)
        return
    if id(value) in inside:
        raise ValueError("Circular reference detected")
    inside.add(id(value))
    as_dict = getattr(value, "_asdict", None)
    if isinstance(value, list):
        _sequence(value, write, inside)
    elif callable(as_dict):
        _mapping(as_dict(), write, inside)
    elif isinstance(value, tuple):
        _sequence(value, write, inside)
    elif isinstance(value, dict):
        _mapping(value, write, inside)
    else:
        _encode(_substitute(value), write, inside)
    inside.discard(id(value))


def _scalar(value: "Any") -> "str | None":
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, bytes):
        return encode_basestring(value.decode("utf-8"))
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return _float(value)
    if "decimal" in sys.modules and isinstance(value, _type("decimal", "Decimal")):
        return "NaN" if value.is_nan() else str(value)
    if "simplejson.raw_json" in sys.modules and isinstance(value, _type("simplejson.raw_json", "RawJSON")):
        return str(value.encoded_json)
    return None


def _type(module: str, name: str) -> "Any":
    """Return a type of a module that may be imported, else no type. The function may have a module of that name, with
    other things in it.
    """
    return getattr(sys.modules.get(module), name, ())


def _float(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (_INFINITY, -_INFINITY):
        return "Infinity" if value > 0 else "-Infinity"
    return float.__repr__(value)


def _sequence(values: "Iterable[Any]", write: "Any", inside: "set[int]") -> None:
    separator = "["
    for value in values:
        write(separator)
        _encode(value, write, inside)
        separator = ","
    write("[]" if separator == "[" else "]")


def _mapping(values: "Any", write: "Any", inside: "set[int]") -> None:
    separator = "{"
    for key, value in values.items():
        write(separator)
        write(_key(key))
        write(":")
        _encode(value, write, inside)
        separator = ","
    write("{}" if separator == "{" else "}")


def _key(key: "Any") -> str:
    scalar = _scalar(key) if key is None or isinstance(key, (str, bytes, int, float)) else None
    if scalar is None:
        raise TypeError(f"keys must be str, int, float, bool or None, not {type(key).__name__}")
    return scalar if scalar[0] == '"' else f'"{scalar}"'


def _substitute(value: "Any") -> "Any":
    """Return the value to write for one of a type that the official client refuses."""
    if isinstance(value, _type("enum", "Enum")):
        return value.value
    if isinstance(value, (_type("datetime", "date"), _type("datetime", "time"))):
        return value.isoformat()
    if isinstance(value, _type("uuid", "UUID")):
        return str(value)
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        return {name: getattr(value, name) for name, field in fields.items() if field._field_type.name == "_FIELD"}
    if isinstance(value, _type("orjson", "Fragment")):
        from samovar.codec import loads

        return loads(sys.modules["orjson"].dumps(value))
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
