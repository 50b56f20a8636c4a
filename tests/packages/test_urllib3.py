"""The function's own urllib3, which comes before ours on sys.path, under `SAMOVAR_TRANSPORT=urllib3`."""

from __future__ import annotations

import pytest

from tests.attach.harness import OS_ONLY, Attached, Function

SOURCE = """
    import urllib3

    def handler(event, context):
        if event == "fail":
            raise ValueError("é")
        return [urllib3.__version__.partition(".")[0], event, context.aws_request_id]
"""
ENV = {"SAMOVAR_TRANSPORT": "urllib3"}
OLD = Function(("urllib3-1",), {"app.py": SOURCE}, ({"a": "é"}, "fail", "x" * 300_000), env=ENV)
OLD_WITHOUT = Function(("urllib3-1",), {"app.py": SOURCE}, OLD.events)


def test_with_urllib3_1_26_every_post_is_that_of_our_own_transport(attached: Attached) -> None:
    recorded = attached(OLD, OS_ONLY)
    assert recorded.posts == attached(OLD_WITHOUT, OS_ONLY).posts
    assert [post.call.rpartition("/")[2] for post in recorded.posts] == ["response", "error", "response"]
    assert recorded.posts[0].body[0] == "1"
    assert recorded.exit is None


UNFIT = {
    "none": ({}, "found none: No module named 'urllib3'"),
    "of-the-functions": (
        {"urllib3.py": "MINE = 1\n"},
        "found /var/task/urllib3.py: No module named 'urllib3.exceptions'; 'urllib3' is not a package",
    ),
    "too-old": (
        {
            "urllib3/__init__.py": "__version__ = '1.25.11'\n",
            "urllib3/exceptions.py": "HTTPError = NewConnectionError = ProtocolError = OSError\n",
        },
        "found /var/task/urllib3/__init__.py: 1.25.11 is too old",
    ),
}
STARTED = {
    name: Function((), {"app.py": "def handler(event, context):\n    return 1\n", **files}, env=ENV)
    for name, (files, _) in UNFIT.items()
}


@pytest.mark.parametrize("name", STARTED)
def test_without_a_urllib3_to_use_the_start_says_what_is_needed(attached: Attached, name: str) -> None:
    recorded = attached(STARTED[name], OS_ONLY)
    assert (recorded.journal, recorded.exit) == ((), 1)
    expected = f"samovar: SAMOVAR_TRANSPORT=urllib3: urllib3 1.26 or later is needed; {UNFIT[name][1]}\n"
    assert recorded.output == expected
