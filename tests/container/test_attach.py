"""Sentry in real containers: AWS's image with the official client and with the layer, and the project's two images."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.attach import harness
from tests.attach.test_sentry import AT_INIT, IN_AN_EVENT, seen
from tests.container import engine


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Any]]:
    """What Sentry and the Runtime API got from a function in an image."""

    def run(function: harness.Function, image: str, *options: str) -> list[Any]:
        if names := harness.missing(function):
            pytest.skip(f"run make attach: build/attach has no {', '.join(names)}")
        root = tmp_path_factory.mktemp("task")
        for package in function.packages:
            shutil.copytree(harness.SITES / package, root, dirs_exist_ok=True)
        for name, text in function.files.items():
            (root / name).write_text(text)
        root.chmod(0o755)  # the image's user is not this one
        container = f"samovar-test-{uuid.uuid4().hex}"
        env = {**function.env, "PATH": "/usr/local/bin:/usr/bin:/bin", "LAMBDA_TASK_ROOT": "/var/task"}
        names = ["AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", *function.env]
        command = [
            "docker",
            "run",
            "--name",
            container,
            "--network",
            "host",
            "--volume",
            f"{root}:/var/task:ro",
        ]
        command += [argument for name in names for argument in ("--env", name)]
        try:
            return seen(harness._run(function, [*command, *options, image, function.handler], env, str(root)))
        finally:
            subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=True)

    return run


OFFICIAL = ("--entrypoint", "/var/runtime/bootstrap", "--env", "_HANDLER=app.handler")  # without the emulator


@pytest.mark.parametrize("version", engine.BASES)
@pytest.mark.parametrize("function", [AT_INIT, IN_AN_EVENT], ids=["init at INIT", "init in an event"])
def test_sentry_gets_the_same_from_the_layer_and_the_image(
    record: Callable[..., list[Any]],
    official_image: Callable[[str], str],
    samovar_image: Callable[[str], str],
    opt: Callable[[str], Path],
    version: str,
    function: harness.Function,
) -> None:
    expected = record(function, official_image(version), *OFFICIAL)
    layer = ["--volume", f"{opt(version)}:/opt:ro", "--env", "AWS_LAMBDA_EXEC_WRAPPER=/opt/samovar-exec"]
    assert record(function, official_image(version), *OFFICIAL, *layer) == expected
    assert record(function, samovar_image(version)) == expected
    assert any(isinstance(step, list) for step in expected)


def test_sentry_gets_the_same_from_the_os_image(
    record: Callable[..., list[Any]], official_image: Callable[[str], str], os_image: str
) -> None:
    assert record(AT_INIT, os_image) == record(AT_INIT, official_image("3.11"), *OFFICIAL)
