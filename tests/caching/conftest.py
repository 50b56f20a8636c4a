import pytest

from samovar import hooks, logs
from samovar.environment import environment
from tests.caching.clock import Clocks


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
def runtime(monkeypatch):
    """As inside the runtime: what is deferred waits until the test calls the returned function, as the loop does after
    a response.
    """
    monkeypatch.setattr(environment, "running", True)
    monkeypatch.setattr(hooks, "_watch_sigterm", lambda: None)
    yield hooks.run_deferred
    hooks._deferred.clear()


@pytest.fixture(scope="session")
def _valkey_server():
    from samovar.local.testing.valkey import Valkey

    with Valkey() as server:
        yield server


@pytest.fixture
def valkey(_valkey_server):
    """A real Valkey server with nothing in it, running again whatever a test did to it."""
    import redis

    _valkey_server.resume()
    _valkey_server.start()
    with redis.Redis(port=_valkey_server.port, socket_timeout=60) as client:
        client.flushall()
        _valkey_server.client = client
        yield _valkey_server


@pytest.fixture
def said(monkeypatch):
    """What was written to the log: (level, message)."""
    lines = []
    monkeypatch.setattr(logs, "record", lambda level, message: lines.append((level, message)))
    return lines
