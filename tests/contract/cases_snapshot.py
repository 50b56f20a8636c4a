"""SnapStart: the hooks that a function registers through snapshot_restore_py, and how an environment ends when one
fails, before the snapshot or after the restore.
"""

from __future__ import annotations

from samovar.local.testing.scripted_api import Answer
from tests.contract.harness import Event, Outcome, Run
from tests.contract.table import Batch, Solo, app

BATCHES: list[Batch] = []

SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
RESTORE = "GET /2018-06-01/runtime/restore/next"

HEAD = """
from snapshot_restore_py import register_after_restore, register_before_snapshot

did = []

def do(*args, **kwargs):
    print(*args, kwargs)
    did.append([args, kwargs])

def handler(event, context):
    return did
"""


def _hooks(source: str, *, env: dict[str, str] | None = None, framed: bool = False) -> Run:
    return Run(app(f"{HEAD}\n{source}"), (Event(), Event()), env={**SNAP_START, **(env or {})}, framed=framed)


def _raising(statement: str) -> dict[str, str]:
    """A failure in a hook of either kind."""
    return {
        kind: f"def fails():\n    {statement}\n\nregister_{kind}(fails)\n"
        for kind in ("before_snapshot", "after_restore")
    }


_RUNS: dict[str, Run] = {
    "no-hooks": Run(app("def handler(event, context):\n    return event\n"), env=SNAP_START),
    "none-registered": _hooks("print('INIT')"),
    "order": _hooks(
        """
for number in range(3):
    register_before_snapshot(do, "before", number)
    register_after_restore(do, "after", number, last=number == 2)
print("INIT")
"""
    ),
    "decorators": _hooks(
        """
@register_before_snapshot
def before():
    do(before.__name__)

@register_after_restore
def after():
    do(after.__name__)

@register_after_restore
class Made:
    def __init__(self):
        do("made")
"""
    ),
    "registered-twice": _hooks("for _ in 1, 2:\n    register_before_snapshot(do)\n    register_after_restore(do)\n"),
    "before-registers-before": _hooks("register_before_snapshot(register_before_snapshot, do, 'inner')\n"),
    "before-registers-after": _hooks("register_before_snapshot(register_after_restore, do, 'inner')\n"),
    "after-registers-after": _hooks(
        "register_after_restore(register_after_restore, do, 'inner')\nregister_after_restore(do, 'last')\n"
    ),
    "after-registers-before": _hooks("register_after_restore(register_before_snapshot, do, 'never')\n"),
    "registered-by-a-module": Run(
        {
            "app.py": "from hooks import did\n\ndef handler(event, context):\n    return did\n",
            "hooks.py": HEAD + "register_before_snapshot(do, 1)\nregister_after_restore(do, 2)\n",
        },
        env=SNAP_START,
    ),
    "registered-in-the-handler": Run(
        app(f"{HEAD}\ndef handler(event, context):\n    register_after_restore(do)\n    return len(did)\n"),
        (Event(), Event()),
        env=SNAP_START,
    ),
    "hooks-log": _hooks(
        """
import logging
register_before_snapshot(logging.error, "before %s", 1)
register_after_restore(logging.error, "after %s", 2)
"""
    ),
    "not-with-on-demand": Run(
        app(f"{HEAD}\nregister_before_snapshot(do)\nregister_after_restore(do)\n"),
        env={"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"},
    ),
    "not-with-provisioned-concurrency": Run(
        app(f"{HEAD}\nregister_before_snapshot(do)\nregister_after_restore(do)\n"),
        env={"AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency"},
    ),
    "init-fails": Run(app(f"{HEAD}\nregister_before_snapshot(do)\n1 / 0\n"), env=SNAP_START),
    "handler-missing": Run(app(HEAD), handler="app.missing", env=SNAP_START),
    "before-fails-first": _hooks(
        """
register_before_snapshot(do, "never")
register_before_snapshot(int, "x")
register_before_snapshot(do, "last")
"""
    ),
    "after-fails-second": _hooks(
        "register_after_restore(do, 'first')\nregister_after_restore(int, 'x')\nregister_after_restore(do, 'never')\n"
    ),
    "after-fails-deep": _hooks(
        """
def outer():
    inner(3)

def inner(n):
    return inner(n - 1) if n else 1 / 0

register_after_restore(outer)
"""
    ),
}
_FAILURES = {
    "exception": "raise ValueError('in a hook')",
    "no-message": "raise KeyError",
    "custom": "raise type('Mine', (Exception,), {})('x', 1)",
    "import": "import no_such_module_at_all",
    "non-ascii": "raise ValueError('naïve 日本')",
    "newlines": "raise ValueError('one\\ntwo\\r\\nX-Evil: 1')",
    "exit": "raise SystemExit(0)",
    "exit-code": "raise SystemExit(7)",
    "keyboard-interrupt": "raise KeyboardInterrupt",
    "base-exception": "raise type('Base', (BaseException,), {})('x')",
    "os-_exit": "import os; os._exit(9)",
    "signal": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
}
_RUNS |= {
    f"{kind.partition('_')[0]}-{name}": _hooks(source)
    for name, statement in _FAILURES.items()
    for kind, source in _raising(statement).items()
}
_ON_BOTH = {"no-hooks", "order", "before-exception", "after-exception", "before-exit", "after-exit"}

SOLOS = [Solo(f"snapshot-{name}", run, urllib3=name in _ON_BOTH) for name, run in _RUNS.items()]
SOLOS += [
    Solo(f"snapshot-{kind}-{form}", _hooks(source, env=env, framed=framed), urllib3=False)
    for kind, source in _raising("raise ValueError('in a hook')").items()
    for form, env, framed in (
        ("json", {"AWS_LAMBDA_LOG_FORMAT": "JSON"}, False),
        ("framed", {}, True),
        ("framed-json", {"AWS_LAMBDA_LOG_FORMAT": "JSON"}, True),
    )
]


def _refused(outcomes: list[Outcome]) -> object:
    (outcome,) = outcomes
    asked, posted = outcome.posts
    return (
        (asked.call, posted.call) == (RESTORE, "POST /2018-06-01/runtime/init/error")
        and posted.error_type == "Runtime.BeforeSnapshotError"
        and b"[ERROR] ApiError: GET /2018-06-01/runtime/restore/next: status 4" in outcome.stdout
        and outcome.exit == 64
    )


def _reseeded(outcomes: list[Outcome]) -> object:
    import random

    init, *handled = outcomes
    return [post.call for post in init.posts] == [RESTORE] and handled[0].value != random.Random(1).random()


def _awaited(outcomes: list[Outcome]) -> object:
    return outcomes[1].value == [[["before"], {}], [["after"], {}]]


def _chained(outcomes: list[Outcome]) -> object:
    (outcome,) = outcomes
    return "cause" not in outcome.posts[-1].body and b"Caused by: ZeroDivisionError" in outcome.stdout


SOLOS += [
    Solo(
        f"snapshot-refused-{status}",
        Run(app(HEAD), env=SNAP_START, answers=((RESTORE, Answer(b"because", status)),)),
        "restore-refused",
        _refused,
    )
    for status in (403, 404)
]
SOLOS += [
    Solo(
        "snapshot-random",
        Run(
            app("import random\nrandom.seed(1)\n\ndef handler(event, context):\n    return random.random()\n"),
            env=SNAP_START,
        ),
        "reseeded",
        _reseeded,
        urllib3=False,
    ),
    Solo(
        "snapshot-coroutines",
        _hooks(
            """
async def work(name):
    do(name)

register_before_snapshot(work, "before")
register_after_restore(work, "after")
"""
        ),
        "hook-coroutine",
        _awaited,
        urllib3=False,
    ),
    *(
        Solo(f"snapshot-{kind}-chained", _hooks(source), "chained", _chained, urllib3=False)
        for kind, source in _raising(
            "try:\n        1 / 0\n    except ZeroDivisionError as e:\n        raise KeyError('k') from e"
        ).items()
    ),
]
