"""A child process that is forked while other threads load, or are in the middle of a change."""

import os
import signal
import threading
import warnings

import pytest

from samovar.caching import TTLCache, flight

TIMEOUT = 60  # s; only a deadlock reaches it


def in_child(f):
    """f() in a forked child: what it returned, as its exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: fork() in a process with threads
        pid = os.fork()
    if pid == 0:
        signal.alarm(TIMEOUT)
        code = 99
        try:
            code = f()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def elsewhere():
    """elsewhere(f) runs f(go) in another thread, which is to end when `go` is set."""
    go, threads = threading.Event(), []

    def run(f):
        begun = threading.Event()
        threads.append(threading.Thread(target=lambda: f(begun, go), daemon=True))
        threads[-1].start()
        assert begun.wait(TIMEOUT)

    yield run
    go.set()
    for thread in threads:
        thread.join(TIMEOUT)


def test_a_key_that_another_thread_is_loading(elsewhere):
    store = TTLCache(ttl=60)
    store.set("held", 3)
    elsewhere(lambda begun, go: store.get_or_load("key", lambda: begun.set() or (go.wait(TIMEOUT) and 1)))

    def child():
        assert store.get("held") == 3
        assert store.get_or_load("key", lambda: 7) == 7
        return store.get("key")

    assert in_child(child) == 7


def test_a_lock_that_another_thread_holds(elsewhere):
    store = TTLCache(ttl=60)
    store.set("held", 3)

    def change(begun, go):
        with store._lock, flight._graph:
            begun.set()
            go.wait(TIMEOUT)

    elsewhere(change)

    def child():
        store.set("key", 5)  # what was held may be half a change, and has gone
        assert store.get("held") is None
        return store.get("key") + store.get_or_load("other", lambda: 2)

    assert in_child(child) == 7
    assert store._entries.keys() == {"held"}


def test_inside_a_loader():
    store = TTLCache(ttl=60)

    def loader():
        return in_child(lambda: store.get_or_load("key", lambda: 7))

    assert store.get_or_load("key", loader) == 7


def test_a_refresh_that_was_queued_in_the_parent(clocks, runtime):
    store = clocks.cache(ttl=10)
    store.get_or_load("key", lambda: 1, stale=60)
    clocks.run(10)
    assert store.get_or_load("key", lambda: 2, stale=60) == 1

    def child():
        from samovar import hooks

        hooks.forget()  # as the runtime does in a child
        store.get_or_load("key", lambda: 3, stale=60)
        hooks.run_deferred()
        return store.get("key")

    assert in_child(child) == 3
    runtime()
    assert store.get("key") == 2
