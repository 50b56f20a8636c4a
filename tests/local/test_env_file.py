"""`--env-file`: what docker and .env files have."""

from pathlib import Path

import pytest

from samovar.local import env_file


def _read(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "x.env"
    path.write_text(text)
    return env_file.read(path)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("A=", ""),
        ("  A = 1  ", "1"),
        ("export A=1", "1"),
        ("A=b=c", "b=c"),
        ("A=two words", "two words"),
        ("A=1 # a comment", "1"),
        ("A=# a comment", ""),
        ("A=http://host/#part", "http://host/#part"),
        ("A='single # \\n'  # a comment", "single # \\n"),
        ('A="double \\"quoted\\" # \\n\\t\\\\"', 'double "quoted" # \n\t\\'),
        ('A=""', ""),
        ("A=it's", "it's"),
        ("A=ü", "ü"),
    ],
)
def test_values(tmp_path: Path, line: str, value: str) -> None:
    assert _read(tmp_path, f"# first\n\n{line}\r\nB=2\n") == {"A": value, "B": "2"}


def test_a_name_alone_has_the_value_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "x")
    monkeypatch.delenv("ELSEWHERE", raising=False)
    assert _read(tmp_path, "HERE\nELSEWHERE\n") == {"HERE": "x"}


def test_the_last_of_two_values_counts_and_a_byte_order_mark_does_not(tmp_path: Path) -> None:
    assert _read(tmp_path, "\ufeffA=1\nA=2\n") == {"A": "2"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("two words", "'two words' is not NAME=VALUE"),
        ("=1", "'=1' is not NAME=VALUE"),
        ("1A=1", "'1A=1' is not NAME=VALUE"),
        ("A B=1", "'A B=1' is not NAME=VALUE"),
        ("A='open", "the quotes of A do not end where its value does"),
        ('A="closed" too soon', "the quotes of A do not end where its value does"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(ValueError) as raised:
        _read(tmp_path, f"A=1\n{line}\n")
    assert str(raised.value) == f"{tmp_path / 'x.env'}, line 2: {says}"


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.env").write_bytes(b"A=\xff\n")
    with pytest.raises(ValueError, match="is not UTF-8: invalid start byte at byte 2"):
        env_file.read(tmp_path / "x.env")
