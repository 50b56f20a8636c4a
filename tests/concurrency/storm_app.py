"""The function of test_storm.py. Each answer says whose it is, by everything that an invocation has."""

import asyncio
import os
import threading
import time

import samovar

loads = []
deferred = set()
lock = threading.Lock()


@samovar.cached(ttl=600)
def configuration():
    with lock:
        loads.append(1)
    time.sleep(0.05)
    return 7


def answer(event, context):
    current = samovar.current()
    return {
        "n": event["n"],
        "blob": event["blob"],
        "ids": sorted({context.aws_request_id, current.id, current.trace_id[5:], current.tenant_id[7:]}),
        "loads": len(loads),
        "pid": os.getpid(),
        "value": configuration(),
    }


def handler(event, context):
    match event["kind"]:
        case "slow":
            time.sleep(0.01)
        case "fail":
            raise ValueError(context.aws_request_id)
        case "crash":
            raise GeneratorExit(context.aws_request_id)
        case "stream":
            return stream(event, context)
        case "break":
            return broken(event, context)
        case "defer":
            samovar.defer(note, samovar.current().id)
        case "exit":
            os._exit(3)
    return answer(event, context)


def note(request_id):
    if samovar.current().id != request_id:
        os._exit(9)  # seen as a runtime that has ended


def stream(event, context):
    yield f"{context.aws_request_id} "
    time.sleep(0.001)
    yield samovar.current().id


def broken(event, context):
    yield f"{context.aws_request_id} "
    raise ValueError(context.aws_request_id)


async def async_handler(event, context):
    match event["kind"]:
        case "slow":
            await asyncio.sleep(0.01)
        case "fail":
            raise ValueError(context.aws_request_id)
        case "defer":
            samovar.defer(note, samovar.current().id)
    await asyncio.sleep(0)
    return answer(event, context)
