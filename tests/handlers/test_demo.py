"""The demo, as `make demo` and `samovar demo` run it."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from samovar.local import demo
from samovar.local.console import CommandError

SAMOVAR = str(Path(sys.executable).with_name("samovar"))


def _demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SAMOVAR, "demo", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.real
def test_demo_prints_a_row_for_a_handler_and_a_line_for_an_invocation() -> None:
    done = _demo("hello", "dynamodb")
    assert done.returncode == 0, done.stderr
    table, rest = done.stdout.split("\n\nfirst and later")
    rows = {row.split()[0]: row.split() for row in table.splitlines() if ".handler  " in row}
    assert list(rows) == ["hello.handler", "dynamodb_update.handler"]
    for row in rows.values():
        init, first, later, memory = map(float, row[1:])
        assert 0 < later <= first + init
        assert 5 < memory < 100
    assert f'\n{"hello.handler":<23} {{"message":"Hello, Samovar!","count":10}}\n' in rest
    lines = [line for line in done.stdout.splitlines() if "Billed Duration" in line]
    assert [int(line.split()[0]) for line in lines] == list(range(1, 11))


@pytest.mark.real
def test_every_line_of_the_demo_fits_80_columns() -> None:
    done = _demo()
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    assert "left out" not in done.stdout


def test_demo_of_something_else_names_the_examples() -> None:
    done = _demo("nothing")
    assert done.returncode == 2
    assert "hello.handler" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.real
def test_demo_fails_with_its_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "EXAMPLES", [demo.Example("dynamodb_update.handler", {"Records": [{}]})])
    with pytest.raises(CommandError, match=r"(?s)invocation 1 failed.*KeyError"):
        demo.run(argparse.Namespace(only=[]))


@pytest.mark.real
def test_demo_says_what_it_leaves_out_where_there_is_no_go(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "PATH", str(tmp_path))
    monkeypatch.setattr(demo, "CACHE", tmp_path)
    assert demo.run(argparse.Namespace(only=["hello", "exec:hello-go"])) == 0
    printed = capsys.readouterr().out
    assert "hello.handler  " in printed
    assert "left out: exec:hello-go; there is no `go` on PATH" in printed
