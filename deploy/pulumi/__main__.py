"""A managed function on Samovar: its layer, role, log group, alias, alarm and URL."""

import json
from pathlib import Path

import pulumi
import pulumi_aws as aws

DEPLOY = Path(__file__).resolve().parent.parent
BUILD = DEPLOY.parent / "build"

role = aws.iam.Role(
    "function",
    assume_role_policy=json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
            ],
        }
    ),
)
aws.iam.RolePolicyAttachment("logs", role=role.name, policy_arn=aws.iam.ManagedPolicy.AWS_LAMBDA_BASIC_EXECUTION_ROLE)
log = aws.cloudwatch.LogGroup("managed", name="/aws/lambda/managed", retention_in_days=30)

layer = aws.lambda_.LayerVersion(  # samovar layer --python 3.13 --arch x86_64
    "samovar",
    layer_name="samovar",
    code=pulumi.FileArchive(str(BUILD / "layer-python3.13-x86_64.zip")),
    compatible_runtimes=["python3.13"],
    compatible_architectures=["x86_64"],
    license_info="Apache-2.0",
    skip_destroy=True,  # older versions can be named again
)
managed = aws.lambda_.Function(
    "managed",
    name="managed",
    role=role.arn,
    runtime="python3.13",
    architectures=["x86_64"],
    handler="app.handler",
    code=pulumi.FileArchive(str(DEPLOY / "src")),
    layers=[layer.arn],
    environment={"variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/samovar-exec"}},
    logging_config={"log_format": "JSON", "log_group": log.name},
    publish=True,
)

bundle = aws.lambda_.LayerVersion(  # samovar layer --python 3.13 --arch x86_64 --bundle
    "samovar-bundle",
    layer_name="samovar-bundle",
    code=pulumi.FileArchive(str(BUILD / "layer-python3.13-x86_64-bundle.zip")),
    compatible_runtimes=["provided.al2023"],
    compatible_architectures=["x86_64"],
    license_info="Apache-2.0",
    skip_destroy=True,
)
aws.lambda_.Function(
    "os-only",
    role=role.arn,
    runtime="provided.al2023",
    architectures=["x86_64"],
    handler="app.handler",
    code=pulumi.FileArchive(str(DEPLOY / "src")),
    layers=[bundle.arn],
)

live = aws.lambda_.Alias("live", name="live", function_name=managed.name, function_version=managed.version)
url = aws.lambda_.FunctionUrl("live", function_name=managed.name, qualifier=live.name, authorization_type="AWS_IAM")
pulumi.export("url", url.function_url)
