"""deploy/web: a web application behind each source, as SAM, CDK and Terraform read it; what SAM builds answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samovar.local.rie import RIE
from tests.attach.harness import SITES, version
from tests.container.engine import install_sam
from tests.container.test_sam import sam
from tests.deploy.conftest import ROOT, TOOLS, Run, in_tools
from tests.deploy.test_tools import resources
from tests.handler import events

WEB = ROOT / "deploy" / "web"
LAYER = "arn:aws:lambda:eu-west-1:123456789012:layer:samovar-python313-x86_64:1"
RUNTIME = f"python3.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run `sam build` without a network: the packages that it would fetch are those that `make attach` has installed.
    Return the folder of the function that answers as a whole.
    """
    if not (SITES / "web" / ".done").exists():
        pytest.skip("run make attach: build/attach has no web")
    web, target = tmp_path_factory.mktemp("web"), tmp_path_factory.mktemp("sam")
    shutil.copytree(WEB, web, dirs_exist_ok=True)
    (web / "src" / "requirements.txt").write_text("")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    overrides = ["--parameter-overrides", f"Runtime={RUNTIME}", f"SamovarLayer={LAYER}"]
    sam("build", "Whole", "--build-dir", str(target), *overrides, folder=web, PATH=path)
    for package in (SITES / "web").iterdir():
        (target / "Whole" / package.name).symlink_to(package)
    return target / "Whole"


def test_the_application_has_the_fastapi_that_is_tested() -> None:
    needed = (WEB / "src" / "requirements.txt").read_text().splitlines()[-1]
    assert needed == f"fastapi=={version('web', 'fastapi')}"


def get(path: str, make: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    event = make(rawPath=path, rawQueryString="", body=None)
    event["requestContext"]["http"]["method"] = "GET"
    return event


def test_what_sam_builds_answers_and_streams(built: Path, environment: Callable[..., RIE]) -> None:
    whole = environment("asgi:main:app", task_root=built)
    answer = whole.invoke(get("/greeting", events.http_api)).json()
    assert (answer["statusCode"], answer["body"]) == (200, '{"greeting":"Hello from Samovar"}')
    streamed = environment("asgi:main:app", task_root=built, env={"SAMOVAR_RESPONSE_MODE": "stream"})
    _, _, body = streamed.invoke(get("/words", events.function_url)).body.partition(bytes(8))
    assert body == b"one\ntwo\nthree\n"


def test_the_sam_template_is_valid() -> None:
    done = sam("validate", "--lint", folder=WEB)
    assert "is a valid SAM Template" in done.stdout + done.stderr


def settings(template: dict[str, Any]) -> dict[str, Any]:
    """Return what a CloudFormation template sets for each source, in the words of docs/web.md."""
    urls = resources(template, "AWS::Lambda::Url").values()
    groups = resources(template, "AWS::ElasticLoadBalancingV2::TargetGroup").values()
    functions = resources(template, "AWS::Lambda::Function").values()
    return {
        "handlers": sorted({each["Handler"] for each in functions if "Handler" in each and ":" in each["Handler"]}),
        "modes": sorted(
            each["Environment"]["Variables"].get("SAMOVAR_RESPONSE_MODE", "buffered")
            for each in functions
            if "Environment" in each
        ),
        "urls": sorted(each["InvokeMode"] for each in urls),
        "target groups": [each["TargetGroupAttributes"] for each in groups],
    }


SETTINGS = {
    "handlers": ["asgi:main:app"],
    "modes": ["buffered", "stream"],
    "urls": ["BUFFERED", "RESPONSE_STREAM"],
    "target groups": [[{"Key": "lambda.multi_value_headers.enabled", "Value": "true"}]],
}


def test_the_sam_template_sets_each_source_as_the_page_says() -> None:
    install_sam()
    program = ROOT / "tests" / "deploy" / "in_tools" / "sam_translate.py"
    done = subprocess.run(
        [ROOT / ".venv-sam" / "bin" / "python", program, WEB / "template.yaml", json.dumps({"SamovarLayer": LAYER})],
        env={"AWS_DEFAULT_REGION": "eu-west-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    template = json.loads(done.stdout)
    assert settings(template) == SETTINGS
    (rest,) = resources(template, "AWS::ApiGateway::RestApi").values()
    integrations = [path["x-amazon-apigateway-any-method"] for path in rest["Body"]["paths"].values()]
    assert len(integrations) == 2
    for each in integrations:
        integration = each["x-amazon-apigateway-integration"]
        assert integration["responseTransferMode"] == "STREAM"
        assert "path/2021-11-15/" in json.dumps(integration["uri"])
        assert "/response-streaming-invocations" in json.dumps(integration["uri"])
    (api,) = resources(template, "AWS::ApiGatewayV2::Api").values()
    (path,) = api["Body"]["paths"].values()
    integration = path["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"]
    assert integration["payloadFormatVersion"] == "2.0"


def test_the_cdk_app_sets_each_source_as_the_page_says(run: Run, tmp_path: Path) -> None:
    app, out = tmp_path / "cdk", tmp_path / "out"
    shutil.copytree(WEB / "cdk", app, ignore=shutil.ignore_patterns("build", "cdk.out"))
    (app / "build").mkdir()
    shutil.copy(WEB / "src" / "main.py", app / "build")
    variables = {"CDK_OUTDIR": str(out), "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1"}
    run(TOOLS / "python", "app.py", cwd=app, CDK_CONTEXT_JSON=json.dumps({"layer": LAYER}), **variables)
    template = json.loads((out / "SamovarWeb.template.json").read_text())
    assert settings(template) == SETTINGS
    methods = resources(template, "AWS::ApiGateway::Method").values()
    assert len(methods) == 2
    for each in methods:
        assert each["Integration"]["ResponseTransferMode"] == "STREAM"
        assert "/response-streaming-invocations" in json.dumps(each["Integration"]["Uri"])
    (integration,) = resources(template, "AWS::ApiGatewayV2::Integration").values()
    assert integration["PayloadFormatVersion"] == "2.0"


def test_every_name_in_the_terraform_file_is_declared_and_the_provider_has_each_argument(run: Run) -> None:
    found = json.loads(in_tools(run, "terraform_files.py", WEB / "terraform"))
    assert set(found["used"]) <= set(found["declared"])
    assert found["wrong"] == []
    assert "aws_api_gateway_integration.web" in found["declared"]


def test_the_terraform_file_sets_each_source_as_the_page_says() -> None:
    lines = {" ".join(line.split()) for line in (WEB / "terraform" / "main.tf").read_text().splitlines()}
    assert {
        'for_each = { whole = "buffered", streamed = "stream" }',
        'for_each = { whole = "BUFFERED", streamed = "RESPONSE_STREAM" }',
        'payload_format_version = "2.0"',
        "lambda_multi_value_headers_enabled = true # else one value a header, the last",
        'uri = aws_lambda_function.web["streamed"].response_streaming_invoke_arn',
        'response_transfer_mode = "STREAM"',
    } <= lines


def test_the_settings_on_the_page_are_those_of_the_examples() -> None:
    page = (ROOT / "docs" / "web.md").read_text(encoding="utf-8").partition("## Platform settings")[2]
    head, *rows = re.findall(r"(?m)^\| (.*) \|$", page.partition("\n- ")[0])
    files = {"SAM": "template.yaml", "CDK": "cdk/app.py", "Terraform": "terraform/main.tf"}
    assert len(rows) == 5
    for row in rows:
        for tool, cell in zip(head.split(" | "), row.split(" | "), strict=True):
            if tool in files:
                text = " ".join((WEB / files[tool]).read_text().split())
                names = re.findall(r"`([^`]+)`", cell)
                assert names, cell
                assert [name for name in names if name not in text] == []
