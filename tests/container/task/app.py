"""The function in the container tests: one handler, and the event says what it does."""

import os
import sys

import samovar

calls = 0
loads = 0


@samovar.cached(ttl=600)
def slow_table(name):
    global loads
    loads += 1
    return {"name": name, "load": loads}


def handler(event, context):
    global calls
    calls += 1
    return {"calls": calls, **globals()[event["do"]](event)}


def hello(event):
    return {
        "pid": os.getpid(),
        "uid": os.getuid(),
        "python": "{}.{}".format(*sys.version_info),
        "executable": sys.executable,
        "official_client": "awslambdaric" in sys.modules,
    }


def cache(event):
    return {"first": slow_table("de"), "second": slow_table("de"), "loads": loads}


def fail(event):
    raise ValueError("as asked")


def write(event):
    """Return where files can be written."""
    answers = {}
    for folder in ("/var/task", "/opt", "/tmp", "/home", "/"):
        try:
            with open(folder + "/x", "w") as file:
                file.write("x")
            answers[folder] = True
        except OSError:
            answers[folder] = False
    return {"written": answers}


def eat(event):
    """Use more memory than the container has."""
    pages = []
    while True:
        pages.append(bytearray(os.urandom(1 << 20)))


def found(event):
    """Return where modules come from, which shows the order of sys.path."""
    names = {}
    for name in event["modules"]:
        names[name] = __import__(name).__file__
    return {"found": names, "path": sys.path}


def mapped(event):
    """Return the shared objects in this process after importing these modules."""
    for name in event["modules"]:
        __import__(name)
    with open("/proc/self/maps") as maps:
        paths = {line.split()[-1] for line in maps if ".so" in line}
    return {"mapped": sorted(paths)}


def uncompiled(event):
    """Return Samovar's loaded modules whose bytecode was not shipped."""
    import importlib.util

    ours = [m for name, m in sorted(sys.modules.items()) if name.partition(".")[0] in ("samovar", "orjson", "urllib3")]
    origins = [m.__spec__.cached for m in ours if m.__spec__.cached]
    with open(f"/opt/samovar/lib/samovar/cold.{sys.implementation.cache_tag}.bin", "rb") as file:
        cold = file.read().startswith(importlib.util.MAGIC_NUMBER)
    return {
        "cold_path_fits": cold,
        "ours": [m.__name__ for m in ours],
        "uncompiled": [path for path in origins if not os.path.exists(path)],
    }


@samovar.on_shutdown
def goodbye():
    print(f"goodbye after {calls} calls", flush=True)
