"""The files in deploy/ as the tools read them: each makes a managed function that Samovar runs."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import LAYERS, NODE, ROOT, TOOLS, Run, in_tools

WRAPPER = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/samovar-exec"}
OSLS = ROOT / "deploy" / "tools" / "node_modules" / "osls" / "bin" / "serverless.js"


def resources(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of a template's resources of one kind, by name."""
    found = {name: each for name, each in template["Resources"].items() if each["Type"] == kind}
    return {name: each.get("Properties", {}) for name, each in found.items()}


def function(template: dict[str, Any], runtime: str) -> dict[str, Any]:
    """Return the one function of a runtime."""
    (found,) = (
        each for each in resources(template, "AWS::Lambda::Function").values() if each.get("Runtime") == runtime
    )
    return found


@pytest.fixture(scope="module")
def cdk(run: Run, deploy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the CDK app as `cdk synth` does; return its template and the manifest of its assets."""
    target = tmp_path_factory.mktemp("cdk.out")
    context = json.loads((deploy / "cdk" / "cdk.json").read_text())["context"]
    run(
        TOOLS / "python",
        "app.py",
        cwd=deploy / "cdk",
        CDK_OUTDIR=str(target),
        CDK_CONTEXT_JSON=json.dumps(context),
        JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION="1",
    )
    template, assets = (json.loads((target / f"Samovar.{part}.json").read_text()) for part in ("template", "assets"))
    return template, assets


def test_the_cdk_app_makes_a_managed_function_with_the_layer_and_the_wrapper(cdk: Any) -> None:
    template, _ = cdk
    managed = function(template, "python3.13")
    (layer,) = managed["Layers"]
    assert managed["Environment"]["Variables"] == WRAPPER
    assert resources(template, "AWS::Lambda::LayerVersion")[layer["Ref"]]["CompatibleRuntimes"] == ["python3.13"]


def test_the_cdk_app_makes_an_os_only_function_with_the_bundle(cdk: Any) -> None:
    template, _ = cdk
    (layer,) = function(template, "provided.al2023")["Layers"]
    layers = resources(template, "AWS::Lambda::LayerVersion")
    assert layers[layer["Ref"]]["CompatibleRuntimes"] == ["provided.al2023"]


def test_the_cdk_app_uploads_both_layers_and_builds_the_image_from_its_dockerfile(cdk: Any) -> None:
    template, assets = cdk
    keys = {each["Content"]["S3Key"] for each in resources(template, "AWS::Lambda::LayerVersion").values()}
    assert len(keys) == 2
    (image,) = assets["dockerImages"].values()
    assert image["source"]["dockerFile"] == "image/Dockerfile"


def test_the_cdk_app_rolls_out_gradually_and_back_at_an_alarm(cdk: Any) -> None:
    template, _ = cdk
    (group,) = resources(template, "AWS::CodeDeploy::DeploymentGroup").values()
    assert group["DeploymentConfigName"] == "CodeDeployDefault.LambdaCanary10Percent5Minutes"
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    ((alarm, _),) = resources(template, "AWS::CloudWatch::Alarm").items()
    assert group["AlarmConfiguration"] == {"Alarms": [{"Name": {"Ref": alarm}}], "Enabled": True}
    (alias,) = (each for each in template["Resources"].values() if each["Type"] == "AWS::Lambda::Alias")
    assert "CodeDeployLambdaAliasUpdate" in alias["UpdatePolicy"]


@pytest.fixture(scope="module")
def serverless(run: Run, deploy: Path, endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run `serverless package` in deploy/, with an account that has no stack yet; return what it made."""
    target = tmp_path_factory.mktemp("serverless")
    quiet = {"SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off"}
    run(NODE / "node", OSLS, "package", "--package", target, cwd=deploy, AWS_ENDPOINT_URL=endpoint, **quiet)
    return target


def update_stack(serverless: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((serverless / "cloudformation-template-update-stack.json").read_text())
    return content


def test_serverless_packages_a_managed_function_with_the_layer_and_the_wrapper(serverless: Path) -> None:
    template = update_stack(serverless)
    managed = function(template, "python3.13")
    (layer,) = managed["Layers"]
    assert managed["Environment"]["Variables"] == WRAPPER
    assert resources(template, "AWS::Lambda::LayerVersion")[layer["Ref"]]["CompatibleRuntimes"] == ["python3.13"]
    module = managed["Handler"].rpartition(".")[0]
    assert zipfile.ZipFile(serverless / "managed.zip").namelist() == [f"{module}.py"]


def test_serverless_packages_an_os_only_function_with_the_bundle(serverless: Path) -> None:
    template = update_stack(serverless)
    (layer,) = function(template, "provided.al2023")["Layers"]
    layers = resources(template, "AWS::Lambda::LayerVersion")
    assert layers[layer["Ref"]]["CompatibleRuntimes"] == ["provided.al2023"]


def test_serverless_uploads_the_two_layers_under_two_names(serverless: Path) -> None:
    layers = resources(update_stack(serverless), "AWS::Lambda::LayerVersion").values()
    assert {Path(each["Content"]["S3Key"]).name for each in layers} == set(LAYERS)


def test_serverless_keeps_logs_for_a_month_and_makes_an_iam_url(serverless: Path) -> None:
    template = update_stack(serverless)
    assert {each["RetentionInDays"] for each in resources(template, "AWS::Logs::LogGroup").values()} == {30}
    (url,) = resources(template, "AWS::Lambda::Url").values()
    assert url["AuthType"] == "AWS_IAM"


@pytest.fixture(scope="module")
def pulumi(run: Run, deploy: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Run the Pulumi program; return what it asks for by kind and name."""
    asked = json.loads(in_tools(run, "pulumi_program.py", deploy / "pulumi" / "__main__.py"))
    return {(each["type"].rpartition(":")[2], each["name"]): each["inputs"] for each in asked}


def test_the_pulumi_program_makes_a_managed_function_with_the_layer_and_the_wrapper(pulumi: Any, deploy: Path) -> None:
    managed = pulumi["Function", "managed"]
    assert managed["environment"]["variables"] == WRAPPER
    assert managed["runtime"] == "python3.13"
    assert managed["layers"] == ["arn:samovar"]
    assert Path(pulumi["LayerVersion", "samovar"]["code"]).name == LAYERS[0]


def test_the_pulumi_program_makes_an_os_only_function_with_the_bundle(pulumi: Any) -> None:
    assert pulumi["Function", "os-only"]["runtime"] == "provided.al2023"
    assert pulumi["Function", "os-only"]["layers"] == ["arn:samovar-bundle"]
    assert Path(pulumi["LayerVersion", "samovar-bundle"]["code"]).name == LAYERS[1]


def test_the_pulumi_program_makes_an_alias_and_an_iam_url_for_it(pulumi: Any) -> None:
    assert pulumi["Alias", "live"]["functionVersion"] == "1"
    assert pulumi["FunctionUrl", "live"]["qualifier"] == "live"
    assert pulumi["FunctionUrl", "live"]["authorizationType"] == "AWS_IAM"


def test_every_name_that_the_terraform_files_use_is_declared_and_the_provider_has_each_argument(
    run: Run, deploy: Path
) -> None:
    found = json.loads(in_tools(run, "terraform_files.py", deploy / "terraform"))
    assert set(found["used"]) <= set(found["declared"])
    assert found["wrong"] == []
    assert "aws_lambda_layer_version.samovar" in found["used"]


def test_main_tf_needs_none_of_the_other_terraform_files(run: Run, deploy: Path, tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text((deploy / "terraform" / "main.tf").read_text())
    found = json.loads(in_tools(run, "terraform_files.py", tmp_path))
    assert set(found["used"]) <= set(found["declared"])


def test_an_undeclared_name_and_a_wrong_argument_in_a_terraform_file_are_found(run: Run, tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text("""
resource "aws_lambda_function" "f" {
  layer = [aws_lambda_layer_version.samovar.arn]
  environment {
    variable = { A = var.b }
  }
}
""")
    found = json.loads(in_tools(run, "terraform_files.py", tmp_path))
    assert set(found["used"]) - set(found["declared"]) == {"aws_lambda_layer_version.samovar", "var.b"}
    assert found["wrong"] == [
        "f: aws_lambda_function: no argument layer",
        "f: aws_lambda_function.environment: no argument variable",
        "f: aws_lambda_function: role is missing",
    ]
