"""One environment's life under the real RIE: what is kept, what starts again, and what the caller gets."""

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from samovar.local.rie import RIE
from tests.conftest import PATH, ROOT

FUNCTIONS = Path(__file__).parent / "functions"
LIMIT = 6_291_556  # bytes of a response, on Lambda and in the RIE

Start = Callable[..., RIE]


@pytest.fixture
def start(environment: Start) -> Start:
    def start(handler: str = "stateful.handler", **options: object) -> RIE:
        return environment(handler, task_root=FUNCTIONS, **options)

    return start


def test_one_init_serves_many_invocations_and_keeps_global_state(start: Start) -> None:
    rie = start(memory=512)
    answers = [rie.invoke({}).json() for _ in range(20)]
    log = rie.log()
    assert [answer["count"] for answer in answers] == list(range(1, 21))
    assert {answer["pid"] for answer in answers} == {rie.pid}
    assert [(init.ok, init.phase) for init in log.inits] == [(True, "init")]
    assert len({report.request_id for report in log.reports}) == 20
    assert [report.init_ms is not None for report in log.reports] == [True] + [False] * 19
    assert {report.memory_mb for report in log.reports} == {512}


def test_a_failed_init_is_told_to_the_caller_and_tried_again(start: Start, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    rie = start("fails_once.handler", env={"FLAG": str(flag)})
    for _ in range(2):
        answer = rie.invoke({})
        assert answer.status == 502
        assert answer.error.error_type == "RuntimeError"
        assert answer.error.error_message == "no flag yet"
    flag.touch()
    assert rie.invoke({}).json() == "ready"
    log = rie.log()
    assert [init.ok for init in log.inits] == [False, False, True]
    assert log.lines.count("[ERROR] RuntimeError: no flag yet") == 2


def test_init_runs_again_after_a_time_out(start: Start, tmp_path: Path) -> None:
    rie = start(timeout=5)  # INIT counts too
    before = rie.invoke({}).json()
    late = rie.invoke({"wait_for": str(tmp_path / "never")})
    after = rie.invoke({}).json()
    assert late.body == b"Task timed out after 5.00 seconds"
    assert late.error.error_type == "Sandbox.Timedout"
    assert late.error.request_id == rie.log().reports[1].request_id
    assert (before["count"], after["count"]) == (1, 1)
    assert before["pid"] != after["pid"] == rie.pid
    assert [(init.ok, init.phase) for init in rie.log().inits] == [(True, "init"), (True, "invoke")]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"exit": 3}, "exit status 3"),
        ({"exit": 0}, "exited without providing a reason"),
        ({"signal": signal.SIGKILL}, "signal: killed"),
        ({"signal": signal.SIGSEGV}, "signal: segmentation fault"),
        ({"abort": True}, "signal: aborted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_init_runs_again_after_the_runtime_has_ended(start: Start, event: dict[str, int], reason: str) -> None:
    rie = start()
    assert rie.invoke({}).json()["count"] == 1
    ended = rie.invoke(event)
    assert ended.status == 502
    assert ended.error.error_type == "Runtime.ExitError"
    assert reason in ended.error.error_message
    assert rie.invoke({}).json()["count"] == 1
    assert [init.ok for init in rie.log().inits] == [True, True]


def test_an_exception_is_the_callers_and_the_environment_lives_on(start: Start) -> None:
    rie = start()
    failed = rie.invoke({"raise": "no such tea"}).error
    assert (failed.error_type, failed.error_message) == ("LookupError", "no such tea")
    assert failed.request_id == rie.log().reports[0].request_id
    assert "raise LookupError(message)" in failed.stack_trace[-1]
    assert rie.invoke({}).json()["count"] == 2


def test_a_message_too_large_is_cut_and_the_environment_lives_on(start: Start) -> None:
    rie = start("raises.handler")
    before = rie.pid
    for _ in range(2):
        answer = rie.invoke({"size": 7_000_000}).error
        assert answer.error_type == "ValueError"
        assert answer.error_message.startswith("x" * 100_000 + "… (")
    assert len(rie.log().inits) == 1
    assert before in (None, rie.pid)


def test_an_event_that_is_no_json_is_the_callers_and_the_environment_lives_on(start: Start) -> None:
    rie = start()
    assert rie.invoke(b'{"broken": ').error.error_type == "Runtime.UnmarshalError"
    assert rie.invoke({}).json()["count"] == 1


def test_the_largest_answer_and_a_large_event_arrive_whole(start: Start) -> None:
    rie = start()
    answer = rie.invoke({"bytes": LIMIT})
    assert answer.status == 200
    assert answer.body == b'"' + b"x" * (LIMIT - 2) + b'"'
    assert rie.invoke({"length": "y" * 6_000_000}).json() == 6_000_000
    assert rie.invoke({}).json()["count"] == 3


def test_an_answer_too_large_is_refused_and_the_environment_lives_on(start: Start) -> None:
    rie = start()
    refused = rie.invoke({"bytes": LIMIT + 1})
    after = rie.invoke({}).json()
    assert refused.error.error_type == "Function.ResponseSizeTooLarge"
    assert after == {"count": 2, "pid": rie.pid}
    log = rie.log()
    assert len(log.inits) == 1
    assert any("Function.ResponseSizeTooLarge" in line for line in log.lines)


def test_two_environments_share_nothing(start: Start) -> None:
    one, two = start(), start()
    counts: dict[RIE, list[int]] = {one: [], two: []}

    def send(rie: RIE, times: int) -> None:
        counts[rie] = [rie.invoke({}).json()["count"] for _ in range(times)]

    threads = [threading.Thread(target=send, args=(one, 12)), threading.Thread(target=send, args=(two, 7))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {one: list(range(1, 13)), two: list(range(1, 8))}
    assert one.pid != two.pid
    ids = [{report.request_id for report in rie.log().reports} for rie in (one, two)]
    assert not ids[0] & ids[1]
    one.invoke({"exit": 1})
    assert two.invoke({}).json()["count"] == 8


def test_client_context_reaches_the_function(start: Start) -> None:
    rie = start()
    assert rie.invoke({"client_context": 1}, client_context={"custom": {"tea": "ру́сский"}}).json() == {"tea": "ру́сский"}


def test_shutdown_hook_runs_when_the_environment_ends(start: Start, tmp_path: Path) -> None:
    goodbye = tmp_path / "goodbye"
    rie = start("says_goodbye.handler", env={"GOODBYE": str(goodbye)})
    assert rie.invoke({}).json() == "hello"
    assert not goodbye.exists()
    rie.stop()
    assert goodbye.read_text() == "bye"


OURS = [str(ROOT / "bootstrap")]
COMMANDS = {
    "bootstrap": lambda handler: OURS,
    "python -m samovar": lambda handler: ["python3", "-m", "samovar", handler],
    "awslambdaric": lambda handler: ["python3", "-m", "awslambdaric", handler],
}


@pytest.mark.parametrize("client", COMMANDS)
def test_the_example_handlers_answer_the_same_on_every_client(samovar_rie: Start, client: str) -> None:
    handlers = ROOT / "handlers"
    event = (handlers / "events" / "dynamodb_update.json").read_bytes()

    def start(handler: str) -> RIE:
        return samovar_rie(handler, task_root=handlers, env={"PATH": PATH}, command=COMMANDS[client](handler))

    hello = start("hello.handler")
    assert [hello.invoke({"name": "Ada"}).json() for _ in range(2)] == [
        {"message": "Hello, Ada!", "count": 1},
        {"message": "Hello, Ada!", "count": 2},
    ]
    update = start("dynamodb_update.handler")
    assert update.invoke(event).json() == {"records": 3, "INSERT": 1, "MODIFY": 1, "REMOVE": 1}
    lines = update.log().lines
    request_id = update.log().reports[0].request_id
    for record in json.loads(event)["Records"]:
        assert any(f"{request_id}\t{record['eventID']} {record['eventName']}" in line for line in lines)
    assert any("Price: None -> '12.50'" in line for line in lines)
