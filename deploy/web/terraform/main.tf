# A FastAPI application on Samovar behind each source of HTTP requests, whole answers and streams.
terraform {
  required_providers {
    aws     = { source = "hashicorp/aws", version = "~> 6.0" }
    archive = { source = "hashicorp/archive", version = "~> 2.0" }
  }
}

variable "layer" {
  description = "The ARN of the layer for python3.13 and x86_64, as make publish prints it"
}

variable "listener" {
  description = "The ARN of a load balancer's listener; empty for no load balancer"
  default     = ""
}

# python3.13 -m pip install --target build -r ../src/requirements.txt && cp ../src/main.py build
data "archive_file" "function" {
  type        = "zip"
  source_dir  = "${path.module}/build"
  output_path = "${path.module}/function.zip"
}

resource "aws_lambda_function" "web" {
  for_each         = { whole = "buffered", streamed = "stream" }
  function_name    = "web-${each.key}"
  role             = aws_iam_role.function.arn
  runtime          = "python3.13"
  architectures    = ["x86_64"]
  handler          = "asgi:main:app" # wsgi:MODULE:APPLICATION for Flask and Django
  filename         = data.archive_file.function.output_path
  source_code_hash = data.archive_file.function.output_base64sha256
  layers           = [var.layer]
  memory_size      = 512
  timeout          = 30
  environment {
    variables = {
      AWS_LAMBDA_EXEC_WRAPPER = "/opt/samovar-exec"
      SAMOVAR_RESPONSE_MODE   = each.value
    }
  }
}

# Function URLs, one of each kind
resource "aws_lambda_function_url" "web" {
  for_each           = { whole = "BUFFERED", streamed = "RESPONSE_STREAM" }
  function_name      = aws_lambda_function.web[each.key].function_name
  authorization_type = "AWS_IAM"
  invoke_mode        = each.value
}

# An HTTP API: whole answers
resource "aws_apigatewayv2_api" "web" {
  name          = "web"
  protocol_type = "HTTP"
}

resource "aws_apigatewayv2_integration" "web" {
  api_id                 = aws_apigatewayv2_api.web.id
  integration_type       = "AWS_PROXY"
  integration_uri        = aws_lambda_function.web["whole"].invoke_arn
  payload_format_version = "2.0"
}

resource "aws_apigatewayv2_route" "web" {
  api_id    = aws_apigatewayv2_api.web.id
  route_key = "$default"
  target    = "integrations/${aws_apigatewayv2_integration.web.id}"
}

resource "aws_apigatewayv2_stage" "web" {
  api_id      = aws_apigatewayv2_api.web.id
  name        = "$default"
  auto_deploy = true
}

# A load balancer: whole answers
resource "aws_lb_target_group" "web" {
  name                               = "web"
  target_type                        = "lambda"
  lambda_multi_value_headers_enabled = true # else one value a header, the last
}

resource "aws_lb_target_group_attachment" "web" {
  target_group_arn = aws_lb_target_group.web.arn
  target_id        = aws_lambda_function.web["whole"].arn
  depends_on       = [aws_lambda_permission.web]
}

resource "aws_lb_listener_rule" "web" {
  count        = var.listener == "" ? 0 : 1
  listener_arn = var.listener
  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.web.arn
  }
  condition {
    path_pattern {
      values = ["/*"]
    }
  }
}

# A REST API: streams
resource "aws_api_gateway_rest_api" "web" {
  name = "web"
  endpoint_configuration {
    types = ["REGIONAL"] # a stream may rest for five minutes there, and for 30 seconds at the edge
  }
}

resource "aws_api_gateway_resource" "web" {
  rest_api_id = aws_api_gateway_rest_api.web.id
  parent_id   = aws_api_gateway_rest_api.web.root_resource_id
  path_part   = "{proxy+}"
}

locals {
  resources = {
    root  = aws_api_gateway_rest_api.web.root_resource_id
    proxy = aws_api_gateway_resource.web.id
  }
}

resource "aws_api_gateway_method" "web" {
  for_each      = local.resources
  rest_api_id   = aws_api_gateway_rest_api.web.id
  resource_id   = each.value
  http_method   = "ANY"
  authorization = "NONE"
}

resource "aws_api_gateway_integration" "web" {
  for_each                = local.resources
  rest_api_id             = aws_api_gateway_rest_api.web.id
  resource_id             = each.value
  http_method             = aws_api_gateway_method.web[each.key].http_method
  type                    = "AWS_PROXY"
  integration_http_method = "POST"
  uri                     = aws_lambda_function.web["streamed"].response_streaming_invoke_arn
  response_transfer_mode  = "STREAM"
}

resource "aws_api_gateway_deployment" "web" {
  rest_api_id = aws_api_gateway_rest_api.web.id
  triggers    = { integrations = sha1(jsonencode(aws_api_gateway_integration.web)) }
}

resource "aws_api_gateway_stage" "web" {
  rest_api_id   = aws_api_gateway_rest_api.web.id
  deployment_id = aws_api_gateway_deployment.web.id
  stage_name    = "live"
}

resource "aws_lambda_permission" "web" {
  for_each = {
    "apigateway.amazonaws.com"           = "whole"
    "elasticloadbalancing.amazonaws.com" = "whole"
  }
  function_name = aws_lambda_function.web[each.value].function_name
  action        = "lambda:InvokeFunction"
  principal     = each.key
}

resource "aws_lambda_permission" "rest_api" {
  function_name = aws_lambda_function.web["streamed"].function_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_api_gateway_rest_api.web.execution_arn}/*"
}

resource "aws_iam_role" "function" {
  name = "samovar-web"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "lambda.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy_attachment" "logs" {
  role       = aws_iam_role.function.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}
