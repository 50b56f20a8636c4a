"""The container image alone, and AWS's image without the wrapper."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samovar.local.testing.scripted_api import ScriptedRuntimeApi, invocation
from tests.container import engine
from tests.container.engine import Environment


def test_a_users_dockerfile_is_three_lines(client: Any, samovar_image: Callable[[str], str], tmp_path: Path) -> None:
    """They are in the Dockerfile's first comment; the image has the name that a user would give it."""
    comment = (engine.ROOT / "Dockerfile").read_text()
    lines = re.findall(r"^#   ((?:FROM|COPY|CMD) .*)$", comment, re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["FROM", "COPY", "CMD"]
    client.images.get(samovar_image("3.11")).tag("samovar")
    shutil.copy(engine.TASK / "app.py", tmp_path)
    (tmp_path / "Dockerfile").write_text("\n".join(lines) + "\n")
    image = engine.build(client, tmp_path, "samovar-test/user")
    with Environment(client, image) as environment:
        assert environment.invoke({"do": "hello"})["calls"] == 1


def test_in_lambda_the_runtime_is_alone(client: Any, samovar_image: Callable[[str], str]) -> None:
    """If the Runtime API is given, process 1 is the runtime and no emulator runs."""
    with ScriptedRuntimeApi() as api:
        api.push(invocation({"do": "hello"}))
        container = client.containers.run(
            samovar_image("3.11"),
            ["app.handler"],
            detach=True,
            read_only=True,
            network_mode="host",
            environment={"AWS_LAMBDA_RUNTIME_API": api.address},
            volumes={str(engine.TASK): {"bind": "/var/task", "mode": "ro"}},
        )
        try:
            api.wait(lambda requests: any(request.call.endswith("/invocation/ID/response") for request in requests))
            (response,) = (r for r in api.posted() if r.call.endswith("/invocation/ID/response"))
            assert json.loads(response.body)["pid"] == 1
            processes = container.top()["Processes"]
            assert len(processes) == 1
            assert "aws-lambda-rie" not in str(processes)
        finally:
            container.remove(force=True, v=True)


def test_the_image_adds_little_to_its_base(client: Any, samovar_image: Callable[[str], str]) -> None:
    """The emulator is 8 MB of the difference."""
    sizes = [client.images.get(name).attrs["Size"] for name in (samovar_image("3.11"), engine.BASES["3.11"][0])]
    assert 0 < sizes[0] - sizes[1] < 15_000_000


@pytest.mark.parametrize("version", engine.BASES)
def test_without_the_variable_a_managed_function_has_awss_client(
    client: Any, emulator: str, official_image: Callable[[str], str], opt: Callable[[str], Path], version: str
) -> None:
    """The way back: the same image and layer, AWS_LAMBDA_EXEC_WRAPPER removed."""
    mounts = {engine.TASK: "/var/task", opt(version): "/opt", emulator: "/usr/local/bin/aws-lambda-rie"}
    with Environment(client, official_image(version), ["plain.handler"], mounts=mounts) as environment:
        assert environment.invoke({}) == {"official_client": True, "python": version}
