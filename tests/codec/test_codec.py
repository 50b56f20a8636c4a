"""Both engines give and accept the same values, those of the official client where it has any."""

import collections
import dataclasses
import datetime
import decimal
import enum
import gc
import json
import math
import mmap
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from samovar import codec
from tests.conftest import ROOT

orjson: Any
try:
    import orjson
except ImportError:
    orjson = None
needs_orjson = pytest.mark.skipif(orjson is None, reason="orjson has no wheel for this Python")


@pytest.fixture(autouse=True)
def _engines() -> Iterator[None]:
    with_orjson(False)
    yield
    with_orjson(False)


def with_orjson(wanted: bool) -> None:
    codec._orjson_loads = codec._orjson_dumps = None
    codec._seen = 0
    if wanted:
        codec._import_orjson()


def both_loads(data: bytes) -> tuple[Any, Any]:
    outcomes = []
    for wanted in (False, True):
        with_orjson(wanted)
        try:
            outcomes.append(codec.loads(data))
        except ValueError as exc:
            outcomes.append((type(exc), str(exc)))
    return outcomes[0], outcomes[1]


def both_dumps(value: Any) -> tuple[Any, Any]:
    outcomes: list[Any] = []
    for wanted in (False, True):
        with_orjson(wanted)
        try:
            outcomes.append(codec.dumps(value))
        except (TypeError, ValueError, RecursionError) as exc:
            outcomes.append((type(exc), str(exc)))
    return outcomes[0], outcomes[1]


def same(a: Any, b: Any) -> bool:
    """Equal in value and in type, NaN and signed zero included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


texts = st.text(st.characters(codec=None, exclude_categories=[]))  # lone surrogates too
scalars = st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | st.floats() | texts
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=25)


@given(values)
@example([2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**19, 10**30])
@example([float("nan"), None, -0.0, 1e400, 1e16, 5e-324])
@example({"\ud800": "\udfff", "é": "\U0001f600", "\x00": "\x1f\x7f\u2028"})
@settings(max_examples=300)
def test_values_survive_both_engines(value: Any) -> None:
    plain, fast = both_dumps(value)
    assert same(json.loads(plain), value)
    assert same(json.loads(fast), value)
    for document in (plain, fast, json.dumps(value).encode()):
        slow_value, fast_value = both_loads(document)
        assert same(slow_value, value)
        assert same(fast_value, value)


@given(st.binary() | st.text(alphabet='[]{},:"\\u0123456789.eE+- NaInfitylusrd\n\ufeff').map(str.encode))
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b"[1e400, -0, -0.0, 18446744073709551616]")
@example(b'{"a": 1, "a": 2}')
@example(b'"\xed\xa0\x80"')
@example(b"\x0c1")
@settings(max_examples=500)
def test_any_document_means_the_same_to_both(data: bytes) -> None:
    slow, fast = both_loads(data)
    assert same(slow, fast) or (isinstance(slow, tuple) and slow == fast)


@given(st.integers(1, 40), st.integers(0, 30), st.integers(0, 3000))
def test_a_long_number_is_exact_wherever_it_stands(digits: int, offset: int, tail: int) -> None:
    number = int("9" * digits)
    document = b"[" + b" " * offset + str(number).encode() + b', "' + b"x" * tail * 2 + b'"]'
    with_orjson(True)
    assert codec.loads(document)[0] == number
    assert codec.loads(memoryview(b'["' + b"y" * 5000 + b'",' + document + b"]"))[1][0] == number


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"18446744073709551616", 18446744073709551616),
        (b"-9223372036854775809", -9223372036854775809),
        (b'"\\ud800"', "\ud800"),
        (b"1e400", math.inf),
        (b" \t\r\n[1]\n", [1]),
        (b"\xef\xbb\xbf[1]", [1]),
        (b"NaN", math.nan),
        (b"[-Infinity]", [-math.inf]),
    ],
)
def test_accepted(data: bytes, value: Any) -> None:
    slow, fast = both_loads(data)
    assert same(slow, value)
    assert same(fast, value)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1,]", b"{'a': 1}", b"\xff", b'"\n"', b"1 2", b"nul", b'"\\x"', b"\xff\xfe[\x00]\x00"]
)
def test_refused(data: bytes) -> None:
    slow, fast = both_loads(data)
    assert isinstance(slow, tuple)
    assert slow == fast


class Point(NamedTuple):
    x: int
    y: Any


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Unknown(enum.Enum):
    VALUE = float("nan")


class Name(str):
    def __str__(self) -> str:
        return "not the content"


class Shout(dict[str, Any]):
    def items(self) -> Any:
        return {key.upper(): value for key, value in super().items()}.items()


@dataclasses.dataclass
class Item:
    name: str
    price: decimal.Decimal
    kind: dataclasses.InitVar[int] = 0


MOMENT = datetime.datetime(2026, 11, 22, 4, 7, 18, 813000, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (2**64, b"18446744073709551616"),
        (float("nan"), b"NaN"),
        ([float("inf"), None], b"[Infinity,null]"),
        ([None, {"a": (1.5, float("nan"))}], b'[null,{"a":[1.5,NaN]}]'),
        ([None, Unknown.VALUE, "null"], b'[null,NaN,"null"]'),
        ("\ud800é", b'"\\ud800\xc3\xa9"'),
        (decimal.Decimal("1.10"), b"1.10"),
        ([decimal.Decimal("NaN"), decimal.Decimal("1E+2")], b"[NaN,1E+2]"),
        (Point(1, [Point(2, None)]), b'{"x":1,"y":[{"x":2,"y":null}]}'),
        ((1, "a"), b'[1,"a"]'),
        ({1: 1, 2.5: 2, False: 3, None: 4, 2**70: 5}, b'{"1":1,"2.5":2,"false":3,"null":4,"1180591620717411303424":5}'),
        ({"a": b"text", b"k": 1}, b'{"a":"text","k":1}'),
        (collections.OrderedDict(a=collections.Counter("aa")), b'{"a":{"a":2}}'),
        (Shout(a=Shout(b=1)), b'{"A":{"B":1}}'),
        ([Name("content"), {Name("key"): Level.HIGH}, {Level.HIGH: 1}], b'["content",{"key":3},{"3":1}]'),
        ([Colour.RED, uuid.UUID(int=1)], b'["red","00000000-0000-0000-0000-000000000001"]'),
        (
            [MOMENT, MOMENT.date(), MOMENT.time()],
            b'["2026-11-22T04:07:18.813000+00:00","2026-11-22","04:07:18.813000"]',
        ),
        (Item("tea", decimal.Decimal("2.50")), b'{"name":"tea","price":2.50}'),
        *([(orjson.Fragment(b'{"a":1}'), b'{"a":1}')] if orjson else []),
        ([], b"[]"),
        ([{}, Point((), {})], b'[{},{"x":[],"y":{}}]'),
    ],
)
def test_encoded_the_same_by_both(value: Any, document: bytes) -> None:
    assert both_dumps(value) == (document, document)


def circular() -> list[Any]:
    loop: list[Any] = [decimal.Decimal(1)]
    loop.append(loop)
    return loop


def plain_circle() -> dict[str, Any]:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    return circle


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({1, 2}, "Object of type set is not JSON serializable"),
        ({"a": [object()]}, "Object of type object is not JSON serializable"),
        ({(1, 2): 3}, "keys must be str, int, float, bool or None, not tuple"),
        ({decimal.Decimal(1): 3}, "keys must be str, int, float, bool or None, not Decimal"),
        (circular(), "Circular reference detected"),
        (plain_circle(), "Circular reference detected"),
        ({"a": b"\xff"}, "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_not_encodable(value: Any, says: str) -> None:
    slow, fast = both_dumps(value)
    assert slow[1] == fast[1] == says
    assert codec.dumps({"next": 1}) == b'{"next":1}'


def test_a_failure_inside_leaves_no_trace_for_the_next_value() -> None:
    row = {"a": object()}
    for wanted in (False, True):
        with_orjson(wanted)
        for _ in range(3):
            with pytest.raises(TypeError, match="Object of type object"):
                codec.dumps([row])
        assert codec.dumps([{"a": 1}]) == b'[{"a":1}]'


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


@needs_orjson
def test_orjson_comes_when_it_pays_and_not_before() -> None:
    program = """
import sys
from samovar import codec
for _ in range(300):
    codec.dumps(codec.loads(b'{"a": [1, 2, 3]}')); codec.upgrade()
print("orjson" in sys.modules, "json" in sys.modules)
for _ in range(20):
    codec.dumps(codec.loads(b'["' + b'x' * 60000 + b'"]')); codec.upgrade()
print("orjson" in sys.modules)
"""
    assert run(program).split() == ["False", "False", "True"]


@needs_orjson
def test_orjson_comes_at_once_for_a_large_payload() -> None:
    program = "import sys; from samovar import codec; codec.loads(b' ' * 300000 + b'1'); print('orjson' in sys.modules)"
    assert run(program) == "True"


def test_without_orjson_all_works() -> None:
    program = """
import sys
sys.modules["orjson"] = None
from samovar import codec
print(len(codec.loads(b'["' + b'x' * 3000000 + b'"]')[0]), codec.dumps({"a": None})); codec.upgrade()
"""
    assert run(program) == "3000000 b'{\"a\":null}'"


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=6), st.integers(0, 2**80))
@settings(max_examples=60, deadline=None)
def test_a_long_number_between_large_strings_is_exact(sizes: list[int], number: int) -> None:
    with_orjson(True)
    parts = [b'"' + b"7" * size + b'"' for size in sizes]
    for place in range(len(parts) + 1):
        document = b"[" + b",".join([*parts[:place], str(number).encode(), *parts[place:]]) + b"]"
        assert codec.loads(document)[place] == number
        with mmap.mmap(-1, len(document)) as mapped:
            mapped[:] = document
            assert codec._long_number(mapped) >= (number >= 2**64)


def test_a_mapping_is_read_as_bytes_are() -> None:
    for content in (
        b'["' + b"line of text, " * 40_000 + b'"]',
        b"[1, " * 1 + b"2," * 200_000 + b"12345678901234567890123]",
    ):
        for wanted in (False, True):
            with_orjson(wanted)
            mapped = mmap.mmap(-1, len(content))
            mapped[:] = content
            assert codec.loads(mapped) == json.loads(content)


LEAST = -(10**19 - 1)  # 19 digits are the fewest that orjson rounds


@pytest.mark.parametrize("offset", range(36))  # 36: what both strides of the search divide
def test_the_shortest_number_that_needs_care_is_found_at_every_offset(offset: int) -> None:
    with_orjson(True)
    assert codec.loads(b"[" + b" " * (5000 + offset) + b"%d]" % LEAST) == [LEAST]


@pytest.mark.parametrize("between", [b",", b',"",', b",1.5,"])
def test_a_long_number_behind_a_long_fraction_is_found(between: bytes) -> None:
    with_orjson(True)
    document = b"[0.%b%b%d]" % (b"1" * 25, between, LEAST)
    assert codec.loads(document)[-1] == LEAST


@pytest.mark.parametrize("place", range(4))
def test_a_long_number_is_found_on_either_side_of_a_string(place: int) -> None:
    """The strings hold no digits, so that nothing but the number itself can tell of it."""
    with_orjson(True)
    numbers = [LEAST if i == place else 1 for i in range(4)]
    document = b'["%b",%d,"%b",%d,"z",%d,"z",%d]' % (b"x" * 70_000, numbers[0], b"y" * 140_000, *numbers[1:])
    assert codec.loads(document)[1::2] == numbers


@pytest.mark.parametrize("escapes", range(3))
def test_escaped_quotes_hide_no_long_number(escapes: int) -> None:
    with_orjson(True)
    document = b'["%b%b",%d]' % (b"text\\n" * 20_000, b'\\"' * escapes, LEAST)
    assert codec.loads(document)[1] == LEAST


@pytest.mark.parametrize("before", range(20))
def test_a_long_number_across_two_pieces_is_exact(before: int) -> None:
    with_orjson(True)
    text = b"x" * (2 * 65536 - before - 4)
    for behind in (b"", b',""'):
        assert codec.loads(b'["%b",%d%b]' % (text, LEAST, behind))[1] == LEAST


@pytest.mark.parametrize("data", [b"[1]\x0c", b"[1]\x0b", b"1\xc2\xa0", b"[1]\xe2\x80\xa8", b"\xe3\x80\x801"])
def test_only_jsons_own_white_space_may_surround_a_value(data: bytes) -> None:
    slow, fast = both_loads(data)
    assert slow == fast
    assert slow[0] is json.JSONDecodeError


@pytest.mark.parametrize("collects", [False, True])
@pytest.mark.parametrize("size", [100, 100_000, 3_000_000])
def test_the_collector_is_left_as_it_was(collects: bool, size: int) -> None:
    with_orjson(True)
    (gc.enable if collects else gc.disable)()
    try:
        codec.loads(b"[" + b"1," * (size // 2) + b"1]")
        assert gc.isenabled() is collects
    finally:
        gc.enable()


def test_a_value_whose_encoding_was_interrupted_can_be_encoded_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_own_kinds", len(codec._tuples()) + len(codec._dicts()))  # as if this file had none
    row = {"a": decimal.Decimal(1)}

    def interrupt(frame: Any, event: str, argument: object) -> None:  # as a signal's handler does at any call
        if frame.f_code is codec._refuse.__code__:
            raise KeyboardInterrupt

    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            codec.dumps([row])
    finally:
        sys.settrace(before)
    assert codec.dumps([row]) == b'[{"a":1}]'


@needs_orjson
def test_an_orjson_that_is_not_there_is_asked_for_once() -> None:
    program = """
import builtins
from samovar import codec

asked = []
real = builtins.__import__

def noting(name, *args, **kwargs):
    if name == "orjson":
        asked.append(name)
        raise ImportError(name)
    return real(name, *args, **kwargs)

builtins.__import__ = noting
for _ in range(3):
    codec.dumps(codec.loads(b'["' + b'x' * 2000000 + b'"]'))
    codec.upgrade()
print(len(asked))
"""
    assert run(program) == "1"


@dataclasses.dataclass
class Hidden:
    shown: int
    _hidden: int


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (Hidden(1, 2), b'{"shown":1,"_hidden":2}'),
        (
            datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=1, seconds=30))),
            b'"2026-01-02T00:00:00+01:00:30"',
        ),
        ([decimal.Decimal(1), math.inf, -math.inf, {"a": -math.inf}], b'[1,Infinity,-Infinity,{"a":-Infinity}]'),
        ([decimal.Decimal(1), True, False, None], b"[1,true,false,null]"),
        ({True: 1, False: 2, None: 3, 1.5: decimal.Decimal(4)}, b'{"true":1,"false":2,"null":3,"1.5":4}'),
        ([[decimal.Decimal(1)]] * 2, b"[[1],[1]]"),
        ([Point(1, ())] * 2, b'[{"x":1,"y":[]},{"x":1,"y":[]}]'),
    ],
)
def test_what_only_the_exact_encoder_writes_well(value: Any, document: bytes) -> None:
    assert both_dumps(value) == (document, document)


@needs_orjson
@pytest.mark.parametrize(
    ("document", "fast"),
    [
        (b'{"a":1}', True),
        (b"0.1234567890123456789012345", True),  # of a fraction both read the same
        (b"[%b,0.1234567890123456789012345]" % (b"1," * 4000)[:-1], True),
        (b'["%b"]' % (b"d" * 30), True),  # the letter that stands for a digit in the search
        (b"1234567890123456789", False),
        (b'["%b"]' % (b"x" * 100_000), True),
        (b"[%b1]" % (b"1," * 50_000), True),
        (
            b"[%b1]" % (b'"a line of some length, as texts have them, of words and of blanks between them",' * 3_000),
            False,
        ),
    ],
)
def test_which_engine_reads_what(monkeypatch: pytest.MonkeyPatch, document: bytes, fast: bool) -> None:
    with_orjson(True)
    read: list[Any] = []
    monkeypatch.setattr(codec, "_orjson_loads", lambda data: read.append(orjson.loads(data)) or read[-1])
    assert codec.loads(document) == json.loads(document)
    assert bool(read) is fast


@needs_orjson
def test_orjson_writes_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    with_orjson(True)
    monkeypatch.setattr(codec, "_orjson_dumps", lambda value, default, option: b"by orjson, null")
    for value in ({"a": 1}, [None, 1.5, "", {"a": (True, -1e300)}], None):
        assert codec.dumps(value) == b"by orjson, null"
    assert codec.dumps([None, float("inf")]) == b"[null,Infinity]"  # what it writes as null, too


@needs_orjson
@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: (value,), lambda value: {"": value}])
def test_orjson_does_not_write_what_is_nested_too_deeply_for_its_buffer(
    monkeypatch: pytest.MonkeyPatch, wrap: Any
) -> None:
    monkeypatch.setattr(orjson, "__version__", "3.11.8")
    with_orjson(True)
    monkeypatch.setattr(codec, "_orjson_dumps", lambda value, default, option: b"by orjson")
    value: Any = 1
    for levels in range(40):
        by_orjson = codec.dumps(value) == b"by orjson"
        assert by_orjson is (levels <= 31), levels
        value = wrap(value)


@needs_orjson
def test_the_pinned_orjson_writes_deep_values_within_its_buffer(tmp_path: Path) -> None:
    """PYTHONMALLOC=debug ends the process where a block was written past its end."""
    script = tmp_path / "deep.py"
    script.write_text(
        "from samovar import codec\n"
        "codec._import_orjson()\n"
        "assert codec._deep\n"
        "for size in (0, 100, 990, 1010, 1024, 4090):\n"
        "    for levels in range(1, 253, 5):\n"
        "        for wrap in (lambda v: [v], lambda v: {'k' * 20: v}):\n"
        "            value = ['x' * size, None]\n"
        "            for _ in range(levels):\n"
        "                value = wrap(value)\n"
        "            assert codec.loads(codec.dumps(value)) == value\n"
    )
    environment = {**os.environ, "PYTHONMALLOC": "debug", "PYTHONPATH": str(ROOT / "runtime")}
    subprocess.run([sys.executable, script], env=environment, check=True)


@needs_orjson
def test_an_orjson_whose_dumps_cannot_be_trusted_is_used_for_events_only(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(codec, "say", said.append)
    monkeypatch.setattr(orjson, "__version__", "3.12.0")
    with_orjson(True)
    assert codec._orjson_loads is orjson.loads
    assert codec._orjson_dumps is None
    assert said == ["orjson is used for large events, and not for results: from 3.12 on its dumps can corrupt memory"]
