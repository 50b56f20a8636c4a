"""Where the tests of other adapters fail over Samovar, on purpose: each test names a difference, and how it fails.

What the shims put into the adapter's own form, so that the rest of a test counts, is under SHIMS; tests of our own hold
it. A test that passes all the same, and one that is no longer there, fails tests/suites/test_suites.py.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.contract.differences import Difference


class Expected(NamedTuple):
    """A test that fails. `test` is its id, or the beginning of several with a `*`; `shows`, what pytest says."""

    test: str
    difference: str
    shows: str


SHIMS = {  # in every test
    "scope": Difference(
        "`raw_path` is given, `spec_version` is 2.4, headers are tuples",
        "tests/handler/test_asgi.py: test_the_scope_is_that_of_asgi_2_4_for_every_source",
    ),
    "answer": Difference(
        "An answer has no empty `multiValueHeaders` and `cookies`; a load balancer's has a `statusDescription`",
        "A header of a REST API is in one of two fields, and names are as the application wrote them. "
        "tests/handler/test_sources.py: test_an_answer_has_exactly_the_form_of_its_source",
    ),
    "environ": Difference(
        "`aws.event` and `aws.context` are the names in the environ",
        "apig-wsgi's begin with `apig_wsgi`",
    ),
    "events": Difference(
        "Events get the `resource`, `requestContext` and `pathParameters` that those of AWS have",
        "Tests leave some out. Mangum's have the path `/test/hello` with the parameter `hello`, which on AWS means a "
        "custom domain with the base path `test`",
    ),
}

DIFFERENCES = {
    "query-as-sent": Difference(
        "The query of a load balancer is passed on as the client has quoted it",
        "Mangum unquotes it, and quotes it its own way",
    ),
    "text-by-bytes": Difference(
        "What is UTF-8 and has no Content-Encoding is text",
        "The others have lists of media types: a body of another type, or without one, is base64",
    ),
    "no-header-filter": Difference(
        "There is no list of headers to leave out",
        "A middleware of the application does that",
    ),
    "root-path": Difference(
        "The stage is `root_path`, and `path` begins with it, as ASGI has it",
        "Mangum leaves `root_path` empty, and cuts off what `api_gateway_base_path` names",
    ),
    "all-headers": Difference(
        "`multiValueHeaders` have every header",
        "They do on AWS; the test's event has others in `headers` only",
    ),
    "apart": Difference(
        "Repeated request headers are pairs of their own",
        "Mangum joins them",
    ),
    "server": Difference(
        "Without a Host header the server is the domain in the event, and the port that of the scheme",
        "Mangum says `mangum` and 80, also with https",
    ),
    "joined": Difference(
        "Repeated headers of an answer are joined with a comma and a space",
        "As RFC 9110 has it; Mangum leaves the space out",
    ),
    "as-it-is": Difference(
        "An answer without a content type gets none",
        "Mangum says `application/json` to an HTTP API",
    ),
    "hybrid": Difference(
        "An event with `requestContext.http` is payload 2.0",
        "The test's has the version 1.0 beside it, which no event of AWS has",
    ),
    "not-http": Difference(
        "An event that is no HTTP request goes to the handler after the comma, else fails with Runtime.NotHttp",
        "Mangum has custom handlers. Lambda@Edge runs no custom runtimes. `requestContext: null` and versions that do "
        "not exist come from nowhere",
    ),
    "log": Difference(
        "The log is Samovar's own",
        "Mangum logs each request, and all over `logging`",
    ),
    "lifespan-on": Difference(
        "An application's lifespan always runs",
        'One that has none raises, and is served without. Mangum has `lifespan="off"`',
    ),
    "lifespan-goes-on": Difference(
        "A lifespan that sends another message is logged, and the application served",
        "ASGI: the server must continue. Mangum raises LifespanFailure",
    ),
    "shutdown-logged": Difference(
        "A shutdown that fails is logged",
        "The response has long left. Mangum runs it before, and fails the request",
    ),
    "no-event-loop": Difference(
        "The event loop is made when the application is loaded, in the main thread",
        "The test finds it in the thread that has made a Mangum",
    ),
    "localstack": Difference(
        "Not run: the test wants the image of LocalStack",
        "It drives Mangum's own code in a container, from a registry that tests here do not reach",
    ),
    "path-unquoted-once": Difference(
        "The path of an HTTP API is not unquoted",
        "API Gateway has done it; apig-wsgi does it again",
    ),
    "cgi-names": Difference(
        "The content type is CONTENT_TYPE only",
        "As RFC 3875 has it; apig-wsgi has HTTP_CONTENT_TYPE too",
    ),
    "client-of-aws": Difference(
        "The client of a REST API is the address that AWS gives",
        "apig-wsgi takes the first of X-Forwarded-For, which a client may write; the test's event has no other",
    ),
    "exc-info": Difference(
        "`start_response` with exc_info replaces what has not been sent",
        "PEP 3333. apig-wsgi raises always",
    ),
    "server-name": Difference(
        "SERVER_NAME and SERVER_PORT are never empty",
        "PEP 3333. A health check without Host gets `localhost`",
    ),
    "cookies-once": Difference(
        "Cookies are those of the list, with `; ` between them",
        "RFC 6265. A Function URL has the same ones in a header, and apig-wsgi doubles them",
    ),
}

_NOT_HTTP = (
    "samovar.errors.Fault: The event is no HTTP request of API Gateway, a Function URL, a load balancer or VPC "
    "Lattice; name a handler for other events after a comma: {}:MODULE:APPLICATION,MODULE.FUNCTION"
)
_YAML = "assert ours: body=\"name: 'John Doe'\", isBase64Encoded=False"
_KEPT = "{'content-type': 'text/plain; charset=utf-8', 'x-custom-header': 'test'}"
_NO_LOCALSTACK = "ModuleNotFoundError: No module named 'testcontainers'"
_JSON = """{"hello": "world", "foo": true}"""
_ALB, _REST, _HTTP = (
    f"tests/handlers/test_{name}.py::test_aws_{name}" for name in ("alb", "api_gateway", "http_gateway")
)

MANGUM = (
    Expected(
        f"{_ALB}_scope_real[GET-/lambda-*",
        "query-as-sent",
        "assert ours: query_string=b'q1=1234ABCD&q2=b+c&q3=b%20c&q4=/some/path/&q5=%2Fsome%2Fpath%2F'",
    ),
    Expected(f"{_ALB}_response_extra_mime_types", "text-by-bytes", _YAML),
    Expected(
        f"{_ALB}_exclude_headers[True]",
        "no-header-filter",
        "assert ours: multiValueHeaders={'content-type': ['text/plain; charset=utf-8'], 'x-custom-header': ['test']}",
    ),
    Expected(f"{_ALB}_exclude_headers[False]", "no-header-filter", f"assert ours: headers={_KEPT}"),
    Expected(
        f"{_REST}_scope_basic",
        "all-headers",
        "assert ours: path='/Prod/', root_path='/Prod', headers=[[b'accept', b'text/html,application/xhtml+xml,"
        "application/xml;q=0.9,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.9'], "
        "[b'accept-encoding', b'gzip, deflate, br']], client=None, server=('localhost', 443)",
    ),
    Expected(f"{_REST}_base_path*", "root-path", "assert ours: '/test/hello'"),
    Expected(f"{_REST}_response_extra_mime_types", "text-by-bytes", _YAML),
    Expected(f"{_REST}_exclude_headers", "no-header-filter", f"assert ours: headers={_KEPT}"),
    Expected(f"{_REST}_real_lambda_*", "localstack", _NO_LOCALSTACK),
    Expected(f"{_HTTP}_real_lambda_*", "localstack", _NO_LOCALSTACK),
    Expected(
        f"{_HTTP}_scope_basic_v1",
        "server",
        "assert ours: headers=[[b'header1', b'value1'], [b'header2', b'value1'], [b'header2', b'value2']], "
        "server=('id.execute-api.us-east-1.amazonaws.com', 443)",
    ),
    Expected(
        f"{_HTTP}_scope_basic_v2", "server", "assert ours: server=('id.execute-api.us-east-1.amazonaws.com', 443)"
    ),
    Expected(
        f"{_HTTP}_scope_real_v1[*",
        "apart",
        "assert ours: headers=[[b'accept-encoding', b'gzip'], [b'accept-encoding', b'deflate'], "
        "[b'x-forwarded-port', b'443'], [b'x-forwarded-proto', b'https'], "
        "[b'host', b'test.execute-api.us-west-2.amazonaws.com']]",
    ),
    Expected(
        f"{_HTTP}_response_v1[GET-None-Hello world*",
        "text-by-bytes",
        "assert ours: body='Hello world', isBase64Encoded=False",
    ),
    Expected(
        f"{_HTTP}_response_v1[GET-None-{{*", "text-by-bytes", f"assert ours: body='{_JSON}', isBase64Encoded=False"
    ),
    Expected(f"{_HTTP}_response_v2[GET-None-*", "as-it-is", "assert ours: headers={}"),
    Expected(f"{_HTTP}_response_v1_extra_mime_types", "text-by-bytes", _YAML),
    Expected(f"{_HTTP}_response_v2_extra_mime_types", "text-by-bytes", _YAML),
    Expected("tests/handlers/test_custom.py::test_custom_handler", "not-http", _NOT_HTTP.format("asgi")),
    Expected("tests/handlers/test_lambda_at_edge.py::*", "not-http", _NOT_HTTP.format("asgi")),
    Expected(
        "tests/test_adapter.py::test_event_loop_created_when_missing",
        "no-event-loop",
        "pytest.PytestUnhandledThreadExceptionWarning: Exception in thread Thread-1 (create_handler)",
    ),
    Expected(
        "tests/test_http.py::test_set_cookies_v2[*",
        "joined",
        "assert ours: headers={'content-type': 'text/plain; charset=utf-8', 'multivalue': 'foo, bar'}",
    ),
    Expected(
        "tests/test_http.py::test_set_cookies_v1[*",
        "hybrid",
        "assert ours: headers=[[b'accept-encoding', b'gzip,deflate'], [b'x-forwarded-port', b'443'], "
        "[b'x-forwarded-proto', b'https'], [b'host', b'test.execute-api.us-west-2.amazonaws.com'], "
        "[b'cookie', b'cookie1; cookie2']], client=('192.168.100.1', 0)",
    ),
    Expected("tests/test_http.py::test_http_logging*", "log", "assert 'GET /test/hello 200' in ''"),
    Expected("tests/test_lifespan.py::test_lifespan[*-off]", "lifespan-on", "assert ours: True"),
    Expected(
        "tests/test_lifespan.py::test_lifespan_error[*", "log", "assert \"Exception in 'lifespan' protocol.\" in ''"
    ),
    Expected(
        "tests/test_lifespan.py::test_lifespan_unexpected_message[*",
        "lifespan-goes-on",
        "Failed: DID NOT RAISE LifespanFailure",
    ),
    Expected(
        "tests/test_lifespan.py::test_lifespan_failure[*-shutdown]",
        "shutdown-logged",
        "Failed: DID NOT RAISE LifespanFailure",
    ),
)

_V1, _V2 = (f"tests/test_apig_wsgi.py::TestV{number}Events::test" for number in (1, 2))
_BYTES = "assert ours: body='\\x137', isBase64Encoded=False"

APIG_WSGI = (
    Expected(f"{_V1}_get_binary_support_binary", "text-by-bytes", _BYTES),
    Expected(f"{_V1}_get_binary_support_alb_*", "text-by-bytes", _BYTES),
    Expected(f"{_V1}_get_binary_support_no_content_type", "text-by-bytes", _BYTES),
    Expected(f"{_V1}_path_unquoting", "path-unquoted-once", "assert ours: '/api/path%2Finfo'"),
    Expected(f"{_V1}_special_headers", "cgi-names", "KeyError: 'HTTP_CONTENT_TYPE'"),
    Expected(f"{_V1}_special_content_type", "cgi-names", "KeyError: 'HTTP_CONTENT_TYPE'"),
    Expected(f"{_V1}_special_x_forwarded_for", "client-of-aws", "assert ours: ''"),
    Expected(f"{_V1}_exc_info", "exc-info", "Failed: DID NOT RAISE ValueError"),
    Expected(f"{_V1}_request_context_none", "not-http", _NOT_HTTP.format("wsgi")),
    Expected(f"{_V1}_elb_health_check", "server-name", "assert ours: 'localhost'"),
    Expected(
        f"{_V2}_get_missing_content_type",
        "text-by-bytes",
        "assert ours: body='Hello World\\n', isBase64Encoded=False",
    ),
    Expected(f"{_V2}_two_cookies", "cookies-once", "assert ours: 'testcookie=abc; testcookie2=def'"),
    Expected(f"{_V2}_mixed_cookies", "cookies-once", "assert ours: 'testcookie=abc'"),
    Expected(f"{_V2}_get_binary_support_binary", "text-by-bytes", _BYTES),
    Expected(f"{_V2}_special_headers", "cgi-names", "KeyError: 'HTTP_CONTENT_TYPE'"),
    Expected(f"{_V2}_path_unquoting", "path-unquoted-once", "assert ours: '/api/path%2Finfo'"),
    Expected(f"{_V2}_empty_and_uncloseable_content", "text-by-bytes", "assert ours: 'Hi there!'"),
    Expected("tests/test_apig_wsgi.py::TestUnknownVersionEvents::test_errors", "not-http", _NOT_HTTP.format("wsgi")),
)

SUITES = {"mangum": MANGUM, "apig_wsgi": APIG_WSGI}
PASS = {"mangum": 57, "apig_wsgi": 80}  # tests
