"""The runtime's own records in every form; tests/contract/cases_logging.py compares them with the official client's."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
from collections.abc import Iterator

import pytest

from samovar import logs
from tests import invocations


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The log as it is before INIT."""
    monkeypatch.setattr(logs, "_sink", None)
    monkeypatch.setattr(logs, "_settings", None)
    yield
    invocations.forget()


def test_a_record_in_text(capsys: pytest.CaptureFixture[str]) -> None:
    invocations.begin("request-1", tenant_id="tenant")
    logs.record("WARNING", "message")
    assert re.fullmatch(
        r"\[WARNING]\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\trequest-1\tmessage\n", capsys.readouterr().out
    )


@pytest.mark.parametrize("tenant", [None, "tenant"])
def test_a_record_in_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tenant: str | None
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_LOG_FORMAT", "json")
    invocations.begin("request-1", tenant_id=tenant)
    logs.record("ERROR", "two\nlines")
    (line,) = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record.pop("timestamp"))
    expected = {"level": "ERROR", "message": "two\nlines", "logger": "samovar", "requestId": "request-1"}
    assert record == (expected if tenant is None else {**expected, "tenantId": tenant})


def test_a_record_on_the_telemetry_descriptor_is_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setenv("_LAMBDA_TELEMETRY_LOG_FD", str(writing))
    with open(reading, "rb") as pipe:
        logs.record("ERROR", "é \ud800")
        assert "_LAMBDA_TELEMETRY_LOG_FD" not in os.environ
        os.close(writing)
        frame = pipe.read()
    assert frame[:4] == bytes.fromhex("a55a0017")
    assert int.from_bytes(frame[4:8], "big") == len(frame) - 16
    assert frame[16:].endswith("é \\ud800\n".encode())


def test_an_exception_is_one_record_with_the_request_id(capsys: pytest.CaptureFixture[str]) -> None:
    invocations.begin("request-1")
    try:
        raise ValueError("why")
    except ValueError as exc:
        logs.exception("Warming f failed", exc)
    (line,) = capsys.readouterr().out.split("\n")[:-1]
    title, *trace = line.split("\r")
    assert title == "[ERROR] ValueError: Warming f failed (RequestId: request-1): why"
    assert trace[0] == "Traceback (most recent call last):"
    assert "test_logs.py" in trace[1]


@pytest.mark.parametrize("stream", ["closed", "gone", "ascii"])
def test_a_log_that_the_function_has_broken_still_gets_the_record(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], stream: str
) -> None:
    with open(os.dup(1), "w", encoding="ascii") as output:
        monkeypatch.setattr(sys, "stdout", None if stream == "gone" else output)
        if stream == "closed":
            output.close()
        logs.record("INFO", "café")
    assert capfd.readouterr().out.endswith("\tcafé\n")


def test_a_stream_without_a_descriptor_gets_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    logs.record("INFO", "message")
    assert output.getvalue().endswith("\tmessage\n")


def test_data_is_written_whole_to_a_descriptor_that_does_not_block() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    got: list[bytes] = []

    def read() -> None:
        with open(reading, "rb") as pipe:
            got.append(pipe.read())

    reader = threading.Thread(target=read)
    reader.start()
    logs.write_whole(writing, b"x" * 1_000_000)
    os.close(writing)
    reader.join()
    assert got == [b"x" * 1_000_000]


def test_settings_are_those_of_the_beginning_of_init(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_LOG_FORMAT", "JSON")
    monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", "trace")
    logs.read_settings()
    sink = logs.sink()
    monkeypatch.setenv("AWS_LAMBDA_LOG_FORMAT", "Text")
    monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", "error")
    monkeypatch.setenv("_LAMBDA_TELEMETRY_LOG_FD", "99")
    assert (logs.is_json(), logs.level_name(), logs.sink()) == (True, "DEBUG", sink)


@pytest.mark.parametrize(("variables", "line_end"), [({}, "\r"), ({"_SAMOVAR_TERMINAL": "1"}, "\n")])
def test_the_lines_of_a_failure_end_as_the_reader_needs_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], variables: dict[str, str], line_end: str
) -> None:
    """CloudWatch takes a carriage return for a line end within one event, a terminal does not."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    logs.failure({"errorType": "ValueError", "errorMessage": "wrong", "requestId": "id", "stackTrace": []})
    sys.stdout.flush()
    assert (
        capfd.readouterr().out.encode()
        == f"[ERROR] ValueError: wrong{line_end}Traceback (most recent call last):\n".encode()
    )
