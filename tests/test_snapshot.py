"""SnapStart, seen from the Runtime API. No emulator knows snapshots; where two environments restored from one snapshot
are compared, they are one process that is doubled while the snapshot is taken, unseen by Python and with the same
process id. What the hooks of snapshot_restore_py do is compared with AWS's client in tests/contract/cases_snapshot.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from samovar import hooks
from samovar.local.testing.scripted_api import NEXT, Answer, ScriptedRuntimeApi
from tests.contract.harness import OURS, OURS_URLLIB3, Event, Outcome, Run, command, execute
from tests.contract.harness import environment as variables
from tests.contract.table import app

SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
RUNTIME = "/2018-06-01/runtime"
RESTORE, RESTORE_ERROR, INIT_ERROR = f"{RUNTIME}/restore/next", f"{RUNTIME}/restore/error", f"{RUNTIME}/init/error"

# A program that answers with its process id.
PROGRAM = """
import json, os, signal, sys

def end(*args):
    os.write(2, b"goodbye\\n")
    os._exit(0)

signal.signal(signal.SIGTERM, end)
START
for number, line in enumerate(sys.stdin):
    print(json.dumps({"proc_req_id": number, "error": None, "data": os.getpid()}), flush=True)
"""


def restored(
    files: Mapping[str, str] | str,
    events: int = 1,
    answers: tuple[tuple[str, Answer], ...] = (),
    env: Mapping[str, str] = SNAP_START,
) -> list[Outcome]:
    source = app(files) if isinstance(files, str) else files
    return execute(Run(source, (Event(),) * events, env=env, answers=answers), OURS)


def calls(outcome: Outcome) -> list[str]:
    return [request.path for request in outcome.requests]


def test_our_hooks_are_around_those_of_snapshot_restore_py() -> None:
    source = """
        import samovar, snapshot_restore_py as aws
        did = []

        def hook(name):
            return lambda: did.append(name)

        for n in 1, 2:
            samovar.before_snapshot(hook(f"ours before {n}"))
            samovar.after_restore(hook(f"ours after {n}"))
            aws.register_before_snapshot(did.append, f"theirs before {n}")
            aws.register_after_restore(did.append, f"theirs after {n}")

        def handler(event, context):
            return did
    """
    init, handled = restored(source)
    assert calls(init) == [RESTORE]
    assert handled.value == [
        "theirs before 2",
        "theirs before 1",
        "ours before 2",
        "ours before 1",
        "ours after 1",
        "ours after 2",
        "theirs after 1",
        "theirs after 2",
    ]


def test_a_hook_may_be_a_coroutine_function_and_runs_on_the_loop_of_the_handler() -> None:
    source = """
        import asyncio, samovar
        loops = []

        @samovar.before_snapshot
        @samovar.after_restore
        async def hook():
            await asyncio.sleep(0)
            loops.append(asyncio.get_running_loop())

        async def handler(event, context):
            return [loop is asyncio.get_running_loop() for loop in loops]
    """
    assert restored(source)[1].value == [True, True]


def test_a_hook_must_be_callable() -> None:
    with pytest.raises(TypeError, match="before_snapshot: 5 is not callable: give a function without arguments"):
        hooks.before_snapshot(5)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="after_restore: None is not callable"):
        hooks.after_restore(None)  # type: ignore[type-var]


@pytest.mark.parametrize("kind", ["on-demand", "provisioned-concurrency", ""])
def test_without_snap_start_nothing_of_it_runs(kind: str) -> None:
    source = """
        import sys, samovar
        samovar.before_snapshot(lambda: print("never"))
        samovar.after_restore(lambda: print("never"))

        def handler(event, context):
            return "samovar.snapshot" in sys.modules
    """
    init, handled = restored(source, env={"AWS_LAMBDA_INITIALIZATION_TYPE": kind})
    assert (calls(init), handled.value, handled.stdout) == ([], False, b"")


@pytest.mark.parametrize("runtime", [OURS, OURS_URLLIB3])
def test_no_connection_of_before_the_restore_asks_for_events(runtime: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def handler(event, context): pass\n")
    with ScriptedRuntimeApi() as api:
        env = variables(runtime, "app.handler", str(tmp_path), api.address, SNAP_START)
        process = subprocess.Popen(command(runtime, "app.handler"), cwd=tmp_path, env=env)
        try:
            api.wait(lambda requests: any(request.call == NEXT for request in requests))
        finally:
            process.kill()
            process.wait()
        asked, following = api.requests
        assert (asked.path, following.call) == (RESTORE, NEXT)
        assert asked.connection != following.connection


def test_the_extension_that_a_shutdown_hook_needs_is_registered_before_the_snapshot() -> None:
    init, _ = restored("import samovar\nsamovar.on_shutdown(print)\n\ndef handler(event, context): pass\n")
    extension = "/2020-01-01/extension"
    asked = calls(init)
    assert sorted(asked) == [RESTORE, f"{extension}/event/next", f"{extension}/register"]
    assert asked.index(f"{extension}/register") < asked.index(RESTORE)


def test_what_init_deferred_runs_after_the_first_response_of_a_restored_environment() -> None:
    source = """
        import samovar
        samovar.defer(print, "deferred")

        def handler(event, context):
            print("handled")
    """
    init, first, second = restored(source, events=2)
    assert [outcome.stdout for outcome in (init, first, second)] == [b"", b"handled\ndeferred\n", b"handled\n"]


def test_an_alarm_that_a_hook_leaves_behind_is_cancelled() -> None:
    source = """
        import samovar, signal
        samovar.after_restore(lambda: signal.alarm(600))

        def handler(event, context):
            return signal.getitimer(signal.ITIMER_REAL)
    """
    assert restored(source)[1].value == [0, 0]


# --- failures


def test_a_failing_hook_ends_the_environment_with_its_shutdown_hooks() -> None:
    source = """
        import samovar
        samovar.on_shutdown(lambda: print("closed"))

        @samovar.after_restore
        def connect():
            raise OSError("no database")

        def handler(event, context): pass
    """
    (outcome,) = restored(source)
    request = outcome.requests[-1]
    assert request.path == RESTORE_ERROR
    assert request.header("Lambda-Runtime-Function-Error-Type") == "Runtime.AfterRestoreError"
    error = json.loads(request.body)
    assert (error["errorType"], error["errorMessage"]) == ("OSError", "no database")
    assert ["connect" in line for line in error["stackTrace"]] == [True]
    assert b"[ERROR] OSError: no database" in outcome.stdout
    assert outcome.stdout.endswith(b"closed\n")
    assert outcome.exit == 65


def test_a_restore_that_the_platform_answers_with_something_else_fails_init() -> None:
    (outcome,) = restored(
        "def handler(event, context): pass\n", answers=((f"GET {RESTORE}", Answer(raw=b"SSH-2\r\n")),)
    )
    assert calls(outcome) == [RESTORE, INIT_ERROR]
    assert outcome.posts[-1].error_type == "Runtime.BeforeSnapshotError"
    assert b"not HTTP" in outcome.stdout
    assert outcome.exit == 64


def test_the_end_of_the_platform_while_the_snapshot_is_taken_is_quiet() -> None:
    (outcome,) = restored("def handler(event, context): pass\n", answers=((f"GET {RESTORE}", Answer(raw=b"")),))
    assert (calls(outcome), outcome.stdout, outcome.stderr, outcome.exit) == ([RESTORE], b"", b"", 1)


@pytest.mark.parametrize("status", [403, 500])
def test_a_failure_that_cannot_be_posted_ends_the_environment_with_a_line_that_says_so(status: int) -> None:
    (outcome,) = restored(
        "import samovar\nsamovar.after_restore(lambda: 1 / 0)\n\ndef handler(event, context): pass\n",
        answers=((f"POST {RESTORE_ERROR}", Answer(status=status)),),
    )
    assert b"[ERROR] ZeroDivisionError" in outcome.stdout
    assert outcome.stderr.decode().startswith(f"samovar: POST {RESTORE_ERROR}: status {status}")
    assert outcome.exit == 1


def test_what_replaces_the_post_of_an_init_error_is_told_the_type() -> None:
    source = """
        import samovar, sys
        client = sys.modules["__main__"].LambdaRuntimeClient
        post = client.post_init_error

        def mine(self, *args):
            print(args[0]["errorType"], args[1:], sys.exc_info()[0].__name__)
            return post(self, *args)

        client.post_init_error = mine
        samovar.before_snapshot(lambda: 1 / 0)

        def handler(event, context): pass
    """
    (outcome,) = restored(source)
    assert b"ZeroDivisionError ('Runtime.BeforeSnapshotError',) ZeroDivisionError\n" in outcome.stdout
    assert outcome.posts[-1].error_type == "Runtime.BeforeSnapshotError"
    assert outcome.exit == 64


# --- what a restored environment has of its own


def _namespace() -> list[str]:
    """Return what runs a command as process 1 of a namespace; nothing where that is refused."""
    unshare = [shutil.which("unshare") or "unshare", "--pid", "--fork", "--kill-child"]
    if os.geteuid():
        unshare.insert(1, "--map-root-user")
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return unshare


def _two_environments(tmp_path: Path, prelude: str, namespace: list[str]) -> list[dict[str, object]]:
    """Return what two environments draw that were restored from one snapshot. In a namespace both have process id 1."""
    (tmp_path / "app.py").write_text(f"""
import ctypes, json, os, random, ssl, tempfile
import numpy
import samovar

own = random.Random()
{prelude}

def draw():
    return {{
        "process id": os.getpid(),
        "a generator of the function's own": own.random(),
        "random": random.random(),
        "numpy": float(numpy.random.random()),
        "tempfile": os.path.basename(tempfile.mktemp()),
        "OpenSSL": ssl.RAND_bytes(8).hex(),
    }}

draw()

@samovar.before_snapshot
def two_environments():
    libc = ctypes.PyDLL(None)  # not os.fork, after which Python and OpenSSL seed anew
    if os.getpid() == 1:
        assert libc.unshare(0x20000000) == 0  # CLONE_NEWPID: the child has process id 1, too
    assert libc.fork() >= 0

@samovar.after_restore
def say():
    with open("drawn", "a") as file:
        file.write(json.dumps(draw()) + "\\n")

def handler(event, context): pass
""")
    with ScriptedRuntimeApi() as api:
        env = variables(OURS, "app.handler", str(tmp_path), api.address, SNAP_START)
        process = subprocess.Popen([*namespace, *command(OURS, "app.handler")], cwd=tmp_path, env=env)
        try:
            api.wait(lambda requests: sum(request.call == NEXT for request in requests) == 2)
        finally:
            process.kill()
            process.wait()
        assert [request.path for request in api.posted()] == [RESTORE, RESTORE]
    return [json.loads(line) for line in (tmp_path / "drawn").read_text().splitlines()]


@pytest.mark.parametrize("generator", ["", "numpy.random.set_bit_generator(numpy.random.PCG64(1))"])
def test_two_environments_of_one_snapshot_draw_different_numbers(tmp_path: Path, generator: str) -> None:
    namespace = _namespace()  # without one OpenSSL seeds anew by itself, as it sees another process id
    one, other = _two_environments(tmp_path, generator, namespace)
    same = {"a generator of the function's own"} | ({"process id"} if namespace else set())
    assert {name for name in one if one[name] == other[name]} == same


@pytest.mark.parametrize("name", ["random", "tempfile"])
def test_a_module_of_the_function_may_have_the_name_of_one_that_is_seeded(name: str) -> None:
    files = {
        "app.py": f"import {name}\n\ndef handler(event, context):\n    return {name}.MINE\n",
        f"{name}.py": "MINE = 1",
    }
    assert restored(files)[1].value == 1


def test_what_has_a_ttl_is_dropped_unless_its_cache_keeps_it() -> None:
    source = """
        import samovar
        from samovar.caching import TTLCache
        loads = []

        def loading(name, **terms):
            @samovar.warm
            @samovar.cached(**terms)
            def load():
                loads.append(name)
            return load

        functions = [
            loading("dropped", ttl=600, stale=600),
            loading("kept", ttl=600, snapshot="keep"),
            loading("without end", ttl=None),
        ]
        keeping = TTLCache(snapshot="keep")
        for cache in samovar.cache, keeping:
            cache.set("ttl", 1, ttl=600)
            cache.set("none", 2)

        def handler(event, context):
            for function in functions:
                function()
            return [loads[3:], dict((key, samovar.cache.get(key)) for key in samovar.cache), sorted(keeping)]
    """
    assert restored(source)[1].value == [["dropped"], {"none": 2}, ["none", "ttl"]]


# --- companions


def _with_companion(start: str = "", source: str = "") -> list[Outcome]:
    return restored(
        {
            "app.py": f"""
import os, sys
import samovar
companions = [samovar.Companion([sys.executable, "-S", "program.py"], workers=2) for _ in range(2)]
closed = samovar.Companion([sys.executable, "-S", "program.py"])
closed.close()
{source}

def ask():
    return [companion.call({{}}) for companion in companions for _ in range(2)]

seen = [ask()]
samovar.before_snapshot(lambda: seen.append(ask()))
samovar.after_restore(lambda: seen.append(ask()))

def handler(event, context):
    return [*seen, ask()]
""",
            "program.py": PROGRAM.replace("START", start),
        }
    )


def test_a_companion_ends_before_the_snapshot_and_starts_anew_after_the_restore() -> None:
    init, handled = _with_companion()
    first, before, after, last = map(sorted, handled.value)
    assert len(set(first)) == 4
    assert before == first
    assert not set(after) & set(first)
    assert last == after
    assert init.stderr.count(b"goodbye\n") == 5
    assert calls(init).count(RESTORE) == 1


def test_a_companion_that_cannot_start_again_fails_the_restore() -> None:
    start = "if os.path.exists('snapshot'):\n    sys.exit(3)"
    (outcome,) = _with_companion(start, "samovar.before_snapshot(lambda: open('snapshot', 'w').close())")
    assert calls(outcome)[-2:] == [RESTORE, RESTORE_ERROR]
    assert outcome.posts[-1].error_type == "Runtime.AfterRestoreError"
    error = json.loads(outcome.requests[-1].body)
    assert error["errorType"] == "Companion.Ended"
    assert "program.py exited with code 3, before its first answer" in error["errorMessage"]
    assert outcome.exit == 65


def test_the_program_of_an_exec_handler_is_another_after_the_restore() -> None:
    files = {"program.py": PROGRAM.replace("START", "os.write(2, b'start\\n')")}
    handler = f"exec:{sys.executable} -S program.py"
    init, handled = execute(Run(files, env=SNAP_START, handler=handler), OURS)
    assert init.stderr == b"start\ngoodbye\nstart\n"
    assert isinstance(handled.value, int)


def test_a_call_in_another_thread_fails_at_the_snapshot_and_the_next_one_waits_for_the_restore() -> None:
    source = """
        import os, sys, threading
        import samovar

        companion = samovar.Companion([sys.executable, "-S", "silent.py"])
        answered = []

        def ask():
            try:
                companion.call("silent", timeout=600)
            except samovar.CompanionError as error:
                answered.append(error.kind)
            answered.append(companion.call("again", timeout=600))

        thread = threading.Thread(target=ask)

        @samovar.before_snapshot
        def begin():
            thread.start()
            while not os.path.exists("asked"):
                pass

        def handler(event, context):
            thread.join()
            return answered
    """
    program = """
        import json, os, sys
        for number, line in enumerate(sys.stdin):
            if json.loads(line)["event"] == "silent":
                open("asked", "w").close()
            else:
                print(json.dumps({"proc_req_id": number, "error": None, "data": "answered"}), flush=True)
    """
    init, handled = restored({"app.py": source, "silent.py": program})
    assert calls(init).count(RESTORE) == 1
    assert handled.value == ["Ended", "answered"]
