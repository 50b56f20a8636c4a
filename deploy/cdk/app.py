"""The three kinds of function on Samovar, and a gradual roll-out of the managed one."""

from pathlib import Path

from aws_cdk import App, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

DEPLOY = Path(__file__).resolve().parent.parent
BUILD = DEPLOY.parent / "build"


class Functions(Stack):
    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(scope, name)
        layer = lambda_.LayerVersion(  # samovar layer --python 3.13 --arch x86_64
            self,
            "Samovar",
            code=lambda_.Code.from_asset(str(BUILD / "layer-python3.13-x86_64.zip")),
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
            compatible_architectures=[lambda_.Architecture.X86_64],
            license="Apache-2.0",
        )
        managed = lambda_.Function(
            self,
            "Managed",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.X86_64,
            handler="app.handler",
            code=lambda_.Code.from_asset(str(DEPLOY / "src")),
            layers=[layer],
            environment={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/samovar-exec"},
            log_group=logs.LogGroup(self, "ManagedLog", retention=logs.RetentionDays.ONE_MONTH),
        )
        live = lambda_.Alias(self, "Live", alias_name="live", version=managed.current_version)
        live.add_function_url(auth_type=lambda_.FunctionUrlAuthType.AWS_IAM)
        errors = live.metric_errors(period=Duration.minutes(1)).create_alarm(
            self,
            "Errors",
            threshold=1,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        codedeploy.LambdaDeploymentGroup(  # goes back to the version before at the first error
            self,
            "RollOut",
            alias=live,
            deployment_config=codedeploy.LambdaDeploymentConfig.CANARY_10_PERCENT_5_MINUTES,
            alarms=[errors],
        )

        bundle = lambda_.LayerVersion(  # samovar layer --python 3.13 --arch x86_64 --bundle
            self,
            "SamovarBundle",
            code=lambda_.Code.from_asset(str(BUILD / "layer-python3.13-x86_64-bundle.zip")),
            compatible_runtimes=[lambda_.Runtime.PROVIDED_AL2023],
            compatible_architectures=[lambda_.Architecture.X86_64],
            license="Apache-2.0",
        )
        lambda_.Function(
            self,
            "OsOnly",
            runtime=lambda_.Runtime.PROVIDED_AL2023,
            architecture=lambda_.Architecture.X86_64,
            handler="app.handler",
            code=lambda_.Code.from_asset(str(DEPLOY / "src")),
            layers=[bundle],
        )
        lambda_.DockerImageFunction(  # docker build -t samovar .
            self, "Image", code=lambda_.DockerImageCode.from_image_asset(str(DEPLOY), file="image/Dockerfile")
        )


app = App()
Functions(app, "Samovar")
app.synth()
