"""The Valkey server for tests: once `start` returns it answers, and it is the one that was started."""

import socket
import threading
from pathlib import Path

import pytest
import redis

from samovar.local.testing.valkey import Valkey


@pytest.fixture
def valkey() -> Valkey:
    return Valkey()


def test_one_that_runs_is_not_started_again_however_long_it_takes_to_answer(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    with valkey:
        process = valkey._process
        valkey.pause()
        answers, asked = valkey.answers, threading.Event()

        def noted() -> bool:
            answered = answers()
            asked.set()
            return answered

        monkeypatch.setattr(valkey, "answers", noted)
        thread = threading.Thread(target=valkey.start)
        thread.start()
        assert asked.wait(60)
        valkey.resume()
        thread.join(60)
        assert not thread.is_alive()
        assert valkey.answers()
        assert valkey._process is process


def test_another_port_is_taken_when_it_is_in_use_but_not_when_it_is_known(valkey: Valkey) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", valkey.port))
        with valkey:
            assert valkey.port != taken.getsockname()[1]
            assert valkey.answers()
            known = valkey.port
            valkey.kill()
            assert not valkey.answers()
            valkey.start()
            assert valkey.port == known


def test_it_takes_the_servers_own_options() -> None:
    with Valkey("--databases", "3") as valkey, redis.Redis(port=valkey.port) as client:
        assert client.config_get("databases") == {"databases": "3"}


def test_what_keeps_it_from_starting_is_shown(valkey: Valkey, tmp_path: Path) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_text("#!/bin/sh\necho out of tea\nexit 1\n")
    broken.chmod(0o755)
    valkey._binary = str(broken)
    with pytest.raises(RuntimeError, match=r"did not start on port \d+:\nout of tea"), valkey:
        pass
