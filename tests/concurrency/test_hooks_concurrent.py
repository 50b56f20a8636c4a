"""Deferred calls and the time that is left, where several invocations are in flight at the same time."""

from __future__ import annotations

import time

from tests.concurrency.serving import event, one_by_one, polls, serving

PAST = "1000000000000"


def test_a_call_runs_after_the_response_of_the_invocation_that_deferred_it() -> None:
    source = """
        import threading
        import samovar

        deferred, ran, done = threading.Event(), threading.Event(), []

        def mark(name):
            done.append([name, samovar.current().id])
            ran.set()

        def handler(event, context):
            samovar.defer(mark, event)
            if event == "waits":
                deferred.set()
                ran.wait()
            else:
                deferred.wait()
            return list(done)
    """
    with serving(source, event("waits", "id-waits"), event("goes", "id-goes"), count=2) as server:
        assert server.answers(2) == {"id-goes": [], "id-waits": [["goes", "id-goes"]]}
        server.wait_for(lambda: polls(server) == 4)
        server.api.push(event("goes", "id-last"))
        assert server.answers(3)["id-last"] == [["goes", "id-goes"], ["waits", "id-waits"]]


def test_threads_pools_and_tasks_defer_for_their_invocation() -> None:
    source = """
        import asyncio, threading
        from concurrent.futures import ThreadPoolExecutor
        import samovar

        pool, together, done = ThreadPoolExecutor(2), threading.Barrier(8), []

        async def in_a_coroutine(by, request_id):
            await asyncio.sleep(0)
            mark(by, request_id)

        def mark(by, request_id):
            done.append([by, request_id == samovar.current().id])

        def defer(by):
            samovar.defer(mark, by, samovar.current().id)
            samovar.defer(in_a_coroutine, by + ", async", samovar.current().id)

        async def tasks():
            async def task():
                await asyncio.sleep(0)
                defer("a task")
            await asyncio.create_task(task())

        def handler(event, context):
            if event == "done":
                return sorted(done)
            together.wait()
            thread = threading.Thread(target=defer, args=["a thread"])
            thread.start()
            thread.join()
            pool.submit(defer, "a pool").result()
            asyncio.run(tasks())
    """
    with serving(source, *(event(1, f"id-{number}") for number in range(8)), count=8) as server:
        server.answers(8)
        server.wait_for(lambda: polls(server) == 16)
        server.api.push(event("done", "id-done"))
        by = [
            f"{each}{more}" for each in ("a pool", "a task", "a thread") for more in ("", ", async") for _ in range(8)
        ]
        assert server.answers(9)["id-done"] == [[each, True] for each in by]


def test_calls_of_init_and_of_a_thread_whose_invocation_has_ended_run_once_after_the_next_response() -> None:
    source = """
        import threading
        import samovar

        done, go, threads = [], threading.Event(), []

        def mark(what):
            done.append([what, samovar.current().id])

        def late(of):
            go.wait()
            assert samovar.current().id == of
            samovar.defer(mark, "late")

        samovar.defer(mark, "INIT")

        def handler(event, context):
            if event == "starts a thread":
                threads.append(threading.Thread(target=late, args=[context.aws_request_id]))
                threads[0].start()
            if event == "lets it go on":
                go.set()
                threads[0].join()
            return list(done)
    """
    bodies = "starts a thread", "lets it go on", "looks"
    with serving(source, count=4) as server:
        init, late = ["INIT", "id-0"], ["late", "id-1"]
        assert one_by_one(server, 4, *bodies) == [[], [init], [init, late]]


def test_no_call_is_lost_or_run_twice_when_threads_defer_while_their_invocation_ends() -> None:
    source = """
        import sys, threading
        import samovar

        sys.setswitchinterval(1e-6)
        done, threads = [], []

        def later(number):
            for part in range(30):
                samovar.defer(done.append, number * 30 + part)

        def handler(event, context):
            if event == "join":
                for thread in threads:
                    thread.join()
            elif event == "done":
                return sorted(done)
            else:
                thread = threading.Thread(target=later, args=[event])
                threads.append(thread)
                thread.start()
    """
    count = 400
    with serving(source, *(event(number, f"id-{number}") for number in range(count))) as server:
        for number, body in enumerate(("join", "done"), count):
            server.wait_for(lambda ended=number: polls(server) == 16 + ended)  # type: ignore[misc]
            server.api.push(event(body, f"id-{body}"))
        assert server.answers(count + 2)["id-done"] == list(range(count * 30))


def test_the_time_that_is_left_becomes_negative_and_deferred_calls_run_all_the_same() -> None:
    source = """
        import samovar

        done = []

        def handler(event, context):
            samovar.defer(lambda: done.append(samovar.remaining() < -1))
            return samovar.remaining(), context.get_remaining_time_in_millis(), done
    """
    began = time.time()
    with serving(source, event({}, "id-1", deadline_ms=PAST), count=1) as server:
        remaining, milliseconds, done = server.answers(1)["id-1"]
        assert 1e9 - time.time() <= remaining <= 1e9 - began
        assert (milliseconds, done) == (0, [])
        server.api.push(event({}, "id-2"))
        remaining, milliseconds, done = server.answers(2)["id-2"]
        assert remaining > 0
        assert milliseconds > 0
        assert done == [True]
        assert "Out of time" not in server.out


def test_a_failed_call_is_logged_with_the_id_of_its_invocation() -> None:
    source = """
        import threading
        import samovar

        together = threading.Barrier(4)

        def fails(event):
            together.wait()
            raise LookupError(event)

        def handler(event, context):
            samovar.defer(fails, event)
    """
    ids = [f"id-{number}" for number in range(4)]
    with serving(source, *(event(each, each) for each in ids), count=4) as server:
        server.wait_for(lambda: polls(server) == 8)
        records = [record for record in server.records if record.get("errorType") == "LookupError"]
    assert sorted(record["requestId"] for record in records) == ids
    assert all(record["errorMessage"] == f"Deferred fails failed: {record['requestId']}" for record in records)


def test_sigterm_names_the_calls_of_all_invocations_that_it_drops() -> None:
    source = """
        import threading
        import samovar

        never = threading.Event()

        def blocks(): never.wait()
        def waits_behind(): ...
        def has_no_response(): ...

        def handler(event, context):
            if event == "defers":
                samovar.defer(blocks)
                samovar.defer(waits_behind)
                samovar.defer(waits_behind)
            else:
                samovar.defer(has_no_response)
                print("READY", flush=True)
                never.wait()
    """
    with serving(source, event("defers", "id-1"), count=2) as server:
        server.answers(1)
        server.api.push(event("hangs", "id-2"))
        while "READY" not in server.out:
            time.sleep(0.01)
        assert server.end() == -15
        messages = [record["message"] for record in server.records]
    assert "The environment ends: deferred blocks is not finished" in messages
    (dropped,) = (message for message in messages if "dropped" in message)
    assert dropped.startswith("The environment ends: deferred calls dropped: 3 (")
    assert (dropped.count("waits_behind"), dropped.count("has_no_response")) == (2, 1)
