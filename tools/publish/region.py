"""An account of AWS and its regions: which versions of a layer are there, publishing one, and who may use it.

Every error of AWS becomes a sentence that says what to do: a CommandError if nothing can go on, else a Failure, which
leaves the other regions alone.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from samovar.local.console import CommandError
from tools.publish.layers import Layer

# Lambda accepts 15 calls of this kind a second, in all. A repeated upload would publish twice: it gets time.
CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 8}, read_timeout=300)
LOG_IN = "log in (aws sso login), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
SAID = {
    "CodeStorageExceededException": "the region's storage for functions and layers is full: delete old versions, or ask"
    " for a higher quota",
    "ExpiredToken": f"the credentials have expired: {LOG_IN}",
    "ExpiredTokenException": f"the credentials have expired: {LOG_IN}",
    "InvalidClientTokenId": f"AWS does not know these credentials: {LOG_IN}",
    # The answer of a region that is not enabled. That the credentials are valid is known by then.
    "UnrecognizedClientException": "not enabled in this account: enable it (aws account enable-region --region-name"
    " {region}) or leave it out",
}


class Failure(Exception):
    """A region did not do what was asked. The message says why, and what to do."""


@dataclass(frozen=True)
class Grant:
    """A permission to use a layer, which AWS knows by its `statement`."""

    statement: str
    readers: str
    arguments: dict[str, str]

    @classmethod
    def public(cls) -> Self:
        """Return the permission for every account."""
        return cls("public", "everybody", {"Principal": "*"})

    @classmethod
    def account(cls, number: str) -> Self:
        """Return the permission for an account."""
        return cls(f"account-{number}", f"account {number}", {"Principal": number})

    @classmethod
    def organization(cls, name: str) -> Self:
        """Return the permission for the accounts of an organization."""
        return cls(f"organization-{name}", f"organization {name}", {"Principal": "*", "OrganizationId": name})


@dataclass(frozen=True)
class Version:
    """A published version of a layer."""

    number: int
    arn: str


class Account:
    """The account that the credentials are of. Raises CommandError if there are none, or they are not valid.

    Args:
        regions: The names of the regions; by default the one of AWS's own settings.
    """

    def __init__(self, regions: list[str]) -> None:
        with explained(CommandError):
            self.session = boto3.Session()
            self.regions = list(dict.fromkeys(regions or filter(None, [self.session.region_name])))
            if not self.regions:
                raise CommandError("no region: name some with --region", 2)
            partitions = {
                region: partition
                for partition in self.session.get_available_partitions()
                for region in self.session.get_available_regions("lambda", partition)
            }
            for region in self.regions:
                if region not in partitions:
                    raise CommandError(f"{region} is not a region that boto3 {boto3.__version__} knows", 2)
            # Not in a region of the user's: one that is not enabled answers as if the credentials were wrong.
            home = "us-east-1" if partitions[self.regions[0]] == "aws" else self.regions[0]
            identity = self.session.client("sts", region_name=home, config=CONFIG).get_caller_identity()
        self.number, self.user = identity["Account"], identity["Arn"]


class Region:
    """One region. Every method raises Failure."""

    def __init__(self, account: Account, name: str) -> None:
        self.name = name
        with explained(Failure, self.name):
            self._lambda = account.session.client("lambda", region_name=name, config=CONFIG)

    def find(self, layer: Layer) -> Version | None:
        """Return the newest version with the content of `layer`, or None."""
        wanted = b64encode(layer.digest).decode()
        with explained(Failure, self.name):
            pages = self._lambda.get_paginator("list_layer_versions").paginate(LayerName=layer.name)
            for number in (each["Version"] for page in pages for each in page["LayerVersions"]):
                found = self._lambda.get_layer_version(LayerName=layer.name, VersionNumber=number)
                if found["Content"]["CodeSha256"] == wanted:
                    return Version(number, found["LayerVersionArn"])
        return None

    def publish(self, layer: Layer) -> Version:
        """Publish `layer` as a new version."""
        with explained(Failure, self.name):
            done = self._lambda.publish_layer_version(
                LayerName=layer.name,
                Description=layer.description,
                Content={"ZipFile": layer.zip.read_bytes()},
                CompatibleRuntimes=layer.variant.runtimes,
                CompatibleArchitectures=[layer.variant.arch],
                LicenseInfo=layer.licence,
            )
        return Version(done["Version"], done["LayerVersionArn"])

    def missing(self, layer: Layer, version: Version, grants: list[Grant]) -> list[Grant]:
        """Return those of `grants` that a version does not have."""
        with explained(Failure, self.name):
            try:
                answer = self._lambda.get_layer_version_policy(LayerName=layer.name, VersionNumber=version.number)
            except self._lambda.exceptions.ResourceNotFoundException:
                return grants
        there = {statement["Sid"] for statement in json.loads(answer["Policy"])["Statement"]}
        return [grant for grant in grants if grant.statement not in there]

    def grant(self, layer: Layer, version: Version, grant: Grant) -> None:
        """Let others use a version."""
        with explained(Failure, self.name):
            self._lambda.add_layer_version_permission(
                LayerName=layer.name,
                VersionNumber=version.number,
                StatementId=grant.statement,
                Action="lambda:GetLayerVersion",
                **grant.arguments,
            )


@contextmanager
def explained(kind: type[Exception], region: str = "") -> Iterator[None]:
    """Turn an error of AWS or its SDK into one of `kind`."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise kind(_sentence(error, region)) from None


def _sentence(error: BotoCoreError | ClientError, region: str) -> str:
    if isinstance(error, NoCredentialsError):
        return f"no credentials for AWS: {LOG_IN}"
    if isinstance(error, ClientError):
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        return SAID[code].format(region=region) if code in SAID else f"{code}: {message}"
    return str(error)
