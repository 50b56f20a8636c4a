"""An invocation is handed on to the threads that it starts, and to the work and the callbacks that it gives to a pool.

Only the invocation: what else a function keeps in context variables is as Python has it. asyncio's tasks have a copy of
their maker's context, and need nothing. Knows threading and concurrent.futures, and nothing of the runtime.
"""

from __future__ import annotations

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from threading import Thread
from types import MethodType
from typing import TYPE_CHECKING, Any

from samovar.concurrency.current import variable

if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.invocation import Invocation

# What was there before: of the standard library, or of an agent.
_start: Callable[[Thread], None]
_submit: Callable[..., Future[Any]]
_add_done_callback: Callable[[Future[Any], Callable[[Future[Any]], object]], None]
_is_set_up = False
_submitting: ContextVar[bool] = ContextVar("samovar.submitting", default=False)


def set_up() -> None:
    """Have it handed on from now on. Only the first call does that: an agent may then have replaced the same."""
    global _start, _submit, _add_done_callback, _is_set_up
    if _is_set_up:
        return
    _is_set_up = True
    _start, _submit, _add_done_callback = Thread.start, ThreadPoolExecutor.submit, Future.add_done_callback
    Thread.start = start  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = submit  # type: ignore[method-assign, assignment]
    Future.add_done_callback = add_done_callback  # type: ignore[method-assign]


def start(self: Thread) -> None:
    """Start a thread, whose invocation is that of the caller."""
    own = variable.get()
    if own is None:
        return _start(self)
    if _submitting.get():  # a thread of a pool, which has no invocation between two calls
        return copy_context().run(_start_without, self)
    replaced = self.__dict__.get("run")
    inner = self.run

    def restore() -> None:
        if replaced is not None:
            self.run = replaced  # type: ignore[method-assign]
        else:
            self.__dict__.pop("run", None)

    def run(self: Thread) -> None:
        # A Thread that is kept when it has ended, and from Python 3.14 on its context with it, keeps no invocation.
        restore()
        variable.set(own)
        try:
            inner()
        finally:
            variable.set(None)

    # A method, as agents that replace it as well call what is below with the thread.
    self.run = MethodType(run, self)  # type: ignore[method-assign]
    try:
        _start(self)
    except BaseException:
        restore()
        raise


def _start_without(self: Thread) -> None:
    """Start a thread without an invocation, also where it has a copy of this context (Python 3.14, free-threaded)."""
    variable.set(None)
    _submitting.set(False)
    _start(self)


def submit(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    """Submit a call, whose invocation is that of the caller."""
    own = variable.get()
    if own is None:
        return _submit(self, fn, *args, **kwargs)
    token = _submitting.set(True)
    try:
        return _submit(self, fn if _is_elsewhere(self) else _with(own, fn), *args, **kwargs)
    finally:
        _submitting.reset(token)


def add_done_callback(self: Future[Any], fn: Callable[[Future[Any]], object]) -> None:
    """Add a callback, whose invocation is that of the caller, in whichever thread it is called."""
    own = variable.get()
    _add_done_callback(self, fn if own is None else _with(own, fn))


def _with(own: Invocation, fn: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        token = variable.set(own)
        try:
            return fn(*args, **kwargs)
        finally:
            variable.reset(token)

    return call


def _is_elsewhere(pool: ThreadPoolExecutor) -> bool:
    """Return whether a pool's calls run in interpreters of their own, which get them pickled."""
    module = sys.modules.get("concurrent.futures.interpreter")  # from Python 3.14 on
    return module is not None and isinstance(pool, module.InterpreterPoolExecutor)
