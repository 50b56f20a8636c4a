"""`make publish` against a server that answers as AWS does."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.local.layer import RUNNING
from tests.conftest import ROOT
from tests.deploy.refusing import ACCOUNT, Refusal, RefusingAws

REGIONS = ["eu-west-1", "us-east-1"]
LAYERS = [f"samovar-python{python}-{arch}" for python in ("312", "313") for arch in ("x86_64", "arm64")]
EVERY = [(region, layer) for region in REGIONS for layer in LAYERS]
OPTIONS = ["--region", *REGIONS, "--python", "3.12", "3.13"]

Publish = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def aws(endpoint: str) -> Iterator[RefusingAws]:
    with RefusingAws(endpoint) as aws:
        yield aws


@pytest.fixture
def variables(aws: RefusingAws, tmp_path: Path) -> dict[str, str]:
    """The environment of the command: neither settings nor credentials of whoever runs the test."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_") and name != "CONFIRM"}
    return ours | {
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture
def publish(variables: dict[str, str], tmp_path: Path) -> Publish:
    """Run the command in an empty folder, on the layers in its subfolder `layers`."""
    for python in ("3.12", "3.13"):
        for arch in ("x86_64", "arm64"):
            layer(tmp_path / "layers", f"layer-python{python}-{arch}")
            layer(tmp_path / "layers", f"layer-python{python}-{arch}-bundle")

    def run(*options: str, expect: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tools.publish", "--from", "layers", *options]
        done = subprocess.run(command, cwd=tmp_path, env=variables | more, capture_output=True, text=True)
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    return run


def layer(folder: Path, stem: str, content: str = "") -> Path:
    """Write a small layer and its bill of materials."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{stem}.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("bootstrap"), content or stem)
    component = {"name": f"{stem}.zip", "version": "1.2.3", "licenses": [{"expression": "Apache-2.0 AND MIT"}]}
    (folder / f"{stem}.cdx.json").write_text(json.dumps({"metadata": {"component": component}}))
    return folder / f"{stem}.zip"


def versions(aws: RefusingAws, region: str, name: str) -> list[Any]:
    client = aws.client(region)
    listed = client.list_layer_versions(LayerName=name)["LayerVersions"]
    return [client.get_layer_version(LayerName=name, VersionNumber=each["Version"]) for each in listed]


def policy(aws: RefusingAws, region: str, name: str) -> list[dict[str, Any]]:
    answer = aws.client(region).get_layer_version_policy(LayerName=name, VersionNumber=1)
    statements: list[dict[str, Any]] = json.loads(answer["Policy"])["Statement"]
    return statements


def table(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "build" / "publish" / "arns.json").read_text())
    return rows


def test_without_a_confirmation_it_shows_what_it_would_do_and_changes_nothing(
    publish: Publish, aws: RefusingAws, tmp_path: Path
) -> None:
    size = (tmp_path / "layers" / "layer-python3.12-x86_64.zip").stat().st_size
    done = publish(*OPTIONS, "--public")
    lines = done.stdout.splitlines()
    would = f"would be published, {size:,} bytes, would be readable by everybody"
    assert lines[0] == f"eu-west-1  samovar-python312-x86_64: {would}"
    assert [tuple(line.split(": ")[0].split()) for line in lines] == EVERY
    assert done.stderr.splitlines()[0].startswith(f"account {ACCOUNT}, as arn:aws:sts::{ACCOUNT}:")
    assert done.stderr.splitlines()[-1] == "Nothing was changed: CONFIRM=1 (or --yes) does it."
    assert {call.split()[0] for _, call in aws.calls} == {"sts", "GET"}
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(("value", "status"), [("0", 0), ("no", 0), ("false", 0), ("", 0), ("maybe", 2)])
def test_it_is_confirmed_by_yes_only(publish: Publish, aws: RefusingAws, value: str, status: int) -> None:
    done = publish("--region", "eu-west-1", "--python", "3.12", expect=status, CONFIRM=value)
    if status:
        assert done.stderr == "publish: CONFIRM=maybe is neither 1, to publish, nor 0\n"
    assert aws.uploads() == []


def test_each_region_gets_each_layer_with_what_it_is_for(publish: Publish, aws: RefusingAws, tmp_path: Path) -> None:
    publish(*OPTIONS, "--bundle", "--yes")
    assert aws.uploads() == [(region, name + kind) for region in REGIONS for kind in ("", "-bundle") for name in LAYERS]
    (plain,) = versions(aws, "us-east-1", "samovar-python313-arm64")
    assert plain["CompatibleRuntimes"] == ["python3.13"]
    assert plain["CompatibleArchitectures"] == ["arm64"]
    assert plain["LicenseInfo"] == "Apache-2.0 AND MIT"
    assert plain["Description"] == "Samovar 1.2.3 for Python 3.13 on arm64"
    content = (tmp_path / "layers" / "layer-python3.13-arm64.zip").read_bytes()
    assert b64decode(plain["Content"]["CodeSha256"]) == hashlib.sha256(content).digest()
    (bundle,) = versions(aws, "us-east-1", "samovar-python313-arm64-bundle")
    assert bundle["CompatibleRuntimes"] == ["provided.al2023"]
    assert bundle["Description"] == "Samovar 1.2.3 for Python 3.13 on arm64, with the interpreter"


def test_the_table_has_every_arn_for_programs_and_for_readers(
    publish: Publish, aws: RefusingAws, tmp_path: Path
) -> None:
    done = publish("--region", "eu-west-1", "--python", "3.13", "--arch", "arm64", "--bundle", CONFIRM="1")
    assert done.stdout == "build/publish/arns.json\nbuild/publish/arns.md\n"
    arn = f"arn:aws:lambda:eu-west-1:{ACCOUNT}:layer:samovar-python313-arm64"
    digest = hashlib.sha256((tmp_path / "layers" / "layer-python3.13-arm64.zip").read_bytes()).hexdigest()
    plain, bundle = table(tmp_path)
    assert plain == {
        "region": "eu-west-1",
        "python": "3.13",
        "architecture": "arm64",
        "interpreter": False,
        "arn": f"{arn}:1",
        "samovar": "1.2.3",
        "sha256": digest,
    }
    assert (bundle["interpreter"], bundle["arn"]) == (True, f"{arn}-bundle:1")
    assert (tmp_path / "build" / "publish" / "arns.md").read_text() == (
        "# The layers of Samovar 1.2.3\n\n"
        "| region | function | architecture | ARN |\n|---|---|---|---|\n"
        f"| eu-west-1 | python3.13 | arm64 | `{arn}:1` |\n"
        f"| eu-west-1 | OS-only, Python 3.13 | arm64 | `{arn}-bundle:1` |\n"
    )


def test_what_is_published_already_is_not_published_again(publish: Publish, aws: RefusingAws, tmp_path: Path) -> None:
    publish(*OPTIONS, "--yes")
    before = table(tmp_path)
    aws.calls.clear()
    done = publish(*OPTIONS, "--yes")
    assert aws.uploads() == []
    assert table(tmp_path) == before
    assert "eu-west-1  samovar-python312-x86_64: is there as version 1" in done.stderr.splitlines()


def test_other_content_is_a_new_version_and_the_old_content_is_still_found(
    publish: Publish, aws: RefusingAws, tmp_path: Path
) -> None:
    one = ["--region", "eu-west-1", "--python", "3.12", "--arch", "arm64", "--yes"]
    numbers = []
    for content in ("old", "new", "old"):
        layer(tmp_path / "layers", "layer-python3.12-arm64", content)
        publish(*one)
        numbers.append(table(tmp_path)[0]["arn"].rpartition(":")[2])
    assert numbers == ["1", "2", "1"]
    assert len(aws.uploads()) == 2


def test_a_run_that_failed_midway_is_run_again_and_does_the_rest(
    publish: Publish, aws: RefusingAws, tmp_path: Path
) -> None:
    aws.refusals = [Refusal("CodeStorageExceededException", region="eu-west-1", spared=2)]
    failed = publish(*OPTIONS, "--yes", expect=1)
    full = "the region's storage for functions and layers is full: delete old versions, or ask for a higher quota"
    assert f"eu-west-1  {full}" in failed.stderr.splitlines()
    last = "publish: failed in eu-west-1; a second run does only what is missing"
    assert failed.stderr.splitlines()[-1] == last
    assert [(row["region"], re.split("[:]", row["arn"])[6]) for row in table(tmp_path)] == EVERY[:2] + EVERY[4:]
    aws.refusals, aws.calls = [], []
    publish(*OPTIONS, "--yes")
    assert aws.uploads() == EVERY[2:4]
    assert [(row["region"], re.split("[:]", row["arn"])[6]) for row in table(tmp_path)] == EVERY


def test_a_killed_run_is_continued(
    publish: Publish, aws: RefusingAws, variables: dict[str, str], tmp_path: Path
) -> None:
    aws.refusals = [Refusal("TooManyRequestsException", 429, spared=1)]  # the second waits, and is killed
    command = [sys.executable, "-m", "tools.publish", "--from", "layers", *OPTIONS, "--yes"]
    with subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr
        next(line for line in running.stderr if line.endswith("published as version 1\n"))
        running.kill()
    aws.refusals, aws.calls = [], []
    publish(*OPTIONS, "--yes")
    assert aws.uploads() == EVERY[1:]
    assert len(table(tmp_path)) == len(EVERY)


def test_a_call_that_came_too_fast_is_repeated(publish: Publish, aws: RefusingAws) -> None:
    aws.refusals = [Refusal("TooManyRequestsException", 429, times=2)]
    publish("--region", "eu-west-1", "--python", "3.12", "--arch", "arm64", "--yes")
    assert aws.uploads() == [("eu-west-1", "samovar-python312-arm64")] * 3
    assert len(versions(aws, "eu-west-1", "samovar-python312-arm64")) == 1


@pytest.mark.parametrize(
    ("options", "statement"),
    [
        (["--public"], {"Sid": "public", "Principal": "*"}),
        (["--account", "210987654321"], {"Sid": "account-210987654321", "Principal": "210987654321"}),
        (
            ["--organization", "o-a1b2c3d4e5"],
            {"Sid": "organization-o-a1b2c3d4e5", "Principal": "*", "OrganizationId": "o-a1b2c3d4e5"},
        ),
    ],
)
def test_others_may_use_it_if_that_was_asked_for(
    publish: Publish, aws: RefusingAws, options: list[str], statement: dict[str, str]
) -> None:
    one = ["--region", "eu-west-1", "--python", "3.12", "--arch", "arm64", "--yes"]
    publish(*one)
    with pytest.raises(aws.client("eu-west-1").exceptions.ResourceNotFoundException):
        policy(aws, "eu-west-1", "samovar-python312-arm64")
    publish(*one, *options)  # also what is there already
    publish(*one, *options)  # and once only
    (granted,) = policy(aws, "eu-west-1", "samovar-python312-arm64")
    assert {name: granted.get(name) for name in statement} == statement
    assert (granted["Action"], granted["Effect"]) == ("lambda:GetLayerVersion", "Allow")
    assert granted.get("OrganizationId") == statement.get("OrganizationId")
    assert len(aws.uploads()) == 1


def test_a_permission_that_was_refused_is_given_by_the_next_run(publish: Publish, aws: RefusingAws) -> None:
    one = ["--region", "eu-west-1", "--python", "3.12", "--arch", "arm64", "--public", "--yes"]
    aws.refusals = [Refusal("AccessDeniedException", 403, call="POST .*/policy")]
    assert "eu-west-1  AccessDeniedException: Refused." in publish(*one, expect=1).stderr.splitlines()
    aws.refusals = []
    done = publish(*one)
    assert "is there as version 1, now readable by everybody" in done.stderr
    assert [statement["Sid"] for statement in policy(aws, "eu-west-1", "samovar-python312-arm64")] == ["public"]


def test_a_region_that_is_not_enabled_is_named_and_the_others_go_on(
    publish: Publish, aws: RefusingAws, tmp_path: Path
) -> None:
    aws.refusals = [Refusal("UnrecognizedClientException", 403, region="af-south-1", call=".*")]
    done = publish("--region", "af-south-1", "eu-west-1", "--python", "3.12", "--yes", expect=1)
    how = "enable it (aws account enable-region --region-name af-south-1) or leave it out"
    assert f"af-south-1  not enabled in this account: {how}" in done.stderr.splitlines()
    assert {row["region"] for row in table(tmp_path)} == {"eu-west-1"}


LOG_IN = "log in (aws sso login), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def test_without_credentials_it_says_how_to_get_some(publish: Publish) -> None:
    done = publish(*OPTIONS, expect=1, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert done.stderr == f"publish: no credentials for AWS: {LOG_IN}\n"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("ExpiredToken", f"the credentials have expired: {LOG_IN}"),
        ("InvalidClientTokenId", f"AWS does not know these credentials: {LOG_IN}"),
    ],
)
def test_credentials_that_are_not_valid_are_named(publish: Publish, aws: RefusingAws, code: str, says: str) -> None:
    aws.refusals = [Refusal(code, 403, call="sts")]
    assert publish(*OPTIONS, expect=1).stderr == f"publish: {says}\n"
    assert {call for _, call in aws.calls} == {"sts"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "publish: no region: name some with --region"),
        (["--region", "eu-wst-1"], r"publish: eu-wst-1 is not a region that boto3 [\d.]+ knows"),
        (
            ["--region", "eu-west-1", "--python", "3.14"],
            "publish: layers/layer-python3.14-x86_64.zip is missing: `samovar layer` makes it, "
            "with the bill of materials beside it",
        ),
        (["--account", "42"], ".*'42' is not the number of an account, which has 12 digits"),
        (["--organization", "acme"], ".*'acme' is not the ID of an organization, as o-a1b2c3d4e5"),
    ],
)
def test_a_wrong_call_gets_one_line(publish: Publish, options: list[str], says: str) -> None:
    assert re.fullmatch(says, publish(*options, expect=2).stderr.splitlines()[-1])


def test_a_layer_over_lambdas_limit_is_named_before_anything_is_published(
    publish: Publish, aws: RefusingAws, tmp_path: Path
) -> None:
    os.truncate(tmp_path / "layers" / "layer-python3.13-arm64.zip", 52_428_801)
    done = publish(*OPTIONS, "--yes", expect=1)
    says = "layers/layer-python3.13-arm64.zip has 52,428,801 bytes; Lambda accepts 52,428,800"
    assert done.stderr.splitlines()[-1] == f"publish: {says}"
    assert aws.uploads() == []


def test_make_publish_builds_the_layers_and_publishes_the_same_bytes_once(
    aws: RefusingAws, variables: dict[str, str]
) -> None:
    options = f"ARGS=--region eu-west-1 --python {RUNNING}"
    for _ in range(2):
        done = subprocess.run(
            ["make", "publish", "CONFIRM=1", options], cwd=ROOT, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    names = [f"samovar-python{RUNNING.replace('.', '')}-{arch}" for arch in ("x86_64", "arm64")]
    assert aws.uploads() == [("eu-west-1", name) for name in names]
    rows = table(ROOT)
    for row, name in zip(rows, names, strict=True):
        built = ROOT / "build" / "publish" / f"layer-python{RUNNING}-{row['architecture']}.zip"
        assert row["sha256"] == hashlib.sha256(built.read_bytes()).hexdigest()
        (version,) = versions(aws, "eu-west-1", name)
        assert version["CompatibleRuntimes"] == [f"python{RUNNING}"]
        assert version["LicenseInfo"].startswith("Apache-2.0")


def test_a_layer_that_cannot_be_built_is_named_with_its_reason(variables: dict[str, str]) -> None:
    lacking = next(version for version in ("3.14", "3.15", "3.12") if version != RUNNING)
    command = [sys.executable, "-m", "tools.publish", "--region", "eu-west-1", "--python", lacking]
    done = subprocess.run(command, cwd=ROOT, env=variables | {"PATH": ""}, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"publish: layer-python{lacking}-x86_64.zip was not built: ")
    assert last.endswith("Or choose with --python, or take layers built elsewhere with --from")
