"""One request as each source sends it: POST /orders/caf%C3%A9%20au, with two cookies and a repeated header.

Written by hand, in the forms that were captured on AWS.
"""

from __future__ import annotations

from typing import Any

QUERY = "repeat=one&repeat=two&plus=a+b&encoded=a%2Bb&empty="


def function_url(**changes: Any) -> dict[str, Any]:
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/orders/caf%C3%A9%20au",
        "rawQueryString": QUERY,
        "cookies": ["a=1", "b=2"],
        "headers": {
            "host": "abc.lambda-url.eu-west-1.on.aws",
            "cookie": "a=1; b=2",
            "x-many": "one,two",
            "content-type": "text/plain",
            "x-forwarded-proto": "https",
            "x-forwarded-port": "443",
            "x-forwarded-for": "203.0.113.7",
        },
        "requestContext": {
            "domainName": "abc.lambda-url.eu-west-1.on.aws",
            "http": {"method": "POST", "path": "/orders/café au", "sourceIp": "203.0.113.7"},
            "stage": "$default",
        },
        "body": "Grüße",
        "isBase64Encoded": False,
        **changes,
    }


def http_api(**changes: Any) -> dict[str, Any]:
    event = function_url()
    del event["headers"]["cookie"]
    event["rawPath"] = "/orders/café au"
    event["headers"]["host"] = event["requestContext"]["domainName"] = "abc.execute-api.eu-west-1.amazonaws.com"
    return {**event, **changes}


def rest_api(**changes: Any) -> dict[str, Any]:
    headers = {
        "Host": ["abc.execute-api.eu-west-1.amazonaws.com"],
        "Cookie": ["a=1; b=2"],
        "X-Many": ["one", "two"],
        "Content-Type": ["text/plain"],
        "X-Forwarded-Proto": ["https"],
        "X-Forwarded-Port": ["443"],
        "X-Forwarded-For": ["203.0.113.7, 198.51.100.1"],
        "X-Nothing": None,
    }
    query = {"empty": [""], "encoded": ["a+b"], "plus": ["a b"], "repeat": ["one", "two"]}
    return {
        "resource": "/{proxy+}",
        "path": "/orders/caf%C3%A9%20au",
        "httpMethod": "POST",
        "headers": {name: values and values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()},
        "multiValueQueryStringParameters": query,
        "pathParameters": {"proxy": "orders/caf%C3%A9%20au"},
        "stageVariables": None,
        "requestContext": {
            "resourcePath": "/{proxy+}",
            "path": "/live/orders/caf%C3%A9%20au",
            "stage": "live",
            "domainName": "abc.execute-api.eu-west-1.amazonaws.com",
            "identity": {"sourceIp": "203.0.113.7"},
        },
        "body": "Grüße",
        "isBase64Encoded": False,
        **changes,
    }


def http_api_1(**changes: Any) -> dict[str, Any]:
    event = rest_api(version="1.0", path="/live/orders/café au")
    event["requestContext"]["path"] = "/live/orders/café au"
    return {**event, **changes}


def alb(*, multi: bool = True, **changes: Any) -> dict[str, Any]:
    headers = {
        "host": ["shop.example.com:8080"],
        "cookie": ["a=1; b=2"],
        "x-many": ["one", "two"],
        "content-type": ["text/plain"],
        "x-forwarded-proto": ["http"],
        "x-forwarded-port": ["8080"],
        "x-forwarded-for": ["192.0.2.66, 203.0.113.7"],
    }
    query = {"empty": [""], "encoded": ["a%2Bb"], "plus": ["a+b"], "repeat": ["one", "two"]}
    event: dict[str, Any] = {
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/t/1"}},
        "httpMethod": "POST",
        "path": "/orders/caf%C3%A9%20au",
        "body": "Grüße",
        "isBase64Encoded": False,
        **changes,
    }
    if multi:
        return {**event, "multiValueHeaders": headers, "multiValueQueryStringParameters": query}
    return {
        **event,
        "headers": {name: values[-1] for name, values in headers.items()},
        "queryStringParameters": {name: values[-1] for name, values in query.items()},
    }


def lattice_v1(**changes: Any) -> dict[str, Any]:
    return {
        "raw_path": f"/orders/caf%C3%A9%20au?{QUERY}",
        "method": "POST",
        "headers": {
            "host": "shop.vpc-lattice-svcs.eu-west-1.on.aws",
            "cookie": "a=1; b=2",
            "x-many": "one,two",
            "content-type": "text/plain",
            "x-forwarded-for": "203.0.113.7",
        },
        "query_string_parameters": {"repeat": "two"},
        "body": "Grüße",
        "is_base64_encoded": False,
        **changes,
    }


def lattice_v2(**changes: Any) -> dict[str, Any]:
    headers: dict[str, Any] = lattice_v1()["headers"]
    return {
        "version": "2.0",
        "path": f"/orders/caf%C3%A9%20au?{QUERY}",
        "method": "POST",
        "headers": {**{name: [value] for name, value in headers.items()}, "x-many": ["one", "two"]},
        "queryStringParameters": {"repeat": ["one", "two"]},
        "body": "Grüße",
        "isBase64Encoded": False,
        "requestContext": {
            "serviceNetworkArn": "arn:aws:vpc-lattice:eu-west-1:1:servicenetwork/sn-1",
            "identity": {},
        },
        **changes,
    }


EVENTS = {
    "function_url": function_url(),
    "http_api": http_api(),
    "http_api_1": http_api_1(),
    "rest_api": rest_api(),
    "alb": alb(),
    "alb_single": alb(multi=False),
    "lattice_v1": lattice_v1(),
    "lattice_v2": lattice_v2(),
}
