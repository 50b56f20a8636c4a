"""Threads that read and write JSON at the same time get what each would get alone."""

from __future__ import annotations

import decimal
import json
import sys
import threading
from typing import Any

import pytest

from samovar import codec
from tests.threads import WITH_GIL, elsewhere, together


def test_threads_that_encode_one_object_at_the_same_time_all_get_its_json() -> None:
    value = {"a": [1, 2, {"b": [None] * 20}], "c": {"d": {"e": []}}, "f": ({"g": "h"},)}
    expected = b'{"a":[1,2,{"b":[' + b",".join([b"null"] * 20) + b']}],"c":{"d":{"e":[]}},"f":[{"g":"h"}]}'
    for encoded in together(8, lambda number: {codec.dumps(value) for _ in range(2000)}):
        assert encoded == {expected}


def test_an_object_that_another_thread_is_encoding_is_no_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_own_kinds", len(codec._tuples()) + len(codec._dicts()))  # as if no test had any
    row: dict[str, Any] = {"a": decimal.Decimal(1)}
    seen: list[bytes] = []

    def other_thread(frame: Any, event: str, argument: object) -> None:
        if frame.f_code is codec._refuse.__code__ and not seen:
            seen.append(b"")
            seen.append(elsewhere(lambda: codec.dumps([row])))

    before = sys.gettrace()
    sys.settrace(other_thread)
    try:
        assert codec.dumps([row]) == b'[{"a":1}]'
    finally:
        sys.settrace(before)
    assert seen == [b"", b'[{"a":1}]']


def test_threads_that_read_documents_with_the_same_and_with_other_keys() -> None:
    def read(number: int) -> bool:
        value = [{f"key{i}": i, f"of {number}, {i}": {"x": []}} for i in range(50)]
        document = json.dumps(value).encode()
        return all(codec.loads(document) == value for _ in range(100))

    assert together(8, read) == [True] * 8


def test_orjson_is_asked_for_once_by_threads_with_large_events(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(codec, "_asked", threading.Lock())
    monkeypatch.setattr(codec, "_orjson_loads", None)
    monkeypatch.setattr(codec, "_import_orjson", lambda: asked.append(threading.get_ident()))
    document = b'["' + b"x" * (codec._LARGE + 1) + b'"]'

    def work(number: int) -> None:
        for _ in range(5):
            codec.loads(document)
            codec.upgrade()

    together(8, work)
    assert len(asked) == 1


@pytest.mark.skipif(WITH_GIL, reason="this Python has the GIL")
def test_orjson_does_not_bring_the_gil_back(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(codec, "say", said.append)
    monkeypatch.setattr(codec, "_asked", threading.Lock())
    codec.loads(b"[%b1]" % (b"1," * codec._LARGE))
    assert said == [
        "orjson is not used for large events and results: "
        "this Python runs without the GIL, and importing orjson would bring it back"
    ]
    assert not sys._is_gil_enabled()  # type: ignore[attr-defined]
