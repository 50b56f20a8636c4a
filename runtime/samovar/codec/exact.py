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
    # A module of the function's may have one of these names, and other things in it.
    decimal: Any = sys.modules.get("decimal")
    if decimal is not None and isinstance(value, getattr(decimal, "Decimal", ())):
        return "NaN" if value.is_nan() else str(value)
    raw: Any = sys.modules.get("simplejson.raw_json")
    if raw is not None and isinstance(value, getattr(raw, "RawJSON", ())):
        return str(value.encoded_json)
    return None


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
    enum: Any = sys.modules.get("enum")
    if enum is not None and isinstance(value, getattr(enum, "Enum", ())):
        return value.value
    datetime: Any = sys.modules.get("datetime")
    if datetime is not None and isinstance(value, (getattr(datetime, "date", ()), getattr(datetime, "time", ()))):
        return value.isoformat()
    uuid: Any = sys.modules.get("uuid")
    if uuid is not None and isinstance(value, getattr(uuid, "UUID", ())):
        return str(value)
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        return {name: getattr(value, name) for name, field in fields.items() if field._field_type.name == "_FIELD"}
    orjson: Any = sys.modules.get("orjson")
    if orjson is not None and isinstance(value, getattr(orjson, "Fragment", ())):  # since 3.9
        from samovar.codec import loads

        return loads(orjson.dumps(value))
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
