"""The invocation in flight."""

import threading
from collections.abc import Iterator

import pytest

import samovar
from samovar.environment import environment
from tests import invocations


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    invocations.forget()


def test_outside_the_runtime_no_invocation_is_current() -> None:
    assert samovar.current() is None


def test_the_invocation_in_flight_is_current_in_every_thread_from_its_begin_to_its_end() -> None:
    context = invocations.begin("request-1", tenant_id="tenant", trace_id="Root=1")
    invocation = samovar.current()
    assert invocation is not None
    assert (invocation.id, invocation.tenant_id, invocation.trace_id) == ("request-1", "tenant", "Root=1")
    assert invocation.context is context
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(samovar.current()))
    thread.start()
    thread.join()
    assert found == [invocation]
    environment.end()
    assert samovar.current() is None
