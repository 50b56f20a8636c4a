# An alias for callers, a share of whose traffic may go to another version, an alarm for it, and a URL for it.
variable "live_version" {
  description = "The version that callers get; empty: the newest"
  default     = ""
}

variable "canary" {
  description = "Another version and its share: {\"8\" = 0.1} sends it a tenth of the traffic"
  type        = map(number)
  default     = {}
}

variable "alarm_topics" {
  description = "ARNs of SNS topics that are told"
  type        = list(string)
  default     = []
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  function_name    = aws_lambda_function.managed.function_name
  function_version = var.live_version == "" ? aws_lambda_function.managed.version : var.live_version
  dynamic "routing_config" {
    for_each = length(var.canary) == 0 ? [] : [var.canary]
    content {
      additional_version_weights = routing_config.value
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "managed-live-errors"
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = "managed", Resource = "managed:${aws_lambda_alias.live.name}" }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topics
}

resource "aws_lambda_function_url" "live" {
  function_name      = aws_lambda_function.managed.function_name
  qualifier          = aws_lambda_alias.live.name
  authorization_type = "AWS_IAM"
}

output "url" {
  value = aws_lambda_function_url.live.function_url
}
