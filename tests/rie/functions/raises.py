def handler(event, context):
    raise ValueError("x" * event["size"])
