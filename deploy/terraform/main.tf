# A managed function on Samovar, complete. os_only.tf, image.tf and rollout.tf beside it add to it.
terraform {
  required_providers {
    aws     = { source = "hashicorp/aws", version = "~> 6.0" }
    archive = { source = "hashicorp/archive", version = "~> 2.0" }
  }
}

variable "runtime" {
  default = "python3.13" # samovar layer --python 3.13 --arch x86_64
}

variable "architecture" {
  default = "x86_64" # or arm64
}

locals {
  layer = "${path.module}/../../build/layer-${var.runtime}-${var.architecture}.zip"
}

data "archive_file" "function" {
  type        = "zip"
  source_file = "${path.module}/../src/app.py" # your code and its packages
  output_path = "${path.module}/build/function.zip"
}

resource "aws_lambda_layer_version" "samovar" {
  layer_name               = "samovar"
  filename                 = local.layer
  source_code_hash         = filebase64sha256(local.layer)
  compatible_runtimes      = [var.runtime]
  compatible_architectures = [var.architecture]
  license_info             = "Apache-2.0"
  skip_destroy             = true # older versions can be named again
}

resource "aws_lambda_function" "managed" {
  function_name    = "managed"
  role             = aws_iam_role.function.arn
  runtime          = var.runtime
  architectures    = [var.architecture]
  handler          = "app.handler"
  filename         = data.archive_file.function.output_path
  source_code_hash = data.archive_file.function.output_base64sha256
  layers           = [aws_lambda_layer_version.samovar.arn]
  publish          = true
  environment {
    variables = { AWS_LAMBDA_EXEC_WRAPPER = "/opt/samovar-exec" }
  }
  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.managed.name
  }
}

resource "aws_cloudwatch_log_group" "managed" {
  name              = "/aws/lambda/managed"
  retention_in_days = 30
}

resource "aws_iam_role" "function" {
  name = "samovar-function"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "lambda.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy_attachment" "logs" {
  role       = aws_iam_role.function.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}
