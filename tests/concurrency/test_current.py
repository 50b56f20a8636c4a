"""What belongs to an invocation is seen by it alone: 16 at once in one process."""

from __future__ import annotations

import json
import random
import sys
from contextvars import copy_context

import pytest

from samovar.concurrency.current import SharedEnvironment
from samovar.environment import Environment
from samovar.invocation import Invocation
from tests import invocations
from tests.concurrency.serving import event, one_by_one, serving

# Everything an invocation may ask about itself, in every thread and task that it can start.
APP = """
import asyncio, contextvars, os, random, threading, time
from concurrent.futures import ThreadPoolExecutor
from awslambdaric import bootstrap
import samovar

shared = ThreadPoolExecutor(4)

def seen(context):
    time.sleep(random.random() / 100)
    invocation = samovar.current()
    custom = context.client_context.custom if context.client_context else None
    return [
        invocation.id,
        invocation.context is context,
        invocation.tenant_id,
        context.aws_request_id,
        context.tenant_id,
        context.invoked_function_arn,
        context.identity.cognito_identity_id,
        custom,
        context.w3c(),
        context._epoch_deadline_time_in_ms,
        abs(samovar.remaining() * 1000 - (context._epoch_deadline_time_in_ms - time.time() * 1000)) < 60_000,
        max(0, samovar.remaining()) > 0 or context.get_remaining_time_in_millis() == 0,
        os.environ.get("_X_AMZN_TRACE_ID"),
        os.getenv("_X_AMZN_TRACE_ID"),
        os.environ["_X_AMZN_TRACE_ID"] if "_X_AMZN_TRACE_ID" in os.environ else None,
        dict(os.environ).get("_X_AMZN_TRACE_ID"),
        bootstrap._GLOBAL_AWS_REQUEST_ID,
        bootstrap._GLOBAL_TENANT_ID,
    ]

async def in_tasks(context):
    loop = asyncio.get_running_loop()
    async def task(of):
        await asyncio.sleep(random.random() / 100)
        return seen(of)
    return await asyncio.gather(
        task(context),
        asyncio.create_task(task(context)),
        asyncio.to_thread(seen, context),
        loop.run_in_executor(None, seen, context),
        loop.run_in_executor(shared, seen, context),
    )

class Subclass(threading.Thread):
    def __init__(self, context):
        super().__init__()
        self.context = context
    def run(self):
        self.result = seen(self.context)

def nested(context):
    found = []
    def outer():
        inner = threading.Thread(target=lambda: found.append(seen(context)))
        inner.start()
        inner.join()
        found.extend(shared_map(context))
    def shared_map(context):
        with ThreadPoolExecutor(2) as own:
            return list(own.map(seen, [context] * 3))
    thread = threading.Thread(target=outer)
    thread.start()
    thread.join()
    return found
"""
FUNCTION = """
def handler(event, context):
    found = [seen(context)]
    found.append(shared.submit(seen, context).result())
    found += shared.map(seen, [context] * 3)
    done = []
    future = shared.submit(time.sleep, 0)
    future.add_done_callback(lambda future: done.append(seen(context)))
    while not done:
        time.sleep(0.001)
    found += done
    found += nested(context)
    thread = Subclass(context)
    thread.start()
    thread.join()
    found.append(thread.result)
    timer = threading.Timer(0, lambda: found.append(seen(context)))
    timer.start()
    timer.join()
    found += asyncio.run(in_tasks(context))
    return found
"""
COROUTINE = """
async def handler(event, context):
    found = await in_tasks(context)
    await asyncio.sleep(random.random() / 100)
    found += await asyncio.to_thread(nested, context)
    return [*found, seen(context)]
"""
GENERATOR = """
import json

def handler(event, context):
    yield "["
    for _ in range(10):
        yield json.dumps(seen(context)) + ","
    yield json.dumps(nested(context))[1:]
"""
ASYNC_GENERATOR = """
import json

async def handler(event, context):
    yield "["
    for each in await in_tasks(context):
        await asyncio.sleep(random.random() / 100)
        yield json.dumps([each, seen(context)])[1:-1] + ","
    yield json.dumps(await asyncio.to_thread(nested, context))[1:]
"""


@pytest.mark.parametrize(
    ("handler", "count"),
    [(FUNCTION, 17), (COROUTINE, 10), (GENERATOR, 14), (ASYNC_GENERATOR, 14)],
    ids=["function", "coroutine function", "generator", "async generator"],
)
def test_an_invocation_sees_itself_alone_in_its_threads_pools_and_tasks(handler: str, count: int) -> None:
    chance = random.Random(15)
    events, expected = [], {}
    for number in range(64):
        request_id = f"{chance.getrandbits(64):016x}"
        client_context = {"custom": {"number": number}, "w3c": {"traceparent": f"00-{number}"}} if number % 3 else None
        fields = {
            "trace_id": f"Root=1-{number:08x}-bd862e3fe1be46a994272793;Parent={number:016x};Sampled=1"
            if number % 5
            else None,
            "tenant_id": f"tenant-{number}" if number % 2 else None,
            # One has passed, which ends coroutines and streams alone.
            "deadline_ms": str((10**12 if number % 7 == 0 and handler is FUNCTION else 4 * 10**12) + number),
            "arn": f"arn:aws:lambda:eu-west-1:123456789012:function:{number}",
            "client_context": json.dumps(client_context) if client_context else None,
            "identity": json.dumps({"cognitoIdentityId": f"id-{number}"}),
        }
        events.append(event({}, request_id, **fields))
        expected[request_id] = [
            request_id,
            True,
            fields["tenant_id"],
            request_id,
            fields["tenant_id"],
            fields["arn"],
            f"id-{number}",
            client_context["custom"] if client_context else None,
            client_context["w3c"] if client_context else {},
            int(fields["deadline_ms"] or 0),
            True,
            True,
            *[fields["trace_id"]] * 4,
            request_id,
            fields["tenant_id"],
        ]
    with serving(APP + handler, *events) as server:
        answers = server.answers(len(events))
    assert answers.keys() == expected.keys()
    for request_id, found in answers.items():
        assert len(found) == count
        assert all(each == expected[request_id] for each in found), (expected[request_id], found)


def test_an_invocation_is_current_in_its_context_alone_from_its_begin_to_its_end() -> None:
    made = Environment()
    made.__class__ = SharedEnvironment
    one, two = (invocations.invocation(f"id-{number}", tenant_id=f"tenant-{number}") for number in (1, 2))

    def of(invocation: Invocation) -> None:
        made.begin(invocation)
        assert made.invocation is invocation
        assert made.log_ids == (invocation.id, invocation.tenant_id)
        assert invocation in made.in_flight
        if invocation is one:
            copy_context().run(of, two)
            assert made.in_flight == {one}
            assert made.invocation is one
        made.end()
        assert made.invocation is None
        assert made.log_ids == ("", None)

    copy_context().run(of, one)
    assert made.invocation is None
    assert not made.in_flight


def test_work_of_a_pool_keeps_the_invocation_that_has_ended_and_its_threads_keep_none() -> None:
    source = """
        import gc, logging, threading, time, weakref
        from concurrent.futures import ThreadPoolExecutor
        import samovar

        pool, go, kept, ids, threads = ThreadPoolExecutor(1), threading.Event(), [], [], []

        class Keeps(threading.Thread):
            def run(self):
                ids.append(samovar.current().id)

        def late():
            go.wait()
            logging.getLogger().warning("late")
            return samovar.current().id, samovar.current().context.aws_request_id

        def handler(event, context):
            if event == "begins":
                kept.append(weakref.ref(context))
                threads.append(Keeps())
                threads[0].start()
                threads[0].join()
                handler.late = pool.submit(late)
                return
            if event == "goes on":
                go.set()
                return handler.late.result()
            del handler.late
            gc.collect()
            def look():
                thread = threading.Thread(target=lambda: ids.append(samovar.current().id))
                thread.start()
                thread.join()
                return samovar.current().id
            return kept[0]() is None, pool.submit(look).result(), ids
    """
    with serving(source, count=2) as server:
        assert one_by_one(server, 2, "begins", "goes on", "looks") == [
            None,
            ["id-0", "id-0"],
            [True, "id-2", ["id-0", "id-2"]],
        ]
        assert [record["requestId"] for record in server.records if record["message"] == "late"] == ["id-0"]


def test_records_have_the_ids_of_the_invocation_whose_thread_or_task_logs() -> None:
    source = """
        import asyncio, logging, threading
        from concurrent.futures import ThreadPoolExecutor

        pool, together = ThreadPoolExecutor(4), threading.Barrier(8)
        log = logging.getLogger("app")
        log.warning("INIT")

        async def task(event):
            await asyncio.sleep(0)
            log.warning(f"{event} task")

        async def tasks(event):
            await asyncio.gather(task(event), asyncio.to_thread(log.warning, f"{event} to_thread"))

        def handler(event, context):
            together.wait()
            log.warning(f"{event} handler")
            pool.submit(log.warning, f"{event} pool").result()
            thread = threading.Thread(target=log.warning, args=[f"{event} thread"])
            thread.start()
            thread.join()
            asyncio.run(tasks(event))
    """
    places = "handler", "pool", "task", "thread", "to_thread"
    events = [event(number, f"id-{number}", tenant_id=f"tenant-{number}") for number in range(8)]
    with serving(source, *events, count=8) as server:
        server.answers(8)
        found = sorted((record["message"], record["requestId"], record.get("tenantId")) for record in server.records)
    assert found.pop() == ("INIT", "", None)
    assert found == sorted((f"{n} {place}", f"id-{n}", f"tenant-{n}") for n in range(8) for place in places)


def test_outside_an_invocation_there_is_no_current_one() -> None:
    source = """
        import os, threading
        import samovar

        seen, wanted, there = [], threading.Event(), threading.Event()

        def of_init():
            seen.append(samovar.current())
            wanted.wait()
            seen.append(samovar.current())
            seen.append(os.environ.get("_X_AMZN_TRACE_ID"))
            there.set()

        threading.Thread(target=of_init, daemon=True).start()

        def handler(event, context):
            wanted.set()
            there.wait()
            return seen
    """
    with serving(source, event({}, "id-1"), count=1) as server:
        assert server.answers(1) == {"id-1": [None, None, None]}


def test_pools_of_processes_work_as_ever_and_their_callbacks_have_the_invocation() -> None:
    source = """
        from concurrent import futures
        import samovar

        kinds = [getattr(futures, name, None) for name in ("ProcessPoolExecutor", "InterpreterPoolExecutor")]

        def handler(event, context):
            found = []
            for kind in filter(None, kinds):
                called = []
                with kind(1) as pool:
                    future = pool.submit(abs, -1)
                    future.add_done_callback(lambda future: called.append(samovar.current().id))
                    found.append([future.result(), list(pool.map(abs, [-2, -3]))])
                found[-1].append(called)
            return found
    """
    kinds = 2 if sys.version_info >= (3, 14) else 1
    with serving(source, event(1, "id-1"), count=2) as server:
        assert server.answers(1) == {"id-1": [[1, [2, 3], ["id-1"]]] * kinds}
