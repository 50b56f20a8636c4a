"""Large documents, read in pieces: long strings, and long lists of objects.

orjson needs memory for a copy of the document and for a tree of it. Read in pieces both are small, so that a large
event takes memory for itself and its value, and no more.

Each piece is cut out and replaced by an unguessable placeholder string. The remainder is parsed, then the placeholders
are replaced by the parsed pieces. A cut at the wrong place cannot go unnoticed: the remainder is JSON only if each
piece was where a value may be, and each piece is parsed as JSON by itself. Imported at the first large document.
"""

from posix import urandom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Source = Any  # bytes, bytearray or mmap: slices of them are bytes or bytearray
    Hole = tuple[int, int, str | list[Any]]

_PIECE = 65_000  # bytes
_TRIES = 8


def loads(data: "Source", parse: "Callable[[bytes], Any]", load: "Callable[[bytes], Any]") -> "Any":
    """Return the value of a JSON document, as `codec.loads` gives it.

    parse: a strict parser, for strings. load: `codec.loads`, for the other pieces and the remainder. Raises ValueError
    or RecursionError where the document cannot be read in pieces, or is not JSON.
    """
    secret = urandom(16).hex()
    holes: dict[object, Any] = {}
    rest: list[bytes] = []
    at = 0
    while len(data) - at > _PIECE:
        hole = _items(data, at, load) or _string(data, at, parse)
        if hole is None:
            raise ValueError("neither long strings nor a long list of objects")
        name = f"{secret}{len(holes)}"
        rest += (data[at : hole[0]], b'"%b"' % name.encode())
        at = hole[1]
        holes[name] = hole[2]
    rest.append(data[at:])
    root = [load(b"".join(rest))]
    _fill(root, holes)
    if holes:
        raise ValueError("a placeholder is a key, or the value of a repeated key")
    return root[0]


def _string(data: "Source", at: int, parse: "Callable[[bytes], Any]") -> "Hole | None":
    """Cut out the string in which the piece at `at` ends."""
    start = data.rfind(b'"', at, at + _PIECE)
    end = data.find(b'"', at + _PIECE)
    if start < 0 or end - start < _PIECE // 2:
        return None
    done = start + 1
    while done < end:
        to = min(done + _PIECE, end)
        while to < end and data[to] & 0xC0 == 0x80 and to > done + 1:  # within a character
            to -= 1
        piece = data[done:to]
        if b"\\" in piece:
            return None
        parse(b'"%b"' % piece)
        done = to
    with memoryview(data) as view, view[start + 1 : end] as content:
        return start, end + 1, str(content, "utf-8")


def _items(data: "Source", at: int, load: "Callable[[bytes], Any]") -> "Hole | None":
    """Cut out objects of a list that begins in the piece at `at`; the last ones stay."""
    start = at
    for _ in range(_TRIES):
        start = data.find(b"[{", start, at + _PIECE) + 1
        if not start:
            return None
        first = data[start : data.find(b":", start, start + _PIECE) + 1]  # how an object begins: `{"id":`
        joint = first and _joint(data, start, first)
        if not joint:
            continue
        over = len(joint) - len(first) - 1
        items: list[Any] = []
        done = start
        while (end := _end_of_item(data, done, joint)) > 0:
            try:
                items += load(b"[%b]" % data[done:end])
            except ValueError:
                break
            done = end + over
        if items:
            return start, done - over, items
    return None


def _joint(data: "Source", start: int, first: bytes) -> bytes:
    """Return what joins two objects that begin with `first`: the end of one, a comma, `first`."""
    at = start
    for _ in range(_TRIES):
        at = data.find(first, at + 1, start + _PIECE)
        if at < 0:
            break
        between = data[data.rfind(b"}", start, at) : at]
        if between[:1] == b"}" and between[1:].strip() == b",":
            return bytes(between + first)
    return b""


def _end_of_item(data: "Source", at: int, joint: bytes) -> int:
    """Return where the last object that is whole in the piece at `at` ends; 0 if none ends in its second half."""
    end: int = at + _PIECE
    for _ in range(_TRIES):
        end = data.rfind(joint, at + _PIECE // 2, end) + 1
        if not end:
            break
        piece = data[at:end]
        if piece.count(b"[") == piece.count(b"]"):  # else the object is part of an inner list
            return end
    return 0


def _fill(value: "Any", holes: "dict[object, Any]") -> None:
    """Replace each placeholder by its piece, and take the piece out of `holes`."""
    keys = value if isinstance(value, dict) else range(len(value) - 1, -1, -1)
    for key in keys:
        item = value[key]
        if type(item) is str:
            piece = holes.pop(item, None)
            if type(piece) is list:
                value[key : key + 1] = piece
            elif piece is not None:
                value[key] = piece
        elif type(item) is dict or type(item) is list:
            _fill(item, holes)
