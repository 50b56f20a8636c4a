"""What /next brings → what the handler gets as its event. Every handler returns repr(event): types and digits count."""

from __future__ import annotations

from collections.abc import Callable

from tests.contract.harness import Event, Outcome, Run
from tests.contract.table import Batch, Case, Differing, Solo, app, differing

EVENTS: dict[str, bytes] = {
    "object": b'{"a": [1, 2.5, "x", true, false, null, {}]}',
    "null": b"null",
    "true": b"true",
    "string": b'"text"',
    "int": b"12",
    "int-64-bits": b"18446744073709551616",
    "int-huge": b"1" * 400,
    "int-too-many-digits": b"1" * 5000,
    "int-negative-zero": b"-0",
    "float": b"1.0",
    "float-negative-zero": b"-0.0",
    "float-many-digits": b"0.1000000000000000055511151231257827",
    "float-overflow": b"1e400",
    "float-underflow": b"1e-400",
    "float-exponents": b"[1E5, 1e+5, 1e-5, 12.5e3]",
    "nan": b"NaN",
    "infinity": b"[Infinity, -Infinity]",
    "nan-nested": b'{"a": [NaN]}',
    "nan-negative": b"-NaN",
    "number-leading-zero": b"01",
    "number-plus": b"+1",
    "number-bare-dot": b"[.5]",
    "number-trailing-dot": b"1.",
    "number-bare-minus": b"-",
    "number-bare-exponent": b"1e",
    "number-hex": b"0x10",
    "literal-uppercase": b"True",
    "literal-cut": b"tru",
    "empty": b"",
    "blank": b" \n\t ",
    "padded": b' \r\n\t{"a": 1} \r\n\t',
    "padded-form-feed": b'\x0c{"a": 1}',
    "trailing-garbage": b'{"a": 1} x',
    "trailing-second-value": b"{}{}",
    "trailing-nul": b"{}\x00",
    "trailing-comma-list": b"[1,]",
    "trailing-comma-object": b'{"a": 1,}',
    "unclosed-object": b'{"a": 1',
    "unclosed-list": b"[1, 2",
    "unclosed-string": b'{"a": "b',
    "missing-colon": b'{"a" 1}',
    "missing-value": b'{"a":}',
    "missing-comma": b'["a" "b"]',
    "unquoted-key": b"{a: 1}",
    "single-quotes": b"{'a': 1}",
    "key-int": b"{1: 2}",
    "comment": b"[1 /* one */]",
    "error-on-third-line": b'{\n  "a": 1,\n  "b": oops\n}',
    "not-json": b"hello world",
    "duplicate-keys": b'{"a": 1, "b": 2, "a": 3}',
    "key-order": b'{"z": 1, "a": 2}',
    "bom-utf8": b'\xef\xbb\xbf{"a": 1}',
    "bom-utf8-string": b'\xef\xbb\xbf"a"',
    "bom-inside": '{"a": "\ufeff"}'.encode(),
    "utf16": '{"a": 1}'.encode("utf-16"),
    "utf16-no-bom": '{"a": 1}'.encode("utf-16-le"),
    "utf32": '{"a": 1}'.encode("utf-32"),
    "utf8": '{"naïve": "日本 😀"}'.encode(),
    "utf8-invalid": b'{"a": "\xff"}',
    "utf8-cut": b'{"a": "\xe2\x82',
    "utf8-overlong": b'"\xc0\xaf"',
    "utf8-surrogate": b'"\xed\xa0\x80"',
    "utf8-invalid-outside-string": b"\xff{}",
    "latin-1": '"café"'.encode("latin-1"),
    "escapes": rb'"\" \\ \/ \b \f \n \r \t \u0041 \u00e9"',
    "escape-surrogate-pair": rb'"\ud83d\ude00"',
    "escape-lone-surrogate": rb'"\ud800"',
    "escape-lone-low-surrogate": rb'["\udc00x", "\ud800\u0041", "\ud800\ud800\udc00"]',
    "escape-lone-surrogate-key": rb'{"\udfff": 1}',
    "escape-nul": rb'"\u0000"',
    "escape-unknown": rb'"\x41"',
    "escape-short": rb'"\u12"',
    "escape-not-hex": rb'"\u12g4"',
    "escape-hex-prefix": rb'"\u0x41"',
    "control-in-string": b'"a\nb"',
    "tab-in-string": b'"a\tb"',
    "nul-in-string": b'"a\x00b"',
    "del-in-string": b'"\x7f"',
    "deep-list-200": b"[" * 200 + b"]" * 200,
    "deep-object-200": b'{"a":' * 200 + b"1" + b"}" * 200,
    "deep-list-100000": b"[" * 100_000 + b"]" * 100_000,
    "large-string": b'{"s": "' + b"x" * 300_000 + b'"}',
    "large-list": b"[" + b",".join(b"%d" % n for n in range(50_000)) + b"]",
    "many-keys": b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(5_000)) + b"}",
    "line-separator": '"\u2028"'.encode(),
    "empty-key": b'{"": 1}',
}

CONTENT_TYPES = {
    "json-charset": "application/json; charset=utf-8",
    "json-uppercase": "Application/JSON",
    "json-suffix": "application/cloudevents+json",
    "text": "text/plain",
    "octets": "application/octet-stream",
    "unknown": "application/unknown",
    "form": "application/x-www-form-urlencoded",
}

SHOW = """
    shown = repr(event)
    return shown if len(shown) < 4000 else [len(shown), shown[:60], shown[-60:], hash(shown)]
"""


def _refused(outcome: Outcome) -> object:
    value = outcome.value
    return value["errorType"] == "Runtime.UnmarshalError" and value["errorMessage"].startswith(
        "Unable to unmarshal input: "
    )


def _reads(text: str) -> Callable[[Outcome], object]:
    return lambda outcome: outcome.value == text


DIFFER: dict[str, Differing] = {
    "nan": ("nan-event", _reads("nan")),
    "infinity": ("nan-event", _reads("[inf, -inf]")),
    "nan-nested": ("nan-event", _reads("{'a': [nan]}")),
    **dict.fromkeys(
        (
            "number-leading-zero",
            "number-trailing-dot",
            "number-bare-exponent",
            "number-hex",
            "trailing-garbage",
            "trailing-second-value",
            "trailing-nul",
            "trailing-comma-list",
            "trailing-comma-object",
            "unclosed-object",
            "unclosed-list",
            "missing-comma",
            "unquoted-key",
            "single-quotes",
            "key-int",
            "comment",
            "utf16-no-bom",
            "escape-unknown",
            "escape-short",
            "escape-not-hex",
            "escape-hex-prefix",
            "control-in-string",
            "tab-in-string",
            "nul-in-string",
            "deep-list-100000",
        ),
        ("json-wording", _refused),
    ),
}


def _cases(prefix: str) -> tuple[Case, ...]:
    return tuple(Case(f"{prefix}-{name}", SHOW, body, **differing(DIFFER.get(name))) for name, body in EVENTS.items())


_ENV = {"PYTHONHASHSEED": "0"}  # for hash() in SHOW

# As for results: with orjson from the second event on, and without it.
BATCHES = [
    Batch("event", _cases("event"), "import dataclasses, datetime, enum, inspect, json, uuid\n", _ENV),
    Batch("event-no-orjson", _cases("event-no-orjson"), "import sys\nsys.modules['orjson'] = None\n", _ENV),
    Batch(
        "event-types",
        (
            *(
                Case(f"event-type-{name}", "repr(event)", b'{"a": 1}', content_type=kind)
                for name, kind in CONTENT_TYPES.items()
            ),
            Case("event-type-text-empty-body", "repr(event)", b"", content_type="text/plain"),
            Case(
                "event-type-octets-any-bytes", "repr(event)", bytes(range(256)), content_type="application/octet-stream"
            ),
            Case(
                "event-type-octets-large",
                "[type(event).__name__, len(event)]",
                b"\x00\xff" * 500_000,
                content_type="application/octet-stream",
            ),
            Case("event-is-mutable", "event.update(b=2)\nreturn event", b'{"a": 1}'),
        ),
    ),
]

# The very first event of an environment: nothing that a later one relies on has been imported yet.
SOLOS = [
    Solo(
        f"event-first-{name}",
        Run(app("def handler(event, context):\n    return repr(event)\n"), (Event(body), Event(body))),
        differs,
        ours,
    )
    for name, body, differs, ours in (
        ("not-json", b"hello", None, None),
        ("empty", b"", None, None),
        ("invalid-utf8", b'"\xff"', None, None),
        ("bom", b'\xef\xbb\xbf{"a": 1}', None, None),
        ("int-huge", b"1" * 400, None, None),
        ("lone-surrogate", rb'"\ud800"', None, None),
        (
            "trailing-garbage",
            b"{} x",
            "json-wording",
            lambda outcomes: all(_refused(outcome) for outcome in outcomes[1:]),
        ),
        ("large", b"[" + b",".join(b"%d" % n for n in range(300_000)) + b"]", None, None),
    )
]
