"""The function's own orjson, which comes before ours on sys.path. Where it cannot be trusted, or is something else,
every event and result is what it is without orjson, and the environment lives on.
"""

from __future__ import annotations

import sys

import pytest

from tests.attach.harness import LAYER, OS_ONLY, Attached, Function, Recorded

# The debug allocator ends the process when something was written past the end of a buffer.
ENV = {"PYTHONMALLOC": "debug", "AWS_LAMBDA_LOG_LEVEL": "DEBUG"}

UNUSED = "orjson is not used for large events and results: "

SOURCE = """
    import json, sys

    def chain(levels, wrap, inner=1):
        for _ in range(levels):
            inner = wrap(inner)
        return inner

    def handler(event, context):
        kind = event[0] if isinstance(event, list) and event else event
        if kind == "wide":  # from 3.12 on this needs more than orjson's buffer has
            return [["x" * 150] * event[1], *[None] * 400]
        if kind == "closing":  # so many brackets close in a row that they need more, if that is near the buffer's end
            before = chain(40, lambda value: {"abcdefgh": value})
            return [{event[1] * "q": before}, chain(230, lambda value: [value])]
        if kind == "circle":
            inner = []
            inner.append((inner,))
            return chain(event[1], lambda value: [value], inner)
        if kind == "engines":
            return "orjson.orjson" in sys.modules
        return len(event)
"""
LARGE = b'["%b"]' % (b"x" * 300_000)  # after this one orjson has taken over, where there is one
DEEP = b"[" * 150_000 + b"]" * 150_000
EVENTS = (
    LARGE,
    *(["wide", strings] for strings in range(405, 425)),
    *(["closing", more] for more in range(30, 70, 2)),
    *(["circle", outside] for outside in range(4)),
    ["a", 2**64 + 1, 0.1, None, "é"],
    DEEP,
    LARGE,
)
VERSIONS = [
    name
    for name, before in (("orjson-3.8", (3, 12)), ("orjson-3.10", (3, 14)), ("orjson-3.13", (3, 15)))
    if sys.version_info < before  # later Pythons have no wheel of it
]

WITHOUT = Function((), {"app.py": SOURCE}, EVENTS, env=ENV)
WITH = {name: Function((name,), {"app.py": SOURCE}, EVENTS, env=ENV) for name in VERSIONS}


def said(recorded: Recorded) -> list[str]:
    """Return what the log says of orjson."""
    return [line.rpartition("\t")[2] for line in recorded.output.splitlines() if "\torjson " in line]


@pytest.mark.parametrize("name", VERSIONS)
def test_every_event_and_result_is_what_it_is_without_orjson(attached: Attached, name: str) -> None:
    ours, without = attached(WITH[name], OS_ONLY), attached(WITHOUT, OS_ONLY)
    assert len(without.posts) == len(EVENTS)
    assert ours.posts == without.posts
    assert ours.exit is None


def test_a_circle_and_a_document_that_is_too_deep_are_errors_of_their_events(attached: Attached) -> None:
    failed = {
        str(event)[:12]: dict(post.body[1])["errorType"]
        for event, post in zip(EVENTS, attached(WITHOUT, OS_ONLY).posts, strict=True)
        if post.call.endswith("/error")
    }
    assert failed == {
        **{f"['circle', {outside}": "Runtime.MarshalError" for outside in range(4)},
        str(DEEP)[:12]: "Runtime.UnmarshalError",
    }


@pytest.mark.parametrize("name", VERSIONS)
def test_the_log_says_once_at_debug_why_orjson_is_not_used(attached: Attached, name: str) -> None:
    expected = {
        "orjson-3.8": [f"{UNUSED}3.8.14 in /var/task/orjson is older than 3.10.2"],
        "orjson-3.10": [],
        "orjson-3.13": [
            "orjson is used for large events, and not for results: from 3.12 on its dumps can corrupt memory"
        ],
    }
    assert said(attached(WITH[name], OS_ONLY)) == expected[name]


NOT_ORJSON = {
    "a-script": ((), {"orjson.py": "raise SystemExit('run')\n"}, "is another module of that name"),
    "one-that-the-handler-has-imported": (
        (),
        {"orjson.py": "def loads(data):\n    return 1\n\ndumps = loads\n", "app.py": f"    import orjson\n{SOURCE}"},
        "is another module of that name",
    ),
    "an-empty-package": ((), {"orjson/__init__.py": ""}, "has no attribute '__version__'"),
    "what-is-left-of-an-install": ((), {"orjson/py.typed": ""}, "has no attribute '__version__'"),
    "an-install-for-another-machine": (
        (),
        {"orjson/__init__.py": "from .orjson import *\nfrom .orjson import __version__\n"},
        "No module named 'orjson.orjson'",
    ),
    "one-without-its-options": (
        (),
        {"orjson/__init__.py": "__version__ = '3.11.0'\nloads = dumps = len\n"},
        "has no attribute 'OPT_PASSTHROUGH_SUBCLASS'",
    ),
    "none": ((), {}, "it is not installed"),
    **(
        {  # orjson 3.10 ends the process where it does not find what it needs in these
            "zoneinfo-of-the-functions": (
                ("orjson-3.10",),
                {"zoneinfo.py": "MINE = 1\n"},
                "/var/task/zoneinfo.py hides Python's own zoneinfo",
            ),
            "uuid-of-the-functions": (
                ("orjson-3.10",),
                {"uuid.py": "class UUID:\n    pass\n"},
                "/var/task/uuid.py hides Python's own uuid",
            ),
        }
        if "orjson-3.10" in VERSIONS
        else {}
    ),
}
FUNCTIONS = {
    name: Function(packages, {"app.py": SOURCE, **files}, (LARGE, ["engines"], LARGE), env=ENV)
    for name, (packages, files, _) in NOT_ORJSON.items()
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("install", [LAYER, OS_ONLY])
def test_what_is_no_orjson_to_use_is_left_alone(attached: Attached, name: str, install: str) -> None:
    recorded = attached(FUNCTIONS[name], install)
    assert [post.body for post in recorded.posts] == [("int", "1"), False, ("int", "1")]
    (line,) = said(recorded)
    assert line.startswith(UNUSED)
    assert NOT_ORJSON[name][2] in line
