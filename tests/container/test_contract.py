"""All contract tests on every Python that has a base image: each interpreter has differences of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.container import engine


@pytest.fixture(scope="module")
def running(
    client: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Any]]:
    """Start the contract suite on each Python that was asked for, all at once: one alone leaves a core idle.

    With `init`, since the processes that a case leaves behind would stay zombies if pytest were process 1.
    """
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    environment = {"CI": os.environ.get("CI", "")}
    containers = {}
    try:
        for version in [item.callspec.params["version"] for item in items]:
            image = engine.contract_image(client, version, tmp_path_factory.mktemp("contract"))
            containers[version] = client.containers.run(
                image, ["-q", "tests/contract"], environment=environment, init=True, detach=True
            )
        yield containers
    finally:
        for container in containers.values():
            container.remove(force=True, v=True)


@pytest.mark.parametrize("version", engine.BASES)
def test_the_contract_holds_on_every_python(running: dict[str, Any], version: str) -> None:
    container = running[version]
    status = container.wait(timeout=600)["StatusCode"]
    assert status == 0, container.logs().decode(errors="replace")
