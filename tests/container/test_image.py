"""The container image alone, and AWS's image without the wrapper."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import samovar
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


@pytest.mark.parametrize("buildkit", [False, True], ids=["classic", "buildkit"])
def test_a_checkout_that_only_its_owner_can_read_makes_an_image_for_every_user(
    client: Any, tmp_path: Path, buildkit: bool
) -> None:
    """As git makes one under umask 077."""
    checkout = tmp_path / "checkout"
    engine.copy_checkout(checkout)
    for path in (checkout, *checkout.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)
    base, _ = engine.BASES["3.11"]
    if buildkit:
        try:
            image = engine.build_with_buildkit(checkout, "samovar-test/buildkit", BASE_IMAGE=base)
        except engine.NoEngine as error:
            pytest.skip(str(error))
    else:
        image = engine.build(client, checkout, "samovar-test/classic", buildargs={"BASE_IMAGE": base})
    with Environment(client, image, ["app.handler"], mounts={engine.TASK: "/var/task"}) as environment:
        assert environment.invoke({"do": "hello"})["uid"] == 54321


def refused(client: Any, image: str, *command: str, **variables: str) -> tuple[int, str]:
    """Run the image, which ends at once; return its exit status and what it printed."""
    container = client.containers.run(image, list(command), environment=variables, detach=True)
    try:
        return container.wait(timeout=60)["StatusCode"], container.logs().decode()
    finally:
        container.remove(force=True, v=True)


def test_without_a_handler_it_says_in_one_line_what_is_missing(
    client: Any, samovar_image: Callable[[str], str]
) -> None:
    for variables in ({}, {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}):
        status, said = refused(client, samovar_image("3.11"), **variables)
        assert status == 2
        assert said.startswith('samovar: no handler: end the Dockerfile with CMD ["app.handler"], or run docker run ')
        assert said.count("\n") == 1


def test_more_than_one_argument_is_refused(client: Any, samovar_image: Callable[[str], str]) -> None:
    status, said = refused(client, samovar_image("3.11"), "exec:./main", "--fast")
    assert status == 2
    assert said == (
        "samovar: one argument is wanted, the handler, not 2 (exec:./main --fast): "
        "a program has its arguments in it, as in 'exec:./main --fast'\n"
    )


def test_labels_say_what_the_image_is(client: Any, samovar_image: Callable[[str], str]) -> None:
    labels = client.images.get(samovar_image("3.11")).labels
    assert all(name.startswith("org.opencontainers.image.") for name in labels)
    said = {name.rpartition(".")[2]: value for name, value in labels.items()}
    assert set(said) == {"title", "description", "version", "source", "licenses", "revision"}
    assert said["version"] == samovar.__version__
    assert said["licenses"] == "Apache-2.0 AND MIT AND MPL-2.0"


def test_its_bill_of_materials_names_the_image_and_all_that_is_in_it(
    client: Any, samovar_image: Callable[[str], str], tmp_path: Path
) -> None:
    name = samovar_image("3.11")
    command = [sys.executable, "-I", engine.ROOT / "tools" / "sbom.py", "image", name, tmp_path / "image.cdx.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "image.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    image = bom["metadata"]["component"]
    assert (image["type"], image["name"], image["version"]) == ("container", name, samovar.__version__)
    assert f"sha256:{image['hashes'][0]['content']}" == client.images.get(name).id
    assert image["licenses"] == [{"expression": "Apache-2.0 AND MIT AND MPL-2.0"}]
    listed = client.containers.run(
        name,
        ["-c", "dpkg-query --show --showformat '${Package} ${Version}\\n'; sha256sum /usr/local/bin/aws-lambda-rie"],
        entrypoint="/bin/sh",
        remove=True,
    )
    *packages, emulator = listed.decode().splitlines()
    found = {row["name"]: row for row in bom["components"]}
    assert len(packages) > 50
    assert {f"{row['name']} {row['version']}" for row in found.values() if "pkg:deb" in row.get("purl", "")} == {
        *packages
    }
    assert found["aws-lambda-rie"]["hashes"][0]["content"] == emulator.split()[0]
    assert {"samovar", "orjson", "urllib3", "debian"} <= set(found)


def test_it_has_the_licences_of_the_emulator(client: Any, samovar_image: Callable[[str], str]) -> None:
    listed = client.containers.run(
        samovar_image("3.11"), ["/usr/local/share/doc/aws-lambda-rie"], entrypoint="/bin/ls", user="54321", remove=True
    )
    assert listed.split() == [b"LICENSE", b"NOTICE"]


def folder(path: Path, **files: str) -> Path:
    """Write a folder that every user can read, and whose files every user can execute."""
    for name, content in files.items():
        (path / name.replace("_", ".")).write_text(content)
        (path / name.replace("_", ".")).chmod(0o755)
    path.chmod(0o755)
    return path


def test_alone_it_runs_as_lambdas_user(client: Any, samovar_image: Callable[[str], str], tmp_path: Path) -> None:
    """And that user can open the standard streams, which the engine gave to root."""
    app = "import os\n\ndef handler(event, context):\n    open('/dev/stderr', 'w').write('opened')\n"
    app += "    return os.getresuid()\n"
    mounts = {folder(tmp_path, app_py=app): "/var/task"}
    with Environment(client, samovar_image("3.11"), ["app.handler"], mounts=mounts, user="") as environment:
        assert environment.invoke({}) == [993, 993, 993]
        environment.wait_log("opened")


def test_a_traceback_has_line_ends_under_the_emulator(
    client: Any, samovar_image: Callable[[str], str], tmp_path: Path
) -> None:
    """In Lambda they are carriage returns, which CloudWatch takes for line ends within one event."""
    mounts = {folder(tmp_path, app_py="def handler(event, context):\n    raise ValueError('wrong')\n"): "/var/task"}
    with Environment(client, samovar_image("3.11"), ["app.handler"], mounts=mounts) as environment:
        assert environment.invoke({})["errorType"] == "ValueError"
        log = environment.wait_log("REPORT RequestId")
    assert "[ERROR] ValueError: wrong\nTraceback (most recent call last):\n" in log
    assert "\r" not in log


def test_an_exec_wrapper_is_honoured(client: Any, samovar_image: Callable[[str], str], tmp_path: Path) -> None:
    app = "import sys\n\ndef handler(event, context):\n    return sys._xoptions\n"
    wrapper = '#!/bin/sh\npython=$1\nshift\nexec "$python" -X wrapped "$@"\n'
    mounts = {folder(tmp_path, app_py=app, wrapper=wrapper): "/var/task"}
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"}
    with Environment(client, samovar_image("3.11"), ["app.handler"], mounts=mounts, env=variables) as environment:
        assert environment.invoke({}) == {"wrapped": True}


@pytest.mark.parametrize(("wrapper", "status"), [("/no/such/wrapper", 127), ("/etc/passwd", 126)])
def test_an_exec_wrapper_that_cannot_run_is_named(
    client: Any, samovar_image: Callable[[str], str], wrapper: str, status: int
) -> None:
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": wrapper, "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}
    ended, said = refused(client, samovar_image("3.11"), "app.handler", **variables)
    assert ended == status
    assert said.startswith(f"samovar: the exec wrapper {wrapper} ")


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
