"""A heavy handler: an AWS client created during INIT."""

import boto3

client = boto3.client("s3", region_name="eu-west-1")


def handler(event, context):  # type: ignore[no-untyped-def]
    return {"bucket": client.meta.region_name}
