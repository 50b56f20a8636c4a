import pytest

from samovar import hooks
from tests.cache.clock import Clocks


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
def runtime(monkeypatch):
    """As inside the runtime: what is deferred waits until the test calls the returned function, as the loop does after
    a response.
    """
    monkeypatch.setattr(hooks, "in_runtime", lambda: True)
    monkeypatch.setattr(hooks, "_watch_sigterm", lambda: None)
    yield hooks.run_deferred
    hooks._deferred.clear()
