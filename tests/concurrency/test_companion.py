"""Companions and cache metrics, asked by several invocations at the same time."""

from __future__ import annotations

import json

from tests.concurrency.serving import event, polls, serving


def test_a_companion_is_told_the_ids_of_the_invocation_that_asks_it() -> None:
    source = """
        import sys, textwrap, threading
        from concurrent.futures import ThreadPoolExecutor
        from samovar import Companion

        PROGRAM = '''
        import json, sys
        for number, line in enumerate(sys.stdin):
            context = json.loads(line)["context"]
            data = [context[name] for name in ("awsRequestId", "tenantId", "traceId", "deadlineMs")]
            print(json.dumps({"proc_req_id": number, "error": None, "data": data}), flush=True)
        '''
        with open("program.py", "w") as file:
            file.write(textwrap.dedent(PROGRAM))
        companion = Companion([sys.executable, "program.py"], workers=4)
        pool, together = ThreadPoolExecutor(4), threading.Barrier(8)

        def handler(event, context):
            together.wait()
            return companion.call(event), pool.submit(companion.call, event).result()
    """
    fields = [(f"id-{n}", f"tenant-{n}", f"Root={n}", 4_000_000_000_000 + n) for n in range(8)]
    events = [event(1, of, tenant_id=tenant, trace_id=trace, deadline_ms=str(at)) for of, tenant, trace, at in fields]
    with serving(source, *events, count=8) as server:
        assert server.answers(8) == {each[0]: [list(each)] * 2 for each in fields}


def test_the_metrics_of_a_cache_name_an_invocation_that_read_it() -> None:
    source = """
        import threading
        from samovar import cached

        together = threading.Barrier(4)

        @cached(ttl=60)
        def value(of):
            return of

        def handler(event, context):
            together.wait()
            return value(event)
    """
    with serving(source, *(event(n, f"id-{n}") for n in range(4)), count=4, env={"SAMOVAR_METRICS": "emf"}) as server:
        server.wait_for(lambda: polls(server) == 8)
        lines = [json.loads(line) for line in server.out.splitlines() if "_aws" in line]
    assert {line["requestId"] for line in lines} <= {f"id-{n}" for n in range(4)}
    assert sum(line["CacheMisses"] for line in lines) == sum(line["CacheLoads"] for line in lines) == 4


def test_a_companion_answers_when_the_time_is_up_as_the_code_runs_on() -> None:
    source = """
        import sys
        import samovar

        PROGRAM = (
            "import json, sys\\n"
            "for number, _ in enumerate(sys.stdin):\\n"
            "    print(json.dumps({'proc_req_id': number, 'error': None, 'data': 1}), flush=True)"
        )
        companion, done = samovar.Companion([sys.executable, "-c", PROGRAM]), []

        def handler(event, context):
            samovar.defer(lambda: done.append(companion.call(1)))
            return companion.call(1), done
    """
    with serving(source, *(event(1, f"id-{n}", deadline_ms="1000000000000") for n in range(2)), count=1) as server:
        assert server.answers(2) == {"id-0": [1, []], "id-1": [1, [1]]}
