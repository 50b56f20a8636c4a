"""A FastAPI application on Samovar behind each source of HTTP requests, whole answers and streams."""

from pathlib import Path

from aws_cdk import App, Duration, Stack
from aws_cdk import aws_apigateway as rest
from aws_cdk import aws_apigatewayv2 as http
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_lambda as lambda_
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from aws_cdk.aws_elasticloadbalancingv2_targets import LambdaTarget
from constructs import Construct

# python3.13 -m pip install --target build -r ../src/requirements.txt && cp ../src/main.py build
CODE = Path(__file__).resolve().parent / "build"


class Web(Stack):
    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(scope, name)
        # The ARN as `make publish` prints it: cdk deploy --context layer=arn:…
        self.layer = lambda_.LayerVersion.from_layer_version_arn(self, "Samovar", self.node.get_context("layer"))

        whole = self.function("Whole", "buffered")
        whole.add_function_url(auth_type=lambda_.FunctionUrlAuthType.AWS_IAM, invoke_mode=lambda_.InvokeMode.BUFFERED)
        http.HttpApi(self, "HttpApi", default_integration=HttpLambdaIntegration("Whole", whole))
        elb.ApplicationTargetGroup(  # add it to a listener of yours: listener.add_target_groups(…)
            self,
            "TargetGroup",
            target_type=elb.TargetType.LAMBDA,
            targets=[LambdaTarget(whole)],
            multi_value_headers_enabled=True,  # else one value a header, the last
        )

        streamed = self.function("Streamed", "stream")
        streamed.add_function_url(
            auth_type=lambda_.FunctionUrlAuthType.AWS_IAM, invoke_mode=lambda_.InvokeMode.RESPONSE_STREAM
        )
        rest.LambdaRestApi(
            self,
            "RestApi",
            handler=streamed,
            integration_options=rest.LambdaIntegrationOptions(response_transfer_mode=rest.ResponseTransferMode.STREAM),
            # A stream may rest for five minutes there, and for 30 seconds at the edge.
            endpoint_configuration=rest.EndpointConfiguration(types=[rest.EndpointType.REGIONAL]),
        )

    def function(self, name: str, mode: str) -> lambda_.Function:
        return lambda_.Function(
            self,
            name,
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.X86_64,
            handler="asgi:main:app",  # wsgi:MODULE:APPLICATION for Flask and Django
            code=lambda_.Code.from_asset(str(CODE)),
            layers=[self.layer],
            memory_size=512,
            timeout=Duration.seconds(30),
            environment={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/samovar-exec", "SAMOVAR_RESPONSE_MODE": mode},
        )


app = App()
Web(app, "SamovarWeb")
app.synth()
