"""What is read in pieces is what is read as a whole, or is refused and then read as a whole."""

import json
import mmap
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from samovar import codec
from samovar.codec import large


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "_PIECE", 60)
        codec._import_orjson()
        yield
        codec._orjson_loads = codec._orjson_dumps = None
        codec._seen = 0


def in_pieces(data: bytes) -> Any:
    return large.loads(data, orjson.loads, codec.loads)


def said(value: object) -> str:
    return f"{type(value)} {value!r}"  # tells 1 from 1.0 and True, and NaN is NaN


def listed(item: bytes, times: int) -> bytes:
    return b"[%b]" % b",".join([item % i for i in range(times)])


atoms = st.none() | st.booleans() | st.integers() | st.floats() | st.text('"\\[{}],:aé茶\x00\n', max_size=12)
records = st.lists(st.fixed_dictionaries({"id": atoms}, optional={"of": st.lists(atoms, max_size=3)}), max_size=20)
nested = st.lists(st.fixed_dictionaries({"id": atoms, "of": records}), max_size=6)
long = st.text('xé茶,"\\', min_size=1, max_size=4).map(lambda text: text * 40)
members = st.dictionaries(st.sampled_from(["a", "b", "c", "[{"]) | long, atoms | records | nested | long, max_size=4)
documents = st.builds(
    lambda value, ascii_only, spaced: json.dumps(
        value, ensure_ascii=ascii_only, separators=None if spaced else (",", ":")
    ).encode(),
    members | records | nested | long,
    st.booleans(),
    st.booleans(),
)
changes = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 3),
        st.sampled_from(["", '"', "\\", "[{", "},{", "]", "[", "}", "{", ":", ",", '"id":', "\x01", "\xff", "1"]),
    ),
    max_size=3,
)


@given(documents, changes)
@example(b'{"a":"' + b"[{}" + b",{}" * 60 + b']"}', [])
@example(b'{"a":"' + b"x" * 100 + b'","a":1}', [])
@example(b'{"' + b"x" * 100 + b'":1}', [])
@example(b'{"a":"' + b"x" * 70 + b"\n" + b"x" * 70 + b'"}', [])
@example(b'{"a":"' + b"\xe8\x8c\xb6" * 50 + b'\xed\xa0\x80"}', [])
@example(b'{"a":"\\n' + b"x" * 100 + b'"}', [])
@example(b'{"a":"b"' + b"x" * 100 + b'"c":"d"}', [])
def test_a_value_in_pieces_is_the_value_of_the_whole(data: bytes, changed: list[tuple[float, int, str]]) -> None:
    for at, length, text in changed:
        place = int(at * len(data))
        data = data[:place] + text.encode("latin-1") + data[place + length :]
    try:
        value = in_pieces(data)
    except (ValueError, RecursionError):
        return
    assert said(value) == said(json.loads(data.decode()))


@pytest.mark.parametrize(
    "document",
    [
        b'{"body":"%b","n":null}' % (b"x" * 1000),
        b'{"body":"%b"}' % ("aé茶😀x".encode() * 300),  # a piece ends within each of the characters
        b'"%b"' % (b"x" * 1000),
        b'{"a":"%b","b":["%b",{"c":"%b"}]}' % (b"x" * 200, b"y" * 300, b"z" * 400),
        listed(b'{"id":%d}', 100),
        b'{"Records":%b,"n":1}' % listed(b'{"id":"%d","v":{"x":[{"y":1},{"y":2}]}}', 100),
        b'{"Records": %b, "n": 1}' % listed('{"id": %d, "v": "é"}'.encode(), 100).replace(b"},", b"}, "),
        b'{"files":%b}' % listed(b'{"name":%%d,"body":"%b"}' % (b"x" * 200), 9),
        b'{"code":"%b"}' % listed(b"{a:%d}", 100),  # no objects, but part of a string
        b'{"one":[{"k":1}],"many":%b}' % listed(b'{"i":%d}', 100),
        b'{"few":[{"k":1},{"k":2}],"body":"%b"}' % (b"x" * 500),
        b'{"a":%b,"b":%b}' % (listed(b'{"i":%d}', 50), listed(b'{"j":[%d]}', 50)),
        listed(b'{"i":1844674407370955161%d}', 9),
        listed(b'{"id":NaN},{"id":1e400},{"id":"\\ud800"},{"id":%d}', 20),
    ],
)
def test_shapes_that_are_read_in_pieces(document: bytes) -> None:
    assert said(in_pieces(document)) == said(json.loads(document))


def test_lists_whose_objects_hold_lists_of_such_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "_PIECE", 400)
    document = listed(b'{"id":%%d,"of":%b}' % listed(b'{"id":%d}', 4), 100)
    assert in_pieces(document) == json.loads(document)


def test_a_huge_document_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "_PIECE", 65_000)
    monkeypatch.setattr(codec, "_orjson_loads", lambda data: orjson.loads(data) if len(data) < 70_000 else 1 / 0)
    document = b'{"body":"%b","Records":[%b]}' % (b"x" * (1 << 21), b",".join([b'{"id":1,"of":[2]}'] * 100_000))
    mapping = mmap.mmap(-1, len(document))
    mapping.write(document)
    for data in (document, bytearray(document), mapping):
        assert codec.loads(data) == json.loads(document)
