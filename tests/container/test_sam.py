"""The SAM template with the real SAM CLI, without credentials: it is valid, it builds, and the result runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.container import engine
from tests.container.engine import ROOT, Environment

EVENT = {"requestContext": {"http": {"method": "GET", "path": "/greeting"}}}


def sam(
    *arguments: str, folder: Path = ROOT / "deploy", status: int = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `sam …` in `folder`, and check its exit status. Installs the CLI if it is missing."""
    engine.install_sam()
    hidden = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE", "MFLAGS"))}
    nowhere = {
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    environment = hidden | nowhere | {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-west-1"} | variables
    command: list[Any] = [ROOT / ".venv-sam" / "bin" / "sam", *arguments]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def built(
    client: Any,
    samovar_image: Callable[[str], str],
    prefix: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Run `sam build`, with Debian's Python 3.11 for the layer that includes one; return the result."""
    client.images.get(samovar_image("3.11")).tag("samovar")
    target = tmp_path_factory.mktemp("sam")
    variables = {"BASE": "debian12", "PYTHON_PREFIX": str(prefix("3.11"))}
    variables["BYTECODE_IMAGE"] = engine.BASES["3.11"][0]
    done = sam("build", "--build-dir", str(target), "--parameter-overrides", "Runtime=python3.11", **variables)
    assert "Build Succeeded" in done.stdout + done.stderr
    return target


def mounts(built: Path, function: str, layer: str, emulator: str) -> dict[str, str]:
    return {
        str(built / function): "/var/task",
        str(built / layer): "/opt",
        emulator: "/usr/local/bin/aws-lambda-rie",
    }


def test_the_template_is_valid() -> None:
    done = sam("validate", "--lint")
    assert "is a valid SAM Template" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "parameter", "asked"),
    [("PYTHON_VERSION", "3.11", "Runtime=python3.13", "3.13"), ("ARCH", "x86_64", "Architecture=arm64", "arm64")],
)
@pytest.mark.parametrize("layer", ["SamovarLayer", "SamovarBundleLayer"])
def test_a_layer_for_anything_but_the_templates_parameters_is_refused_in_one_line(
    tmp_path: Path, layer: str, variable: str, value: str, parameter: str, asked: str
) -> None:
    options = ["--build-dir", str(tmp_path), "--parameter-overrides", parameter]
    done = sam("build", layer, *options, status=1, **{variable: value})
    name = parameter.partition("=")[0]
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if variable in line]
    assert f"{variable}={value}, but the template's parameter {name} says {asked}: leave {variable} out" in line


def test_the_layers_folders_are_those_that_the_parameters_can_name() -> None:
    template = (ROOT / "deploy" / "template.yaml").read_text()
    listed = [
        re.search(rf"{name}:\n.*\n.*\n +AllowedValues: \[(.*)\]", template) for name in ("Runtime", "Architecture")
    ]
    runtimes, architectures = (found[1].split(", ") for found in listed if found)
    folders = {path.parent.name for path in (ROOT / "deploy" / "layer").glob("*/Makefile")}
    assert folders == {f"{runtime}-{architecture}" for runtime in runtimes for architecture in architectures}


def test_the_managed_function_runs(
    client: Any, built: Path, emulator: str, official_image: Callable[[str], str]
) -> None:
    parts = mounts(built, "ManagedFunction", "SamovarLayer", emulator)
    wrapper = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/samovar-exec"}
    with Environment(client, official_image("3.11"), ["app.handler"], mounts=parts, env=wrapper) as environment:
        assert environment.invoke(EVENT)["body"] == "Hello from Samovar"


def test_the_os_only_function_runs(client: Any, built: Path, emulator: str) -> None:
    parts = mounts(built, "OsOnlyFunction", "SamovarBundleLayer", emulator)
    variables = {"LAMBDA_TASK_ROOT": "/var/task", "_HANDLER": "app.handler"}
    command = ["/usr/local/bin/aws-lambda-rie"]
    with Environment(client, engine.OS_ONLY, entrypoint=command, mounts=parts, env=variables) as environment:
        assert environment.invoke(EVENT)["body"] == "Hello from Samovar"


def test_the_image_function_runs(client: Any, built: Path) -> None:
    with Environment(client, "imagefunction:latest") as environment:
        assert environment.invoke(EVENT)["body"] == "Hello from Samovar"


def test_the_image_function_has_its_bytecode(client: Any, built: Path) -> None:
    """/var/task is read-only in Lambda, so that every cold start would compile it anew."""
    listed = client.containers.run("imagefunction:latest", entrypoint=["ls", "/var/task/__pycache__"], remove=True)
    assert re.fullmatch(rb"app\.cpython-3\d+\.pyc\n", listed)


def test_sam_local_invoke_runs_the_image_as_it_stands(built: Path, tmp_path: Path) -> None:
    """SAM builds on the image, with its own emulator. The last line is the emulator's, and no error of ours."""
    event = tmp_path / "event.json"
    event.write_text(json.dumps(EVENT))
    done = sam("local", "invoke", "ImageFunction", "--template", str(built / "template.yaml"), "--event", str(event))
    assert json.loads(done.stdout)["body"] == "Hello from Samovar"
    assert done.stderr.strip().splitlines()[-1].startswith("REPORT RequestId: ")
    assert "samovar: " not in done.stderr


def test_sam_local_invoke_shows_what_failed(client: Any, built: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text('FROM samovar\nCOPY app.py .\nCMD ["app.handler"]\n')
    (tmp_path / "app.py").write_text("def handler(event, context):\n    raise ValueError('wrong')\n")
    image = engine.build(client, tmp_path, "samovar-test/fails")
    template = tmp_path / "template.json"
    properties = {"PackageType": "Image", "ImageUri": f"{image}:latest"}
    resource = {"Type": "AWS::Serverless::Function", "Properties": properties}
    template.write_text(json.dumps({"Transform": "AWS::Serverless-2016-10-31", "Resources": {"Fails": resource}}))
    done = sam("local", "invoke", "Fails", "--template", str(template))
    assert json.loads(done.stdout)["errorType"] == "ValueError"
    lines = done.stderr.strip().splitlines()
    assert "[ERROR] ValueError: wrong" in lines
    assert "Traceback (most recent call last):" in lines
    assert lines[-1].startswith("REPORT RequestId: ")
