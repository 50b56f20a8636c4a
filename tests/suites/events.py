"""Events that others have captured, each told right: the source and the request, or that it is no HTTP request.

AWS's samples come with the SAM CLI, which `make sam` installs. Those of Powertools, lambda-http and voker were found in
no package of PyPI, npm or Debian: with a clone of such a repository, `python -m tests.suites.events CLONE` checks them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samovar.handler import sources

_QUERY = "parameter1=value1&parameter1=value2&parameter2=value"
_BY_NAME = "empty=&encodedPlus=a%2Bb&literalPlus=a+b&redirect=https%3A%2F%2Fexample.com%2Fa%2Fb&repeat=one&repeat=two"
_AS_SENT = "repeat=one&repeat=two&redirect=https%3A%2F%2Fexample.com%2Fa%2Fb&literalPlus=a+b&encodedPlus=a%2Bb&empty="

SAM = {  # sam local generate-event
    "alb request": "alb POST /path/to/resource?query=1234ABCD",
    "apigateway aws-proxy": "rest_api POST /prod + /path/to/resource?foo=bar",
    "apigateway http-api-proxy": f"http_api POST /path/to/resource?{_QUERY}",
}

POWERTOOLS = {
    "albEvent": "alb GET /lambda?query=1234ABCD",
    "albEventPathTrailingSlash": "alb GET /lambda/?query=1234ABCD",
    "albMultiValueHeadersEvent": "alb GET /todos",
    "albMultiValueQueryStringEvent": f"alb GET /todos?{_QUERY}",
    "apiGatewayProxyEvent": f"rest_api GET /my/path?{_QUERY}",
    "apiGatewayProxyEventAnotherPath": "rest_api: the event's body is not base64",
    "apiGatewayProxyEventNoOrigin": f"rest_api GET /my/path?{_QUERY}",
    "apiGatewayProxyEventPathTrailingSlash": "rest_api: the event's body is not base64",
    "apiGatewayProxyEventPrincipalId": "rest_api POST /trip",
    "apiGatewayProxyEvent_noVersionAuth": "rest_api: the event's body is not base64",
    "apiGatewayProxyOtherEvent": f"rest_api GET /other/path?{_QUERY}",
    "apiGatewayProxyV2Event": f"http_api POST /my/path?{_QUERY}",
    "apiGatewayProxyV2EventPathTrailingSlash": f"http_api POST /my/path/?{_QUERY}",
    "apiGatewayProxyV2Event_GET": f"http_api GET /my/path?{_QUERY}",
    "apiGatewayProxyV2IamEvent": f"http_api GET /my/path?{_QUERY}",
    "apiGatewayProxyV2LambdaAuthorizerEvent": f"http_api GET /my/path?{_QUERY}",
    "apiGatewayProxyV2OtherGetEvent": f"http_api GET /other/path?{_QUERY}",
    "apiGatewayProxyV2SchemaMiddlwareInvalidEvent": f"http_api POST /my/path?{_QUERY}",
    "apiGatewayProxyV2SchemaMiddlwareValidEvent": f"http_api POST /my/path?{_QUERY}",
    "apigatewayeSchemaMiddlwareInvalidEvent": f"rest_api POST /my/path?{_QUERY}",
    "apigatewayeSchemaMiddlwareValidEvent": f"rest_api POST /my/path?{_QUERY}",
    "lambdaFunctionUrlEvent": "function_url GET /",
    "lambdaFunctionUrlEventPathTrailingSlash": f"function_url POST /my/path/?{_QUERY}",
    "lambdaFunctionUrlEventWithHeaders": "function_url GET /",
    "lambdaFunctionUrlIAMEvent": f"function_url POST /my/path?{_QUERY}",
    "vpcLatticeEvent": "lattice_v1 GET /testpath?order-id=1",
    "vpcLatticeEventPathTrailingSlash": "lattice_v1 GET /testpath/?order-id=1",
    "vpcLatticeEventV2PathTrailingSlash": "lattice_v2 GET /newpath/",
    "vpcLatticeV2Event": "lattice_v2 GET /newpath?order-id=1",
    "vpcLatticeV2EventWithHeaders": f"lattice_v2 GET /newpath?{_QUERY}",
}
LAMBDA_HTTP = {
    "alb_health_check": "alb GET /",
    "alb_multi_value_request": "alb GET /?myKey=val1&myKey=val2&myOtherKey=val3&myOtherKey=val4",
    "alb_multi_value_request_encoded_query_parameters": "alb GET /?myKey=%3FshowAll%3Dtrue&myKey=%3FshowAll%3Dfalse",
    "alb_no_host": "alb GET /v1/health/",
    "alb_request": "alb GET /?myKey=val2",
    "alb_request_encoded_query_parameters": "alb GET /?myKey=%3FshowAll%3Dtrue",
    "apigw_multi_value_proxy_request": "rest_api POST /hello/world?name=me&multiValueName=you&multiValueName=me",
    "apigw_no_host": "rest_api GET /hello?name=me",
    "apigw_proxy_request": "rest_api GET /hello?name=me",
    "apigw_request_path_with_space": f"http_api POST /my/path-with space?{_QUERY}",
    "apigw_v2_proxy_request": f"http_api POST /my/path?{_QUERY}",
    "apigw_v2_proxy_request_minimal": "http_api GET /",
    "apigw_v2_proxy_request_with_stage_in_path": f"http_api POST /Prod + /my/path?{_QUERY}",
    "apigw_v2_sam_local": "http_api GET /hello",
    "lambda_function_url_request": f"function_url GET /my/path?{_QUERY}",
}
VOKER = {
    "alb-request": f"alb POST /capture/space value?{_BY_NAME}",
    "apigwv1-request": f"rest_api POST /live + /capture/space value?{_BY_NAME}",
    "apigwv2-request": f"http_api POST /capture/space value?{_AS_SENT}",
    "functionurl-request": f"function_url POST /capture/space value?{_AS_SENT}",
}
CLONES = {  # the folder of a clone, and the HTTP requests in it
    "tests/events": POWERTOOLS,
    "lambda-http/tests/data": LAMBDA_HTTP,
    "vokerhttp/testdata": VOKER,
}


def told(event: Any) -> str:
    """Return the source, method, root path, path and query of a request; an empty text for another event."""
    source = sources.find(event)
    if source is None:
        return ""
    name = vars(source)["__name__"].rpartition(".")[2]
    try:
        request = source.request(event)
    except ValueError as exc:
        return f"{name}: {str(exc).partition(',')[0]}"
    path = request.path.decode().removeprefix(request.root_path)
    root = f"{request.root_path} + " if request.root_path else ""
    query = f"?{request.query.decode()}" if request.query else ""
    return f"{name} {request.method} {root}{path}{query}"


def wrong(events: Mapping[str, Any], want: Mapping[str, str]) -> list[str]:
    """Return a line for each event that is not told as the table has it, which names the HTTP requests."""
    lines = [f"{name} is missing" for name in want.keys() - events.keys()]
    for name, event in events.items():
        if (is_told := told(event)) != want.get(name, ""):
            lines.append(f"{name} is {is_told or 'no HTTP request'}, and should be {want.get(name) or 'none'}")
    return sorted(lines)


def main(clone: str) -> int:
    """Check the events of a clone, and return the exit status."""
    for folder, want in CLONES.items():
        if files := sorted(Path(clone, folder).glob("*.json")):
            lines = wrong({file.stem: json.loads(file.read_text()) for file in files}, want)
            print(*lines, f"{len(files)} events in {folder}, {len(lines)} of them wrong", sep="\n")
            return 1 if lines else 0
    print(f"{clone} has none of {', '.join(CLONES)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2] or ["."]))
