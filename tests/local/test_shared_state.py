"""What `samovar doctor` says of a function whose invocations run at the same time in one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from samovar.local import cli, shared_state

GLOBAL = "guard it with a threading.Lock, or load it once with samovar.cached"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "count = 0\ndef handler(e, c):\n    global count\n    count += 1",
            "the global count is assigned in handler()",
        ),
        ("x = None\nasync def f():\n    global x\n    x: int = 1", "the global x is assigned in f()"),
        ("x = None\ndef f():\n    global x\n    for x in y: pass", "the global x is assigned in f()"),
        ("seen = {}\ndef f(k):\n    seen[k] = 1", "the global seen is changed in f()"),
        ("seen: dict = {}\ndef f(k):\n    del seen[k]", "the global seen is changed in f()"),
        ("seen = []\ndef f(k):\n    seen.append(k)", "the global seen is changed in f()"),
        ("import collections\nn = collections.Counter()\ndef f(k):\n    n[k] += 1", "the global n is changed in f()"),
        (
            "try:\n    seen = set()\nfinally:\n    pass\nclass A:\n    def m(s):\n        seen.add(1)",
            "the global seen is changed in m()",
        ),
        ("seen = []\nf = lambda x: seen.append(x)", "the global seen is changed in a lambda"),
        ("import os\ndef f():\n    os.chdir('/tmp')", "os.chdir() in f() changes the folder of all invocations"),
        (
            "from os import chdir as cd\ndef f():\n    cd('/')",
            "os.chdir() in f() changes the folder of all invocations",
        ),
        (
            "import os\ndef f():\n    os.environ['A'] = 'b'",
            "os.environ is changed in f(), which changes the variables of all invocations",
        ),
        (
            "def f():\n    import signal\n    signal.signal(1, g)",
            "signal.signal() in f() raises ValueError outside the main thread",
        ),
        ("import signal\ndef f():\n    signal.alarm(1)", "signal.alarm() in f() has one timer for all invocations"),
        ("import boto3\ndb = boto3.resource('dynamodb')", "the global db is boto3.resource()"),
        ("from boto3.session import Session\ns = Session()", "the global s is boto3.session.Session()"),
    ],
)
def test_what_invocations_share_is_found(source: str, text: str) -> None:
    assert [each.text for each in shared_state.find(source)] == [text]


@pytest.mark.parametrize(
    "source",
    [
        "count = 0\ndef handler(e, c):\n    count = 1\n    return count",
        "seen = {}\ndef f():\n    seen = {}\n    seen['a'] = 1",
        "seen = {}\ndef f(seen):\n    seen['a'] = 1",
        "seen = {}\ndef f():\n    return seen['a'], seen.get('b')",
        "seen = {}\nseen['a'] = 1",
        "import os\nos.chdir('/tmp')\nos.environ['A'] = 'b'",
        "import signal\nsignal.signal(1, f)",
        "import boto3\ns3 = boto3.client('s3')\ndef f():\n    boto3.resource('s3')",
        "class A:\n    seen = []",
    ],
)
def test_what_they_do_not_share_is_not(source: str) -> None:
    assert shared_state.find(source) == []


def test_the_doctor_names_it_with_file_line_and_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app.py").write_text("calls = 0\n\ndef handler(event, context):\n    global calls\n    calls += 1\n")
    assert cli.main(["doctor", "app.handler", "--task-root", str(tmp_path)]) == 0
    assert " ".join(capsys.readouterr().out.split()).endswith(
        " Shared by invocations at the same time, with AWS_LAMBDA_CONCURRENCY_MODE=thread or hybrid: "
        f"app.py:5: the global calls is assigned in handler() → {GLOBAL}"
    )


def test_the_doctor_says_nothing_of_a_function_that_shares_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app.py").write_text("def handler(event, context):\n    return event\n")
    assert cli.main(["doctor", "app.handler", "--task-root", str(tmp_path)]) == 0
    assert "Shared by" not in capsys.readouterr().out
