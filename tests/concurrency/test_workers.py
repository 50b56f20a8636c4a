"""Several processes that serve and their supervisor, against the scripted Runtime API; beside AWS's client where the
two have to agree.
"""

from __future__ import annotations

import json
import os
import signal
import textwrap
from pathlib import Path

import pytest

from samovar.concurrency import settings, workers
from samovar.local.testing.scripted_api import TRACE_ID, Answer
from tests.concurrency.pool import APP, pool
from tests.contract.harness import OFFICIAL, OURS

RESPONSE, ERROR = "invocation/ID/response", "invocation/ID/error"
INIT_ERROR = "init/error"
BOTH = pytest.mark.parametrize("runtime", [OFFICIAL, OURS])


def script(source: str) -> str:
    return textwrap.dedent(source)


# --- workers


@BOTH
def test_each_worker_is_a_process_with_memory_of_its_own(tmp_path: Path, runtime: str) -> None:
    with pool(tmp_path, runtime=runtime) as started:
        started.wait_for_polls(3)
        go = tmp_path / "go"
        first = started.push(*[{"wait_for": str(go)}] * 3)
        started.wait_for_events(3)
        go.touch()
        answers = started.results(first) + started.invoke(*[{}] * 6)
        pids = {answer["pid"] for answer in answers}
        assert len(pids) == 3
        assert {answer["parent"] for answer in answers} == {started.pid}
        for pid in pids:
            numbers = [answer["number"] for answer in answers if answer["pid"] == pid]
            assert sorted(numbers) == list(range(1, len(numbers) + 1))


@BOTH
def test_a_concurrency_of_1_is_one_worker(tmp_path: Path, runtime: str) -> None:
    with pool(tmp_path, runtime=runtime, count=1) as started:
        answers = started.invoke({}, {})
        assert [answer["number"] for answer in answers] == [1, 2]
        assert {answer["parent"] for answer in answers} == {started.pid}


@BOTH
def test_the_number_may_have_spaces_around_it(tmp_path: Path, runtime: str) -> None:
    with pool(tmp_path, runtime=runtime, count=" 2 ") as started:
        started.wait_for_polls(2)


@pytest.mark.parametrize("count", ["0", "-1", "", "x", "2.5"])
def test_a_number_that_is_none_is_an_error_that_says_so(tmp_path: Path, count: str) -> None:
    with pool(tmp_path, count=count) as started:
        assert started.end() == 1
        assert started.log == (
            f"samovar: AWS_LAMBDA_MAX_CONCURRENCY={count!r}: "
            "want the number of invocations at the same time, 1 or more\n"
        )
        assert not started.api.requests


def test_a_mode_that_is_none_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pool(tmp_path, mode="fibre") as started:
        assert started.end() == 1
        assert started.log == (
            "samovar: AWS_LAMBDA_CONCURRENCY_MODE='fibre': want process, thread or hybrid; without it, process\n"
        )


def test_an_address_that_is_none_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pool(tmp_path, env={"AWS_LAMBDA_RUNTIME_API": "nowhere:x"}) as started:
        assert started.end() == 1
        assert started.log == "samovar: AWS_LAMBDA_RUNTIME_API: 'nowhere:x' is not an address: want host:port\n"


@BOTH
def test_the_trace_id_is_in_the_environment_of_its_own_worker(tmp_path: Path, runtime: str) -> None:
    go = tmp_path / "go"
    with pool(tmp_path, runtime=runtime) as started:
        ids = []
        for number in range(3):
            ids += started.push({"wait_for": str(go)}, headers=[("Lambda-Runtime-Trace-Id", f"Root={number}")])
        started.wait_for_events(3)
        go.touch()
        assert [answer["trace_id"] for answer in started.results(ids)] == ["Root=0", "Root=1", "Root=2"]


@BOTH
def test_the_invocation_id_comes_back_with_the_response_and_the_error(tmp_path: Path, runtime: str) -> None:
    with pool(tmp_path, runtime=runtime) as started:
        with_id = [
            *started.push({}, headers=[("Lambda-Runtime-Invocation-Id", "one")]),
            *started.push({"fail": "x"}, headers=[("Lambda-Runtime-Invocation-Id", "two")]),
        ]
        without = started.push({}, {"fail": "x"})
        ids = [started.post(each).header("Lambda-Runtime-Invocation-Id") for each in with_id + without]
        assert ids == ["one", "two", None, None]


def test_a_worker_starts_from_an_interpreter_that_has_imported_nothing_of_the_function(tmp_path: Path) -> None:
    source = script("""
        import sys
        LOADED = sorted(sys.modules)

        def handler(event, context):
            return [name for name in LOADED if name in sys.modules]
    """)
    with pool(tmp_path, source) as started:
        started.wait_for_polls(3)
        loaded = set(started.invoke({})[0])
        assert not loaded & {"asyncio", "threading", "logging", "json", "socket", "samovar.concurrency.pollers"}
        assert "app" in loaded


def test_the_handler_is_imported_in_each_worker_and_not_in_the_supervisor(tmp_path: Path) -> None:
    with pool(tmp_path, APP + "print(f'INIT of {os.getpid()}\\n', end='')\n") as started:
        started.wait_for_polls(3)
        pids = [int(line.split()[-1]) for line in started.log.splitlines()]
        assert len(set(pids)) == 3
        assert started.pid not in pids


def test_no_descriptor_of_a_worker_is_in_another_or_in_a_program_that_it_starts(tmp_path: Path) -> None:
    source = script("""
        import os, subprocess

        def handler(event, context):
            descriptors = {}
            for name in os.listdir("/proc/self/fd"):
                try:
                    descriptors[int(name)] = os.readlink(f"/proc/self/fd/{name}").partition(":")[0]
                except FileNotFoundError:
                    pass  # that of listdir
            child = subprocess.check_output(["ls", "/proc/self/fd"], close_fds=False).decode().split()
            return {"pid": os.getpid(), "descriptors": sorted(descriptors.values()), "child": child}
    """)
    with pool(tmp_path, source, count=4) as started:
        started.wait_for_polls(4)
        seen = {}
        while len(seen) < 4:
            (answer,) = started.invoke({})
            seen[answer["pid"]] = answer
        assert len({str(answer["descriptors"]) for answer in seen.values()}) == 1
        assert {str(answer["child"]) for answer in seen.values()} == {"['0', '1', '2', '3']"}  # 3: that of ls


def test_deferred_calls_run_when_the_time_is_up_as_the_code_runs_on(tmp_path: Path) -> None:
    source = script("""
        import samovar
        done = []

        def handler(event, context):
            samovar.defer(lambda: done.append(samovar.remaining() < -1))
            return samovar.remaining(), context.get_remaining_time_in_millis(), done
    """)
    with pool(tmp_path, source, count=1) as started:
        remaining, milliseconds, _ = started.invoke({}, timeout_ms=-60_000)[0]
        assert remaining < -1
        assert milliseconds == 0
        assert started.invoke({})[0][2] == [True]


# --- a worker that dies


@pytest.mark.parametrize(
    ("event", "ending", "message"),
    [
        ({"exit": 3}, "exit status 3", "Runtime exited with error: exit status 3"),
        ({"exit": 0}, "exit status 0", "Runtime exited without providing a reason"),
        ({"sys_exit": 5}, "exit status 5", "Runtime exited with error: exit status 5"),
        ({"signal": signal.SIGKILL}, "signal: killed", "Runtime exited with error: signal: killed"),
        ({"signal": signal.SIGSEGV}, "signal: segmentation fault", "Runtime exited with error: signal: segmentation"),
        ({"signal": signal.SIGABRT}, "signal: aborted", "Runtime exited with error: signal: aborted"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_worker_that_dies_is_replaced_and_its_caller_gets_an_error(
    tmp_path: Path, event: dict[str, int], ending: str, message: str
) -> None:
    go = tmp_path / "go"
    with pool(tmp_path) as started:
        others = started.push(*[{"wait_for": str(go)}] * 2)
        started.wait_for_polls(3)
        (dies,) = started.push(event, headers=[("Lambda-Runtime-Invocation-Id", "one")])
        post = started.post(dies)
        assert post.call == f"POST /2018-06-01/runtime/{ERROR}"
        assert post.header("Lambda-Runtime-Function-Error-Type") == "Runtime.ExitError"
        assert post.header("Lambda-Runtime-Invocation-Id") == "one"
        error = json.loads(post.body)
        assert error["errorType"] == "Runtime.ExitError"
        assert error["errorMessage"].startswith(f"RequestId: {dies} Error: {message}")
        started.wait_for_polls(4)  # of the worker in its place
        go.touch()
        assert len(started.results(others)) == 2  # the others went on
        assert f"ended: {ending}" in started.log
        assert "It is replaced in 0.1 s" in started.log
        (said,) = (json.loads(line) for line in started.log.splitlines() if dies in line)
        assert said["message"].startswith(message)
        started.wait_for_polls(6)
        go.unlink()
        again = started.push(*[{"wait_for": str(go)}] * 3)
        started.wait_for_events(6)
        go.touch()
        assert len({answer["pid"] for answer in started.results(again)}) == 3


def test_all_workers_that_die_at_once_are_replaced(tmp_path: Path) -> None:
    with pool(tmp_path) as started:
        errors = started.invoke(*[{"sys_exit": 5}] * 3)
        assert {error["errorType"] for error in errors} == {"Runtime.ExitError"}
        started.wait_for_polls(6)
        assert started.process.poll() is None
        assert started.invoke({})[0]["number"] == 1


def test_a_worker_that_dies_again_and_again_is_replaced_after_growing_pauses(tmp_path: Path) -> None:
    with pool(tmp_path, count=1) as started:
        started.invoke(*[{"exit": 1}] * 3)
        started.wait_for_polls(4)
        pauses = [
            json.loads(line)["message"].rpartition("replaced ")[2]
            for line in started.log.splitlines()
            if "Worker 0" in line
        ]
        assert pauses == ["in 0.1 s", "in 0.2 s", "in 0.4 s"]


@pytest.mark.parametrize("mode", ["process", "hybrid"])
def test_a_worker_that_has_answered_is_replaced_at_once_and_the_pauses_begin_anew(tmp_path: Path, mode: str) -> None:
    with pool(tmp_path, count=1, mode=mode) as started:
        started.invoke(*[{"exit": 1}] * 2, {}, {"exit": 1}, {"fail": "x"}, {"exit": 1}, {"exit": 1})
        started.wait_for_polls(8)
        pauses = [
            json.loads(line)["message"].rpartition("replaced ")[2]
            for line in started.log.splitlines()
            if "Worker 0" in line
        ]
        assert pauses == ["in 0.1 s", "in 0.2 s", "at once", "at once", "in 0.1 s"]


def test_the_longest_pause_before_a_worker_is_replaced_is_10_seconds() -> None:
    supervisor = workers.Supervisor("app.handler", "127.0.0.1:1", [1], threaded=False)
    signal.pthread_sigmask(signal.SIG_SETMASK, supervisor._mask)
    (place,) = supervisor._places
    for _ in range(20):
        supervisor._replace(place, "Worker 0 ended", answered=False)
    assert place.pause == 10.0


def test_what_dies_after_its_response_is_posted_has_nothing_in_flight(tmp_path: Path) -> None:
    source = script("""
        import os, samovar

        def handler(event, context):
            samovar.defer(os._exit, 3)
            return os.getpid()
    """)
    with pool(tmp_path, source) as started:
        answers = started.invoke({}, {})
        started.wait_for_log("It is replaced", 2)
        started.wait_for_polls(5)
        assert len(set(answers)) == 2
        assert started.calls() == {RESPONSE: 2}


def test_what_dies_in_a_stream_gets_no_error_after_its_response_has_begun(tmp_path: Path) -> None:
    source = script("""
        import os

        def handler(event, context):
            yield b"begun"
            os._exit(3)
    """)
    with pool(tmp_path, source) as started:
        started.push({})
        started.wait_for_log("It is replaced")
        started.wait_for_polls(4)
        assert started.calls() == {RESPONSE: 1}


@pytest.mark.parametrize("length", [900, 1100, 60_000])
def test_ids_of_any_length_are_reported_or_said_to_be_too_long(tmp_path: Path, length: int) -> None:
    with pool(tmp_path) as started:
        (dies,) = started.push({"exit": 3}, headers=[("Lambda-Runtime-Invocation-Id", "i" * length)])
        if length < 1000:
            assert started.post(dies).header("Lambda-Runtime-Invocation-Id") == "i" * length
        started.wait_for_polls(4)
        assert ("ids are too long" in started.log) == (length > 1000)
        assert started.calls() == ({ERROR: 1} if length < 1000 else {})
        assert started.invoke({})[0]["number"] == 1


# --- INIT

# One worker fails where the file is there; any other then takes its time.
FAILS_ONCE = """
import os, time
try:
    os.rename("fail", "failed")
except OSError:
    if os.path.exists("failed"):
        time.sleep(0.5)
else:
    raise ValueError("once")
"""


def test_a_failed_init_is_posted_once_and_tried_in_no_other_worker(tmp_path: Path) -> None:
    with pool(tmp_path, "print('INIT')\nraise ValueError('no')\n") as started:
        assert started.end() == 1
        assert started.calls() == {INIT_ERROR: 1}
        (post,) = started.api.posted()
        assert post.header("Lambda-Runtime-Function-Error-Type") == "ValueError"
        assert started.log.count("INIT\n") == 1
        assert not started.polls()


def test_an_init_that_fails_in_all_workers_but_the_first_leaves_that_one(tmp_path: Path) -> None:
    source = APP + script("""
        try:
            os.mkdir("first")
        except OSError:
            raise ValueError("not the first")
    """)
    refused = ("POST /2018-06-01/runtime/init/error", Answer(b"{}", 403))
    with pool(tmp_path, source, answers=(refused, refused)) as started:
        started.wait_for_log("ended: exit status 1 in INIT. It is replaced in 0.1 s", 2)
        assert "403" not in started.log
        assert [answer["number"] for answer in started.invoke({}, {})] == [1, 2]
        assert started.polls() == 3
        error = started.invoke({"exit": 3})[0]
        assert error["errorType"] == "Runtime.ExitError"
        assert started.end() == 1  # the one in its place has failed INIT too, with status 1, and no other serves
        assert "No worker is left: the environment ends with status 1" in started.log


def test_a_worker_whose_init_fails_once_is_replaced_while_another_serves(tmp_path: Path) -> None:
    with pool(tmp_path, FAILS_ONCE + APP, count=2) as started:
        started.wait_for_polls(2)
        (tmp_path / "fail").touch()
        started.invoke({"exit": 3})
        started.wait_for_log("ended: exit status 1 in INIT. It is replaced in")
        started.wait_for_polls(3)
        assert len({answer["pid"] for answer in started.invoke({}, {}, {}, {})}) <= 2


def test_a_worker_whose_init_fails_while_none_serves_is_replaced_when_one_does(tmp_path: Path) -> None:
    with pool(tmp_path, FAILS_ONCE + APP, count=2) as started:
        started.wait_for_polls(2)
        (tmp_path / "fail").touch()
        ids = started.push(*[{"wait_for": str(tmp_path / "go"), "exit": 3}] * 2)
        started.wait_for_events(2)
        (tmp_path / "go").touch()
        assert {error["errorType"] for error in started.results(ids)} == {"Runtime.ExitError"}
        started.wait_for_log("in INIT. It is not replaced unless another one serves")
        started.wait_for_polls(4)
        ids = started.push(*[{"wait_for": str(tmp_path / "both")}] * 2)
        started.wait_for_events(4)  # so both are in flight at the same time
        (tmp_path / "both").touch()
        assert len({answer["pid"] for answer in started.results(ids)}) == 2


@pytest.mark.parametrize(
    ("statement", "code", "posted"),
    [
        ("sys.exit(5)", 5, None),
        ("sys.exit(0)", 1, None),
        ("os._exit(7)", 7, None),
        ("os.kill(os.getpid(), signal.SIGKILL)", 1, "Error: Runtime exited with error: signal: killed"),
    ],
)
def test_an_end_in_init_ends_the_environment_with_a_code_that_is_not_0(
    tmp_path: Path, statement: str, code: int, posted: str | None
) -> None:
    with pool(tmp_path, APP + statement) as started:
        assert started.end() == code
        assert [json.loads(post.body) for post in started.api.posted()] == (
            [{"errorType": "Runtime.ExitError", "errorMessage": posted}] if posted else []
        )
        assert "in INIT. It is not replaced unless another one serves" in started.log


def test_one_worker_alone_registers_the_extension_that_shutdown_hooks_need(tmp_path: Path) -> None:
    with pool(tmp_path, APP + "import samovar\nsamovar.on_shutdown(lambda: print('hook'))\n") as started:
        started.wait_for_polls(3)
        assert sum("register" in request.path for request in started.api.requests) == 1


# --- the Runtime API


FAULTS = {
    "500": Answer(b'{"errorType": "x"}', 500, (("Content-Type", "application/json"),)),
    "403": Answer(b'{"errorType": "x"}', 403, (("Content-Type", "application/json"),)),
    "500 without a content type": Answer(b"no", 500),
    "a closed connection": Answer(raw=b""),
    "no HTTP": Answer(raw=b"whatever\r\n\r\n"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_failed_poll_is_repeated_after_a_pause(tmp_path: Path, fault: Answer) -> None:
    with pool(tmp_path, count=2, script=(fault, fault)) as started:
        started.wait_for_polls(4)
        assert (
            started.log.count("Asking for an event failed, and is repeated in 0.1 s: GET")
            + started.log.count("repeated in 0.2 s")
            == 2
        )
        assert started.invoke({})[0]["number"] == 1
        assert "replaced" not in started.log


@pytest.mark.parametrize(
    ("mode", "processes"), [("process", 3), ("hybrid", min(3, settings.processors())), ("thread", 0)]
)
def test_a_runtime_api_that_has_gone_ends_all_workers_and_the_environment(
    tmp_path: Path, mode: str, processes: int
) -> None:
    with pool(tmp_path, mode=mode) as started:
        started.wait_for_polls(3)
        started.invoke({})
        started.api.close()
        assert started.end() == 1
        assert started.log.count("The Runtime API gave it no event") == max(0, processes - 1)
        assert started.log.count("The Runtime API gives no worker an event: none is replaced") == min(1, processes)
        assert started.log.count("repeated in 0.8 s") == 3
        assert "repeated in 3.2 s" not in started.log  # so long as it takes where there is somebody


@BOTH
@pytest.mark.parametrize(("event", "call"), [({}, RESPONSE), ({"fail": "x"}, ERROR)])
def test_a_post_that_is_refused_with_500_costs_no_worker(
    tmp_path: Path, runtime: str, event: object, call: str
) -> None:
    refused = (f"POST /2018-06-01/runtime/{call}", Answer(b"{}", 500, (("Content-Type", "application/json"),)))
    with pool(tmp_path, count=1, runtime=runtime, answers=(refused,)) as started:
        started.invoke(event)
        assert started.invoke({})[0]["number"] == 2
        assert started.log.count("WARNING") == 1


# --- SIGTERM, and the end of the supervisor


HOOKED = APP + "\nimport samovar\nsamovar.on_shutdown(lambda: print(f'hook of {os.getpid()}\\n', end=''))\n"


@pytest.mark.parametrize("transport", ["wire", "urllib3"])
def test_sigterm_reaches_all_workers_and_their_hooks_run_once(tmp_path: Path, transport: str) -> None:
    with pool(tmp_path, HOOKED, env={"SAMOVAR_TRANSPORT": transport}) as started:
        started.wait_for_polls(3)
        started.process.terminate()
        started.process.terminate()
        assert started.end() == -signal.SIGTERM
        assert len({line for line in started.log.splitlines() if line.startswith("hook of")}) == 3
        assert started.log.count("hook of") == 3


def test_sigterm_reaches_all_processes_of_hybrid(tmp_path: Path) -> None:
    with pool(tmp_path, HOOKED, mode="hybrid") as started:
        started.wait_for_polls(3)
        processes = len(started.members()) - 1
        started.process.terminate()
        assert started.end() == -signal.SIGTERM
        assert started.log.count("hook of") == processes


def test_sigterm_to_the_whole_group_is_the_same(tmp_path: Path) -> None:
    with pool(tmp_path, HOOKED) as started:
        started.wait_for_polls(3)
        os.killpg(started.pid, signal.SIGTERM)
        assert started.end() == -signal.SIGTERM
        assert started.log.count("hook of") == 3


@pytest.mark.parametrize("source", [APP, HOOKED], ids=["no hooks", "hooks"])
def test_at_sigterm_what_is_in_flight_is_finished(tmp_path: Path, source: str) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    source += script(f"""
        inner = handler
        def handler(event, context):
            open({str(begun)!r}, "w").close()
            return inner(event, context)
    """)
    with pool(tmp_path, source) as started:
        started.wait_for_polls(3)
        (request_id,) = started.push({"wait_for": str(go)})
        started.wait(begun.exists, "the handler")
        started.process.terminate()
        started.wait(lambda: len(started.members()) == 2, "the end of the others")
        go.touch()
        assert started.results([request_id])[0]["number"] == 1
        assert started.end() == -signal.SIGTERM
        assert started.polls() == 3


def test_what_is_in_flight_too_long_after_sigterm_is_killed_and_its_caller_gets_an_error(tmp_path: Path) -> None:
    with pool(tmp_path, HOOKED) as started:
        (request_id,) = started.push({"wait_for": "/never"})
        started.wait_for_polls(3)
        started.process.terminate()
        assert "signal: killed" in json.loads(started.post(request_id).body)["errorMessage"]
        assert started.end() == -signal.SIGTERM
        assert started.log.count("hook of") == 3


def test_sigterm_while_a_dead_worker_waits_to_be_replaced(tmp_path: Path) -> None:
    with pool(tmp_path, count=1) as started:
        started.invoke(*[{"exit": 1}] * 3)
        started.wait_for_log("replaced in 0.4 s")
        started.process.terminate()
        assert started.end() == -signal.SIGTERM
        assert started.polls() == 3


def test_sigterm_in_the_init_of_the_first_worker(tmp_path: Path) -> None:
    with pool(tmp_path, "print('INIT')\nimport time\ntime.sleep(600)\n") as started:
        started.wait_for_log("INIT")
        started.process.terminate()
        assert started.end() == -signal.SIGTERM
        assert started.log.count("INIT") == 1


def test_a_sigterm_handler_of_the_functions_own_is_kept(tmp_path: Path) -> None:
    source = APP + "signal.signal(signal.SIGTERM, lambda *_: (print('mine'), os._exit(0)))\n"
    with pool(tmp_path, source) as started:
        started.wait_for_polls(3)
        started.process.terminate()
        assert started.end() == -signal.SIGTERM
        assert started.log.count("mine") == 3


@pytest.mark.parametrize("mode", ["process", "hybrid"])
def test_a_supervisor_that_is_killed_leaves_no_worker(tmp_path: Path, mode: str) -> None:
    with pool(tmp_path, mode=mode) as started:
        started.wait_for_polls(3)
        started.process.kill()
        assert started.end() == -signal.SIGKILL


# --- children of a handler


def test_a_child_that_a_handler_forks_serves_nothing_and_posts_nothing(tmp_path: Path) -> None:
    source = script("""
        import multiprocessing, os

        def handler(event, context):
            if event == "fork":
                if pid := os.fork():
                    return os.waitpid(pid, 0)[1]
                return "child"
            if event == "exit":
                if pid := os.fork():
                    return os.waitpid(pid, 0)[1]
                os._exit(0)
            with multiprocessing.get_context("fork").Pool(2) as pool:
                return pool.map(abs, [-1, -2])
    """)
    with pool(tmp_path, source) as started:
        forked, left, pooled = started.invoke("fork", "exit", "pool")
        assert forked == 256  # the child came to /next, which is its parent's
        assert left == 0
        assert pooled == [1, 2]
        assert started.calls() == {RESPONSE: 3}
        assert "replaced" not in started.log


def test_a_child_that_a_handler_forks_ends_at_sigterm_as_any_other_process(tmp_path: Path) -> None:
    source = script("""
        import multiprocessing, time

        def handler(event, context):
            process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
            process.start()
            process.terminate()
            process.join()
            return process.exitcode
    """)
    with pool(tmp_path, source) as started:
        assert started.invoke({}) == [-signal.SIGTERM]


# --- hybrid, and async handlers


CROWD = script("""
    import os, threading, time

    def handler(event, context):
        open(f"{event['here']}/{context.aws_request_id}", "w").close()
        while len(os.listdir(event["here"])) < event["wait_for"]:
            time.sleep(0.002)
        return {"pid": os.getpid(), "thread": threading.current_thread().name,
                "trace_id": os.environ.get("_X_AMZN_TRACE_ID")}
""")


def test_hybrid_is_as_many_processes_as_processors_with_threads(
    tmp_path: Path,
) -> None:
    (here := tmp_path / "here").mkdir()
    processors = min(5, len(os.sched_getaffinity(0)))
    with pool(tmp_path, CROWD, count=5, mode="hybrid") as started:
        started.wait_for_polls(5)
        answers = started.invoke(*[{"here": str(here), "wait_for": 5}] * 5)
        assert len({answer["pid"] for answer in answers}) == processors
        assert {answer["trace_id"] for answer in answers} == {TRACE_ID}
        assert {answer["thread"][:8] for answer in answers} == {"samovar-"}
        assert started.pid not in {answer["pid"] for answer in answers}


@pytest.mark.parametrize(
    ("count", "processors", "shares"), [(5, 2, [3, 2]), (2, 4, [1, 1]), (16, 4, [4] * 4), (1, 1, [1])]
)
def test_what_is_left_over_is_spread(
    monkeypatch: pytest.MonkeyPatch, count: int, processors: int, shares: list[int]
) -> None:
    monkeypatch.setattr(workers.settings, "processors", lambda: processors)
    assert workers.shares(count, "hybrid") == shares
    assert workers.shares(count, "process") == [1] * count


def test_the_callers_of_all_threads_of_a_process_that_dies_get_an_error(tmp_path: Path) -> None:
    source = script("""
        import asyncio, os
        inside = []

        async def handler(event, context):
            if not event:
                return os.getpid()
            inside.append(context.aws_request_id)
            while len(inside) < 3:
                await asyncio.sleep(0.002)
            os._exit(3)
    """)
    with pool(tmp_path, source, count=3) as started:
        errors = started.invoke({"die": True}, {"die": True}, {"die": True})
        assert {error["errorType"] for error in errors} == {"Runtime.ExitError"}
        started.wait_for_polls(6)
        assert len(set(started.invoke({}, {}, {}))) == 1


ASYNC = {
    "a coroutine function": "async def handler(event, context):\n    return await crowd(event, context)\n",
    "an async generator function": """
        async def handler(event, context):
            yield json.dumps(await crowd(event, context)).encode()
    """,
    "behind a decorator": """
        def decorated(f):
            @functools.wraps(f)
            def wrapper(event, context):
                return f(event, context)
            return wrapper

        @decorated
        @decorated
        async def handler(event, context):
            return await crowd(event, context)
    """,
    "a partial": """
        async def inner(nothing, event, context):
            return await crowd(event, context)

        handler = functools.partial(inner, None)
    """,
    "an object that is called": """
        class Handler:
            async def __call__(self, event, context):
                return await crowd(event, context)

        handler = Handler()
    """,
    "under an agent": """
        import awslambdaric.bootstrap as bootstrap
        inner = bootstrap.handle_event_request
        bootstrap.handle_event_request = lambda client, handler, *args: inner(client, handler, *args)

        async def handler(event, context):
            return await crowd(event, context)
    """,
}
CROWDED = script("""
    import asyncio, functools, json, os

    async def crowd(event, context):
        open(f"{event['here']}/{context.aws_request_id}", "w").close()
        while len(os.listdir(event["here"])) < event["wait_for"]:
            await asyncio.sleep(0.002)
        return os.getpid()
""")


@pytest.mark.parametrize("mode", ["process", "hybrid"])
@pytest.mark.parametrize("how", ASYNC)
def test_an_async_handler_gets_one_process(tmp_path: Path, how: str, mode: str) -> None:
    with pool(tmp_path, CROWDED + script(ASYNC[how]), count=4, mode=mode) as started:
        started.wait_for_polls(4)
        assert len(started.members()) == 2


@pytest.mark.parametrize("how", ["a coroutine function", "behind a decorator"])
def test_an_async_handler_is_served_by_one_process(tmp_path: Path, how: str) -> None:
    (here := tmp_path / "here").mkdir()
    with pool(tmp_path, CROWDED + script(ASYNC[how]), count=4) as started:
        started.wait_for_polls(4)
        answers = started.invoke(*[{"here": str(here), "wait_for": 4}] * 4)
        assert len(set(answers)) == 1


RUNNERS = {
    "by itself": """
        def run_it(f):
            @functools.wraps(f)
            def wrapper(event, context):
                return asyncio.run(f(event, context))
            return wrapper
    """,
    "by a function": """
        event_loop = asyncio.new_event_loop()

        def run(coroutine):
            return event_loop.run_until_complete(coroutine)

        wait = run
        def run_it(f):
            @functools.wraps(f)
            def wrapper(event, context):
                return wait(f(event, context))
            return wrapper
    """,
    "by a method": """
        class Bridge:
            def __init__(self):
                self.event_loop = asyncio.new_event_loop()

            def wait(self, coroutine):
                return self.event_loop.run_until_complete(coroutine)

        bridge = Bridge()
        def run_it(f):
            @functools.wraps(f)
            def wrapper(event, context):
                return bridge.wait(f(event, context))
            return wrapper
    """,
    "by what it encloses": """
        def make(wait):
            def run_it(f):
                @functools.wraps(f)
                def wrapper(event, context):
                    return wait(f(event, context))
                return wrapper
            return run_it

        run_it = make(asyncio.new_event_loop().run_until_complete)
    """,
}


@pytest.mark.parametrize("how", RUNNERS)
def test_a_decorator_that_runs_the_coroutine_makes_a_plain_handler_of_it(tmp_path: Path, how: str) -> None:
    handler = """
        @run_it
        async def handler(event, context):
            return os.getpid()
    """
    with pool(tmp_path, f"import asyncio, functools, os\n{script(RUNNERS[how])}\n{script(handler)}") as started:
        started.wait_for_polls(3)
        assert len(started.members()) == 4
