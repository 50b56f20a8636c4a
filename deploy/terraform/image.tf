# A container image, on the image that the Dockerfile of this checkout makes. Create the repository first
# (terraform apply -target=aws_ecr_repository.function), push the image, then give its digest.
variable "image_digest" {
  description = "sha256:… of the pushed image; empty: no image function yet"
  default     = ""
}

resource "aws_ecr_repository" "function" {
  name = "samovar-function"
}

resource "aws_lambda_function" "image" {
  count         = var.image_digest == "" ? 0 : 1
  function_name = "image"
  role          = aws_iam_role.function.arn
  package_type  = "Image"
  architectures = [var.architecture]
  image_uri     = "${aws_ecr_repository.function.repository_url}@${var.image_digest}"
}
