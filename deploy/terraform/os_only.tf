# A function on provided.al2023: the layer has the interpreter too.
locals {
  bundle = "${path.module}/../../build/layer-${var.runtime}-${var.architecture}-bundle.zip" # samovar layer … --bundle
}

resource "aws_lambda_layer_version" "samovar_bundle" {
  layer_name               = "samovar-bundle"
  filename                 = local.bundle
  source_code_hash         = filebase64sha256(local.bundle)
  compatible_runtimes      = ["provided.al2023"]
  compatible_architectures = [var.architecture]
  license_info             = "Apache-2.0"
  skip_destroy             = true
}

resource "aws_lambda_function" "os_only" {
  function_name    = "os-only"
  role             = aws_iam_role.function.arn
  runtime          = "provided.al2023"
  architectures    = [var.architecture]
  handler          = "app.handler"
  filename         = data.archive_file.function.output_path
  source_code_hash = data.archive_file.function.output_base64sha256
  layers           = [aws_lambda_layer_version.samovar_bundle.arn]
  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.os_only.name
  }
}

resource "aws_cloudwatch_log_group" "os_only" {
  name              = "/aws/lambda/os-only"
  retention_in_days = 30
}
