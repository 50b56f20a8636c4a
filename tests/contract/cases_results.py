"""What a handler returns → what is posted. One expression a case; the reference is the official client's simplejson."""

from __future__ import annotations

from collections.abc import Callable

from tests.contract.harness import Event, Outcome, Run
from tests.contract.table import Batch, Case, Solo, app, differing

PRELUDE = """
import collections, dataclasses, datetime, decimal, enum, fractions, ipaddress, math, pathlib, types, uuid
from decimal import Decimal

Point = collections.namedtuple("Point", "x y")

class Text(str):
    def __str__(self): return "overridden"

class Whole(int):
    def __str__(self): return "overridden"
    __repr__ = __str__

class Real(float):
    def __repr__(self): return "overridden"

class Listed(list): pass

class Mapped(dict): pass

class Upside(dict):
    def items(self): return [("from", "items")]

class Named:
    def _asdict(self): return {"as": "dict"}

class ForJSON:
    def for_json(self): return {"for": "json"}

class Number(enum.IntEnum):
    ONE = 1

class Flag(enum.IntFlag):
    A = 1
    B = 2

class Word(str, enum.Enum):
    HELLO = "hello"

class Colour(enum.Enum):
    RED = "red"

class StrColour(enum.StrEnum):
    BLUE = "blue"

@dataclasses.dataclass
class Data:
    a: int = 1
    b: tuple = (1, 2)

class Plain:
    def __repr__(self): return "<Plain>"

def circular_list():
    a = [1]
    a.append(a)
    return a

def circular_dict():
    a = {}
    a["b"] = {"a": a}
    return a

def deep(n):
    value = []
    for _ in range(n):
        value = [value]
    return value

def numbers():
    yield 1
    yield 2
"""

EXPRESSIONS = {
    "none": "None",
    "true": "True",
    "zero": "0",
    "negative": "-17",
    "int-63-bits": "2**63 - 1",
    "int-64-bits": "2**64",
    "int-huge": "-10**400",
    "float": "0.1 + 0.2",
    "float-whole": "3.0",
    "float-negative-zero": "-0.0",
    "float-large": "[1e16, 1e22, 1.7976931348623157e308]",
    "float-small": "[1e-5, 1e-7, 5e-324]",
    "float-nan": "math.nan",
    "float-infinity": "[math.inf, -math.inf]",
    "float-nan-nested": '{"a": [math.nan, {"b": math.inf}]}',
    "string": '"hello"',
    "string-empty": '""',
    "string-non-ascii": '"naïve café ₤ 日本"',
    "string-astral": r'"\U0001F600 \U00010000"',
    "string-lone-surrogate": r'"\ud800"',
    "string-lone-surrogates": r'{"\udc00": ["\ud83d", "x\ude00y"]}',
    "string-control": r'"\x00\x01\x1f\x7f\b\f\n\r\t\"\\/"',
    "string-line-separators": r'"\u2028\u2029\u0085"',
    "string-html": '"<script>&amp;</script>"',
    "string-json": '\'{"already": "json"}\'',
    "string-noncharacter": r'"\ufeff\uffff"',
    "list-empty": "[]",
    "dict-empty": "{}",
    "tuple": "(1, 'two', (3,))",
    "nested": '{"a": [1, {"b": [True, None, "c", {"d": {}}]}], "e": {"f": []}}',
    "key-order": '{"z": 1, "a": 2, "m": 3}',
    "namedtuple": "Point(1, 2)",
    "namedtuple-nested": '{"p": [Point(Point(1, 2), (3,))]}',
    "object-with-asdict": "[Named()]",
    "object-with-for-json": "[ForJSON()]",
    "decimal": 'Decimal("1.10")',
    "decimal-whole": 'Decimal("5")',
    "decimal-exponent": '[Decimal("1E+2"), Decimal("1E-10"), Decimal("0E-20")]',
    "decimal-negative-zero": 'Decimal("-0.00")',
    "decimal-exact": 'Decimal("123456789012345678901234567890.123456789")',
    "decimal-exponent-huge": 'Decimal("1E+1000")',
    "decimal-exponent-tiny": 'Decimal("1E-1000")',
    "decimal-nan": '[Decimal("NaN"), Decimal("-NaN")]',
    "decimal-nan-payload": 'Decimal("NaN123")',
    "decimal-signalling-nan": 'Decimal("sNaN")',
    "decimal-infinity": '[Decimal("Infinity"), Decimal("-Infinity")]',
    "decimal-in-namedtuple": 'Point(Decimal("0.1"), [Decimal("0.10")])',
    "fraction": "fractions.Fraction(1, 3)",
    "complex": "1j",
    "bytes": 'b"raw \\x00\\xff bytes"',
    "bytes-empty": 'b""',
    "bytes-json": "b'{\"a\": 1}'",
    "bytes-subclass": 'type("B", (bytes,), {})(b"sub")',
    "bytes-in-dict": '{"a": b"abc"}',
    "bytes-in-list": '["x", "naïve".encode()]',
    "bytes-in-dict-invalid-utf8": '{"a": b"\\xff\\xfe"}',
    "bytes-as-key": '{b"k": 1}',
    "bytes-as-key-invalid-utf8": '{b"\\xff": 1}',
    "bytearray": 'bytearray(b"abc")',
    "memoryview": 'memoryview(b"abc")',
    "key-int": "{1: 'a', -2: 'b', 2**64: 'c'}",
    "key-float": "{1.5: 'a', 1e16: 'b', -0.0: 'c'}",
    "key-float-nan": "{math.nan: 'a', math.inf: 'b', -math.inf: 'c'}",
    "key-bool-none": "{True: 'a', False: 'b', None: 'c'}",
    "key-duplicates": "{1: 'a', '1': 'b'}",
    "key-mixed": "{'a': 1, 2: 2, None: 3, 4.5: 4}",
    "key-tuple": "{(1, 2): 'a'}",
    "key-decimal": "{Decimal('1.10'): 'a'}",
    "key-decimal-nan": "{Decimal('NaN'): 'a'}",
    "key-object": "{Plain(): 'a'}",
    "key-int-enum": "{Number.ONE: 'a'}",
    "key-int-subclass": "{Whole(7): 'a'}",
    "key-float-subclass": "{Real(7.5): 'a'}",
    "key-str-subclass": "{Text('k'): 'a'}",
    "key-str-enum": "{Word.HELLO: 'a', StrColour.BLUE: 'b'}",
    "key-lone-surrogate": r'{"\ud800": 1}',
    "key-empty": '{"": 1}',
    "str-subclass": '[Text("inner")]',
    "int-subclass": "[Whole(7)]",
    "float-subclass": "[Real(7.5)]",
    "list-subclass": "Listed([1, 2])",
    "dict-subclass": "Mapped(a=1)",
    "dict-subclass-items": "Upside(a=1)",
    "ordered-dict": "collections.OrderedDict([('b', 1), ('a', 2)])",
    "default-dict": "collections.defaultdict(list, a=[1])",
    "counter": "collections.Counter('aab')",
    "deque": "collections.deque([1])",
    "user-dict": "collections.UserDict(a=1)",
    "user-string": "collections.UserString('a')",
    "mapping-proxy": "types.MappingProxyType({'a': 1})",
    "simple-namespace": "types.SimpleNamespace(a=1)",
    "chain-map": "collections.ChainMap({'a': 1})",
    "dict-views": "[{'a': 1}.keys()]",
    "int-enum": "[Number.ONE, {'n': Number.ONE}]",
    "int-flag": "Flag.A | Flag.B",
    "str-enum": "[Word.HELLO]",
    "str-enum-std": "[StrColour.BLUE]",
    "set": "{1}",
    "frozenset": "frozenset()",
    "circular-list": "circular_list()",
    "circular-dict": "circular_dict()",
    "shared-not-circular": "(lambda a: [a, a, {'a': a}])([1])",
    "deep-200": "deep(200)",
    "deep-100000": "deep(100_000)",
    "generator-object": "(lambda: numbers())()",
    "generator-in-dict": "{'a': numbers()}",
    "map-object": "map(str, [1])",
    "range": "range(3)",
    "object": "Plain()",
    "object-nested": "{'a': [1, Plain()]}",
    "class": "Plain",
    "module": "math",
    "function": "deep",
    "exception-instance": "ValueError('returned, not raised')",
    "ellipsis": "...",
    "path": "pathlib.PurePosixPath('/a')",
    "timedelta": "datetime.timedelta(1)",
    "ip-address": "ipaddress.ip_address('10.0.0.1')",
    "large-string": "'é' * 100_000",
    "large-list": "list(range(5_000))",
    "large-bytes": "b'ab' * 500_000",
}


def _serialised(value: object) -> Callable[[Outcome], object]:
    return lambda outcome: outcome.post.call.endswith("/response") and outcome.value == value


# What the official client answers with Runtime.MarshalError and ours with a value.
RICHER = {
    "dataclass": ("Data()", {"a": 1, "b": [1, 2]}),
    "dataclass-nested": ('{"d": [Data(b=(Data(),))]}', {"d": [{"a": 1, "b": [{"a": 1, "b": [1, 2]}]}]}),
    "datetime": ("datetime.datetime(2026, 11, 22, 4, 7, 18, 813000)", "2026-11-22T04:07:18.813000"),
    "datetime-utc": ("[datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)]", ["2026-11-22T00:00:00+00:00"]),
    "date": ('{"on": datetime.date(2026, 11, 22)}', {"on": "2026-11-22"}),
    "time": ("datetime.time(4, 7, 18)", "04:07:18"),
    "uuid": ("uuid.UUID(int=1)", "00000000-0000-0000-0000-000000000001"),
    "enum": ("[Colour.RED]", ["red"]),
}


def _refused(outcome: Outcome) -> object:
    value = outcome.value
    return value["errorType"] == "Runtime.MarshalError" and value["errorMessage"].startswith(
        "Unable to marshal response: "
    )


def _says(text: str) -> Callable[[Outcome], object]:
    return lambda outcome: outcome.value["errorType"] == "TypeError" and text in outcome.value["errorMessage"]


def _cases(prefix: str) -> tuple[Case, ...]:
    wording = {
        "deep-100000": ("json-wording", _refused),
        "generator-object": ("stream", _says("made of bytes and str, not of int: to stream JSON, yield json.dumps(")),
        "map-object": ("stream", lambda outcome: outcome.requests[0].body == b"1"),
    }
    return (
        *(Case(f"{prefix}-{name}", source, **differing(wording.get(name))) for name, source in EXPRESSIONS.items()),
        *(
            Case(f"{prefix}-{name}", expression, differs="richer-results", ours=_serialised(value))
            for name, (expression, value) in RICHER.items()
        ),
    )


# Which JSON engine runs must not be seen: all of it once with orjson from the second event on, as everything it
# imports is there already, and once where it cannot be had. The official client has no use for orjson.
BATCHES = [
    Batch("result", _cases("result"), PRELUDE + "\nimport inspect, json\n"),
    Batch("result-no-orjson", _cases("result-no-orjson"), PRELUDE + "\nimport sys\nsys.modules['orjson'] = None\n"),
]

_DECORATED = """
    import asyncio, functools

    def plain(function):
        def call(*args):
            return function(*args)
        return call

    class Waiting:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "waited"

    @plain
    async def decorated(event, context):
        await asyncio.sleep(0)
        if event == 3:
            raise ValueError("x")
        return b"bytes" if event == 2 else event

    async def function(event, context):
        return event

    def awaitable(event, context):
        return Waiting()
"""

SOLOS = [
    Solo(
        f"coroutine-{name}",
        Run(app(_DECORATED), (Event(b"1"), Event(b"2"), Event(b"3")), handler=f"app.{name}"),
        "coroutine",
        lambda outcomes, expected=expected: [outcome.post.body for outcome in outcomes[1:3]] == expected,  # type: ignore[misc]
        urllib3=False,
    )
    for name, expected in {
        "function": [("int", "1"), ("int", "2")],
        "decorated": [("int", "1"), b"bytes"],
        "awaitable": ["waited", "waited"],
    }.items()
]
