"""docs/deploy.md: its files are those in deploy/, and its commands do what it says, with moto for AWS's APIs."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import awslambdaric.lambda_context
import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import samovar.context
from tests.contract.harness import START_RECORD
from tests.deploy.conftest import ALL_LAYERS, LAYERS, ROOT, Run

PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
SHOWN = re.findall(r'(?ms)^```\w+ title="(deploy/[^"]+)"\n(.*?)^```$', PAGE)
_PART = re.compile(r"(?ms)^#+ ([^\n]*)$|^<!-- not run here: tests/deploy runs it -->\n```bash\n(.*?)^```$")


def commands(heading: str) -> list[str]:
    """Return the blocks of commands below a heading that say that these tests run them."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for title, block in _PART.findall(PAGE):
        if title:
            current = found.setdefault(title, [])
        else:
            current.append(block)
    return found[heading]


BEGIN, PUBLISH = commands("Publish it")


class Account:
    """An account of moto's with one function, `my-function`, in which commands of the page are run."""

    def __init__(self, run: Run, folder: Path, endpoint: str) -> None:
        self._run, self._folder, self._endpoint = run, folder, endpoint
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).close()
        self.aws = self.client("lambda")
        role = self.client("iam").create_role(RoleName="function", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        code = {"ZipFile": (folder / "build" / LAYERS[0]).read_bytes()}
        self.aws.create_function(FunctionName="my-function", Runtime="python3.13", Role=role, Code=code, Handler="a.b")
        self.client("logs").create_log_group(logGroupName="/aws/lambda/my-function")

    def client(self, service: str) -> Any:
        credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, endpoint_url=self._endpoint, region_name="eu-west-1", **credentials)

    def run(self, *blocks: str) -> str:
        """Run blocks in one shell, as somebody does who follows the page; return what they print."""
        script = BEGIN + "".join(blocks)
        return self._run("bash", "-euo", "pipefail", "-c", script, cwd=self._folder, AWS_ENDPOINT_URL=self._endpoint)

    def function(self) -> Any:
        return self.aws.get_function_configuration(FunctionName="my-function")

    def layers(self) -> list[str]:
        """Return the function's layers, as name:version."""
        return [layer["Arn"].rpartition(":layer:")[2] for layer in self.function()["Layers"]]


@pytest.fixture
def account(run: Run, deploy: Path, endpoint: str) -> Account:
    return Account(run, deploy.parent, endpoint)


def test_each_file_that_the_page_shows_is_that_file() -> None:
    assert {name for name, _ in SHOWN} == {
        "deploy/terraform/main.tf",
        "deploy/cdk/app.py",
        "deploy/serverless.yml",
        "deploy/pulumi/__main__.py",
    }
    assert dict(SHOWN) == {name: (ROOT / name).read_text(encoding="utf-8") for name, _ in SHOWN}


def test_the_commands_of_the_page_are_run_here_but_for_two() -> None:
    command = re.compile(r"\baws (?:cloudwatch|configure|lambda|logs) [a-z-]+")
    run = {found for _, block in _PART.findall(PAGE) for found in command.findall(block)}
    assert set(command.findall(PAGE)) - run == {"aws configure export-credentials", "aws lambda update-function-code"}


def test_a_layer_is_published_for_each_python_and_machine(account: Account) -> None:
    account.run(*commands("For all Pythons and machines"))
    layers = {each["LayerName"]: each["LatestMatchingVersion"] for each in account.aws.list_layers()["Layers"]}
    assert len(layers) == len(ALL_LAYERS) == 8
    assert layers["samovar-python314-arm64"]["CompatibleRuntimes"] == ["python3.14"]
    assert layers["samovar-python314-arm64"]["CompatibleArchitectures"] == ["arm64"]


def test_another_account_may_use_the_layer(account: Account) -> None:
    account.run(PUBLISH, *commands("Permissions"))
    policy = account.aws.get_layer_version_policy(LayerName="samovar", VersionNumber=1)["Policy"]
    (statement,) = json.loads(policy)["Statement"]
    assert (statement["Action"], statement["Principal"]) == ("lambda:GetLayerVersion", "111122223333")


def test_a_managed_function_gets_the_layer_and_the_wrapper_and_goes_back(account: Account) -> None:
    there, back = commands("A managed function")
    account.run(PUBLISH, there)
    assert account.layers() == ["samovar:1"]
    assert account.function()["Environment"]["Variables"] == {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/samovar-exec"}
    account.run(back)
    assert account.function().get("Environment", {}).get("Variables", {}) == {}


def test_an_os_only_function_gets_the_layer_with_an_interpreter(account: Account) -> None:
    account.run(*commands("An OS-only function"))
    assert account.function()["Runtime"] == "provided.al2023"
    assert account.layers() == ["samovar-bundle:1"]


def test_what_is_running_is_seen_in_the_configuration_and_the_log(account: Account) -> None:
    there, _ = commands("A managed function")
    configured, logged = commands("How to see that Samovar is running")
    account.run(PUBLISH, there)
    runtime, layers, wrapper = json.loads(account.run(configured))
    assert (runtime, len(layers), wrapper) == ("python3.13", 1, "/opt/samovar-exec")
    logs, place = account.client("logs"), {"logGroupName": "/aws/lambda/my-function", "logStreamName": "one"}
    logs.create_log_stream(**place)
    (shown,) = re.findall(r"(?ms)^```json\n(.*?)\n```$", PAGE)
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": message} for message in (shown, "START RequestId: 1")]
    logs.put_log_events(**place, logEvents=events)
    update, search = logged.split("aws logs")
    account.run(update)
    found = json.loads(account.run(f"aws logs{search}"))["events"]
    assert [event["message"] for event in found] == [shown]


def test_the_record_that_the_page_shows_is_the_one_that_is_logged() -> None:
    (shown,) = re.findall(r"(?ms)^```json\n(.*?)\n```$", PAGE)
    fields = json.loads(shown)
    assert START_RECORD.fullmatch(fields["message"].encode())
    assert (fields["level"], fields["logger"], fields["requestId"]) == ("DEBUG", "samovar", "")


def test_the_module_of_the_context_tells_the_two_runtimes_apart() -> None:
    names = {client.LambdaContext.__module__ for client in (samovar.context, awslambdaric.lambda_context)}
    assert names == {"samovar.context", "awslambdaric.lambda_context"}
    assert all(f"`{name}`" in PAGE for name in names)


def test_a_roll_out_goes_back_at_an_alarm_and_else_on(account: Account) -> None:
    before, change, decide, back = commands("Roll out gradually, and back")
    live, tenth = {"FunctionName": "my-function", "Name": "live"}, {"AdditionalVersionWeights": {"2": 0.1}}
    account.run(before, PUBLISH, change)
    during = account.aws.get_alias(**live)
    assert (during["FunctionVersion"], during["RoutingConfig"]) == ("1", tenth)
    for state, version in (("ALARM", "1"), ("OK", "2")):
        account.aws.update_alias(**live, RoutingConfig=tenth)
        alarm = {"AlarmName": "my-function-new", "StateValue": state, "StateReason": "test"}
        account.client("cloudwatch").set_alarm_state(**alarm)
        account.run("NEW=2\n", decide)
        after = account.aws.get_alias(**live)
        assert (after["FunctionVersion"], after["RoutingConfig"]["AdditionalVersionWeights"]) == (version, {})
    account.run("OLD=1\n", back)
    assert account.aws.get_alias(**live)["FunctionVersion"] == "1"


def test_logs_are_kept_for_a_month(account: Account) -> None:
    account.run(*commands("Keep logs for a month"))
    (group,) = account.client("logs").describe_log_groups()["logGroups"]
    assert group["retentionInDays"] == 30


def test_the_alias_gets_an_iam_url_that_another_account_may_call(account: Account) -> None:
    make, _, permit = commands("Call an IAM URL")
    account.run(commands("Roll out gradually, and back")[0], make, permit)
    assert account.aws.get_function_url_config(FunctionName="my-function", Qualifier="live")["AuthType"] == "AWS_IAM"
    policy = account.aws.get_policy(FunctionName="my-function", Qualifier="live")["Policy"]
    actions = [statement["Action"] for statement in json.loads(policy)["Statement"]]
    assert actions == ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]


@pytest.mark.parametrize("token", ["", "a-session-token"])
def test_curl_signs_a_request_as_aws_asks(run: Run, token: str) -> None:
    seen: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    _, call, _ = commands("Call an IAM URL")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        run("bash", "-euo", "pipefail", "-c", BEGIN + call, URL=url, AWS_SESSION_TOKEN=token)
        server.shutdown()
    ((path, headers, body),) = seen
    found = re.search(r"SignedHeaders=([^,]+), ?Signature=(\w+)", headers["authorization"])
    assert found
    signed = {name: headers[name] for name in found[1].split(";")}
    assert ("x-amz-security-token" in signed) is bool(token)
    request = AWSRequest("POST", url.rstrip("/") + path, headers=signed, data=body)
    request.context["timestamp"] = headers["x-amz-date"]
    theirs = SigV4Auth(Credentials("test", "test", token or None), "lambda", "eu-west-1")
    assert theirs.signature(theirs.string_to_sign(request, theirs.canonical_request(request)), request) == found[2]
