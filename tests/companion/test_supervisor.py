"""A companion that is asked: what goes over the pipes, byte for byte, and what a call makes of it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from samovar import codec
from samovar.companion import Companion, CompanionError, process, supervisor
from samovar.environment import environment
from samovar.handler import program as exec_handler
from tests.companion.conftest import PRELUDE, Clock, Start, context, in_flight
from tests.contract.harness import OURS, Event, Run, execute

ECHO_LINE = """
while True:
    line = sys.stdin.buffer.readline().decode()
    if not line:
        break
    number += 1
    answer(line)
"""
ECHO = "while True: answer(ask())"
# Answers with the bytes that the event holds as text, %d standing for the number.
RAW = """
while True:
    write(ask().replace("%d", str(number)).encode("latin-1"))
"""


def test_a_request_is_one_line_with_event_and_context(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793")
    companion = start(ECHO_LINE)
    invocation = context()
    lines = [companion.call(event, invocation) for event in ({"a": 1}, None)]
    assert [line.count("\n") for line in lines] == [1, 1]
    assert lines[0].startswith(' {"event":{"a":1},"context":{"awsRequestId":"8476')  # the space: it had begun to read
    assert lines[1].startswith('{"event":null,"context":{"awsRequestId":"8476')
    assert json.loads(lines[1])["context"] == {
        "awsRequestId": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        "functionName": "hello",
        "functionVersion": "$LATEST",
        "invokeid": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        "isDefaultFunctionVersion": True,
        "logGroupName": "/aws/lambda/hello",
        "logStreamName": "2026/11/22/[$LATEST]aa",
        "memoryLimitInMB": "128",
        "deadlineMs": invocation._epoch_deadline_time_in_ms,
        "invokedFunctionArn": "arn:aws:lambda:eu-central-1:123456789012:function:hello",
        "traceId": "Root=1-5759e988-bd862e3fe1be46a994272793",
        "tenantId": "blue",
    }


def test_the_documented_request_is_what_is_sent(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "companions.md").read_text()
    documented = page.split('```json\n{"event"', 1)[1].split("\n", 1)[0]
    told = json.loads('{"event"' + documented)
    monkeypatch.setenv("_X_AMZN_TRACE_ID", told["context"]["traceId"])
    invocation = context(tenant_id=None)
    line = start(ECHO_LINE).call(told["event"], invocation)
    now = str(invocation._epoch_deadline_time_in_ms)
    assert line == ' {"event"' + documented.replace(str(told["context"]["deadlineMs"]), now) + "\n"


def test_each_request_has_its_own_context(start: Start) -> None:
    companion = start(ECHO_LINE)
    for i in range(3):
        for tenant in ("100 %d", '"blue"', "\u00e9", None):
            given = context(tenant_id=tenant, aws_request_id=f"r{i}%b", function_version=str(i))
            told = json.loads(companion.call(None, given))["context"]
            assert (told["tenantId"], told["awsRequestId"], told["functionVersion"]) == (
                tenant or "",
                f"r{i}%b",
                str(i),
            )
            assert told["invokeid"] == told["awsRequestId"]


def test_without_a_context_its_members_are_empty(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
    told = json.loads(start(ECHO_LINE).call(1))["context"]
    assert told.pop("isDefaultFunctionVersion") is False
    assert told.pop("deadlineMs") == 0
    assert set(told.values()) == {""}
    assert len(told) == 10


@pytest.mark.parametrize(
    ("event", "sent"),
    [
        (b'{"a": 1.50, "a": 2e5, "n": 123456789012345678901234567890}', None),  # nothing had to change
        (b'{\n  "a": [1,\r\n 2]\n}\n', b'{   "a": [1,   2] } '),
        ('"\u2028\u2029\u00e9"'.encode(), '"\\u2028\\u2029\u00e9"'.encode()),  # line ends to Node's readline
        ('"\u201c\u201d"'.encode(), None),
        ("\ufeff[1]".encode(), b"[1]"),
    ],
)
def test_the_event_passes_as_it_is_on_one_line(start: Start, event: bytes, sent: bytes | None) -> None:
    line = codec.loads(start(ECHO_LINE).call_raw(event))
    assert line.split(',"context":')[0].encode() == b' {"event":' + (sent or event)
    assert json.loads(line)["event"] == json.loads(event)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ('{"proc_req_id":%d,"error":null,"data":{"b":1.50,"b":1E5}}\n', b'{"b":1.50,"b":1E5}'),
        ('{"proc_req_id": %d, "error": null, "data": [1, 2]}\n', b"[1, 2]"),
        ('{"proc_req_id":%d,"error":null,"data":"\xc3\xa9}"}\n', '"é}"'.encode()),
        # Other layouts are decoded and encoded anew.
        ('{"data":[1, 2],"error":null,"proc_req_id":%d}\n', b"[1,2]"),
        ('  {"proc_req_id":%d, "data" : 7}  \r\n', b"7"),
        ('{"proc_req_id":%d,"error":null,"data":[1, 2]}\r\n', b"[1,2]"),
        ('{"proc_req_id":%d,"error":null,"data":{"x": 1},"took":{"ms":3}}\n', b'{"x":1}'),
        ('{"proc_req_id":%d}\n', b"null"),
    ],
)
def test_the_answers_data_is_the_result(start: Start, answer: str, result: bytes) -> None:
    companion = start(RAW)
    for _ in range(3):
        assert companion.call_raw(json.dumps(answer).encode()) == result
    assert companion.call(answer) == json.loads(result)


@pytest.mark.parametrize(
    ("error", "error_type", "message"),
    [
        ('"it failed"', "Companion.Error", "it failed"),
        ('"ValueError: no number: x"', "ValueError", "no number: x"),
        ('"java.io.IOException: gone"', "java.io.IOException", "gone"),
        ('"My_Error2:  x "', "My_Error2", "x"),
        ('"open /x: no such file"', "Companion.Error", "open /x: no such file"),
        ('"panic: nil map"', "Companion.Error", "panic: nil map"),
        ('"Not a type: x"', "Companion.Error", "Not a type: x"),
        ('": x"', "Companion.Error", ": x"),
        ('""', "Companion.Error", ""),
        ('{"code": 7}', "Companion.Error", '{"code":7}'),
        ("false", "Companion.Error", "false"),
    ],
)
def test_an_error_in_the_answer_fails_the_call_alone(start: Start, error: str, error_type: str, message: str) -> None:
    companion = start(RAW)
    for _ in range(5):  # more often than a process may fail
        with pytest.raises(CompanionError) as caught:
            companion.call(f'{{"proc_req_id":%d,"error":{error},"data":1}}\n')
        assert (caught.value.error_type, caught.value.message, caught.value.fatal) == (error_type, message, False)
        assert caught.value.kind == "Error"
    assert companion.call('{"proc_req_id":%d,"error":null,"data":1}\n') == 1  # number 5: the same process


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("Hello from print\n", "'Hello from print'. Note: standard output is for answers"),
        ("no line end, and not JSON", "'no line end, and not JSON'. Note: "),
        ('{"a": 1}\n', "it has no proc_req_id: '{\"a\": 1}'"),
        ('{"proc_req_id":1%d,"error":null,"data":1}\n', "answered request 0 with proc_req_id 10 ("),
        ('{"proc_req_id":%d,"error":null,"data":1]}\n', "not JSON"),
        ('{"proc_req_id":%d,"error":null,"data":{"a":"lost\n', "not JSON"),
        ('{"proc_req_id":%d,"error":null,"data":1}debug}\n', "not JSON"),
        ('{"proc_req_id":%d,"error":null,"data":"\xff"}\n', "not JSON"),
        ('{"proc_req_id":%d,"error":null,"data":' + "[" * 200_000 + "]" * 200_000 + "}\n", "not JSON"),
        ("\x00\xff\x01" * 1000, "'\\x00\\\\xff\\x01"),
        ("[1]\n", "'[1]'"),
        ("\n\n[1]\n", "'[1]'"),
        ("\nno line end, and not JSON", "wrote something that is not an answer: 'no line end, and not JSON'"),
        ('{"proc_req_id":%d,"error":null,"data":NaN}\n', "not JSON"),
        ('{"proc_req_id":%d,"error":null,"data":{"a":[-Infinity]}}\n', "not JSON"),
        ('{"data":Infinity,"error":null,"proc_req_id":%d}\n', "not JSON"),
        ('{"proc_req_id":%d,"error":NaN}\n', "not JSON"),
    ],
)
def test_what_is_no_answer_is_shown_and_the_next_event_has_a_new_process(start: Start, output: str, told: str) -> None:
    companion = start(RAW)
    with pytest.raises(CompanionError) as caught:
        companion.call(output, context())
    assert caught.value.error_type == "Companion.BadAnswer"
    assert told in caught.value.message
    assert "write logs to stderr" in caught.value.message
    assert len(caught.value.message) < 1200
    assert companion.call('{"proc_req_id":%d,"error":null,"data":"again"}\n', context()) == "again"


@pytest.mark.parametrize("blank", ["\n", "\r\n", " \t\r\n\n", " "])
def test_blank_lines_are_ignored_wherever_they_come(start: Start, blank: str) -> None:
    companion = start(
        f"""
blank = {blank!r}.encode()
write(blank)
while True:
    ask()
    write(blank)
    log("between")
    write(blank)
    answer(os.getpid(), end=b"\\n" + blank)
    log("behind")
    write(blank)
"""
    )
    assert len({companion.call(None, context()) for _ in range(5)}) == 1


def test_blank_lines_without_end_are_no_answer(start: Start, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def log(chunk: bytes) -> None:
        clock.offset += 100

    monkeypatch.setattr(supervisor, "_to_log", log)
    companion = start("ask()\nlog('.')\nwhile True: write(b'\\n' * 10_000)")
    with pytest.raises(CompanionError) as caught:
        companion.call(None, context())
    assert caught.value.error_type == "Companion.Silent"


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": float("-inf")}])
def test_nan_is_no_event(start: Start, value: Any) -> None:
    companion = start(ECHO)
    with pytest.raises(ValueError, match="is not a JSON value"):
        companion.call(value)
    assert companion.call({"NaN": "Infinity"}) == {"NaN": "Infinity"}


@pytest.mark.parametrize("event", [b'"a\nb"', b'"a\rb"', b'{"a":\n1,"b":"c\nd"}', b'1,\n"x":2'])
def test_an_event_that_would_be_changed_is_refused_before_it_is_sent(start: Start, event: bytes) -> None:
    companion = start("while True: answer([ask(), number])")
    assert companion.call(0, context()) == [0, 0]
    with pytest.raises(CompanionError) as caught:
        companion.call_raw(event, context())
    assert caught.value.error_type == "Runtime.UnmarshalError"
    assert companion.call(1, context()) == [1, 1]


@pytest.mark.parametrize("event", [b"", b"{", b'{"a":1}}', b"\xff", b'1,"x":', b"{\n1}", b"NaN", b"[NaN]"])
def test_an_event_that_is_no_json_is_the_callers_failure(start: Start, event: bytes) -> None:
    companion = start(ECHO)
    for _ in range(5):  # the program dies of each, and that is not counted as its failure
        with pytest.raises(CompanionError) as caught:
            companion.call_raw(event, context())
        assert (caught.value.kind, caught.value.error_type) == ("BadEvent", "Runtime.UnmarshalError")
        assert caught.value.message.startswith("Unable to unmarshal input: ")
        assert not caught.value.fatal
    assert companion.call_raw(b"1", context()) == b"1"


@pytest.mark.parametrize("size", [1, 4095, 65536, 7 << 20])
def test_requests_and_answers_of_any_size(start: Start, size: int) -> None:
    event = json.dumps("x" * size).encode()
    companion = start(ECHO)
    assert [companion.call_raw(event) == event for _ in range(2)] == [True, True]


def test_a_program_may_write_before_it_has_read_all(start: Start) -> None:
    # Both pipes fill up: a side that writes everything before it reads would block.
    companion = start(
        """
while True:
    number += 1
    if not sys.stdin.buffer.read(100):
        break
    answer("x" * (7 << 20))
    sys.stdin.buffer.readline()
"""
    )
    event = b'"' + b"y" * (7 << 20) + b'"'
    for _ in range(3):
        assert len(companion.call_raw(event, context())) == (7 << 20) + 2


def test_an_answer_may_come_in_pieces_of_any_size(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    companion = start(ECHO)
    event = json.dumps({"text": "é" * 10, "empty": [{}]}).encode()
    for size in range(1, 120):
        monkeypatch.setattr(process, "_CHUNK", size)
        assert companion.call_raw(event) == event


def test_an_answer_may_come_in_any_two_writes(start: Start) -> None:
    # Between them is a line of log, which is looked at.
    companion = start(
        """
while True:
    at = ask()
    line = json.dumps({"proc_req_id": number, "error": None, "data": {"at": at, "text": "é"}}, ensure_ascii=False)
    line = line.encode() + b"\\n"
    write(line[:at])
    log("between")
    write(line[at:])
"""
    )
    for at in range(70):
        assert companion.call(at) == {"at": at, "text": "é"}


def test_the_invocation_in_flight_is_the_default_context(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "invocation", in_flight(context()))
    assert json.loads(start(ECHO_LINE).call(1))["context"]["functionName"] == "hello"


def test_values_that_json_lacks_are_refused_before_anything_is_sent(start: Start) -> None:
    companion = start(ECHO)
    with pytest.raises(TypeError):
        companion.call(object())
    assert companion.call(1) == 1


@pytest.mark.parametrize(
    ("command", "args"),
    [("./main", []), ("./main --fast  x", ["--fast", "x"]), ("""'./main' "a b" c\\ d ''""", ["a b", "c d", ""])],
)
def test_exec_runs_a_command_in_the_functions_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, args: list[str]
) -> None:
    (tmp_path / "main").write_text(
        f"#!{sys.executable} -S\n{PRELUDE}while True: ask(); answer([sys.argv[1:], os.getcwd(), os.getpid()])"
    )
    (tmp_path / "main").chmod(0o755)
    monkeypatch.chdir("/")
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    monkeypatch.setenv("AWS_LAMBDA_MAX_CONCURRENCY", "2")
    handle = exec_handler.load(command)
    answers = []
    for _ in range(4):
        response = handle(in_flight(context(), b"1"))
        assert isinstance(response, bytes)
        answers.append(codec.loads(response))
    assert [answer[:2] for answer in answers] == [[args, str(tmp_path)]] * 4
    assert len({answer[2] for answer in answers}) == 2


@pytest.mark.parametrize("args", [[], "./main", b"./main", Path("./main")])
def test_a_command_is_a_list(args: Any) -> None:
    with pytest.raises(TypeError, match="as a list"):
        Companion(args)


def test_a_command_may_have_paths(tmp_path: Path) -> None:
    program = tmp_path / "main"
    program.write_text(f"#!{sys.executable} -S\n{PRELUDE}while True: ask(); answer(sys.argv)")
    program.chmod(0o755)
    with Companion([program, tmp_path, "x"]) as companion:
        assert companion.call(None) == [str(program), str(tmp_path), "x"]


def test_an_argument_that_is_no_string_is_named() -> None:
    with pytest.raises(TypeError, match="7 is neither a string nor a path"):
        Companion(["./main", 7])  # type: ignore[list-item]


def test_the_program_has_our_environment_and_finds_the_helper(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMOVAR_TEST", "é")
    monkeypatch.setenv("PYTHONPATH", "/first")
    companion = start(  # with -S, the interpreter knows of no installed package
        """
from samovar.companion import serve
while True: answer([os.environ["SAMOVAR_TEST"], os.environ["PYTHONPATH"].split(":")[0], serve.__name__, ask()])
"""
    )
    assert companion.call(None) == ["é", "/first", "serve", None]


def test_an_event_on_several_lines_reaches_the_program_on_one() -> None:
    """Under the runtime, which reads events into a buffer of its own."""
    program = {"main.py": f"{PRELUDE}while True: answer(ask())\n"}
    events = (Event(b'{\n"a":\r\n1}'), Event(b'"\xe2\x80\xa8"'))
    _, *handled = execute(Run(program, events, handler="exec:python3 -S main.py"), OURS)
    # The extension asks for its next event at any time.
    posts = [request for outcome in handled for request in outcome.requests if request.path.endswith("/response")]
    assert [json.loads(post.body) for post in posts] == [{"a": 1}, "\u2028"]
