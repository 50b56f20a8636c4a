"""Starlette's own tests, unchanged: each request of a test client becomes an event, which the runtime answers.

`make attach` brings Starlette's source archive, checked against its hash. suite/event_client.py is the client.
"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.attach.harness import SITES, version
from tests.conftest import ROOT

TESTS = ROOT / "build" / "attach-tests"
SUITE = Path(__file__).parent / "suite"
FILES = (
    "middleware",
    *(
        f"test_{name}.py"
        for name in (
            "applications",
            "authentication",
            "background",
            "endpoints",
            "exceptions",
            "formparsers",
            "requests",
            "responses",
            "routing",
            "staticfiles",
        )
    ),
)
LEFT_OUT = (
    "--ignore=tests/middleware/test_opentelemetry.py",  # its SDK would be one more package, for no request more
    "--deselect=tests/test_staticfiles.py::test_staticfiles_with_invalid_dir_permissions_returns_401",  # root may read
)

Differences = dict[str, tuple[str, ...]]

EVERYWHERE: Differences = {
    "API Gateway and load balancers add headers": ("test_requests.test_request_headers",),
    "Lambda has no trailers for a client, and the scope declares none": (
        "test_gzip.test_gzip_trailers",
        "test_gzip.test_gzip_excluded_content_type_trailers",
    ),
    "HTTP/2 push: the scope declares no extensions, and the test reads them": (
        "test_requests.test_request_send_push_promise",
        "test_requests.test_request_send_push_promise_without_setting_send",
    ),
    "The answer for a failed application has a text": ("test_exceptions.test_force_500_response",),
    "A failed shutdown is logged": ("test_routing.test_raise_on_shutdown",),
    "State from start-up is asked for by a WebSocket too, which sends no such event": (
        "test_applications.test_websocket_state",
    ),
}
STREAMED: Differences = {
    "Content-Length is the platform's in a stream": (
        "test_responses.test_empty_response",
        "test_responses.test_file_response",
        "test_responses.test_file_response_head",
        "test_responses.test_file_response_ignores_range_for_non_get_methods",
        "test_responses.test_file_response_ignores_range_for_non_success_status",
        "test_responses.test_file_response_known_size",
        "test_responses.test_file_response_merge_ranges",
        "test_responses.test_file_response_multiple_calls",
        "test_responses.test_file_response_range",
        "test_responses.test_file_response_range_head",
        "test_responses.test_file_response_range_multi",
        "test_responses.test_file_response_range_multi_head",
        "test_responses.test_file_response_single_byte_range",
        "test_responses.test_file_response_suffix_range",
        "test_responses.test_file_response_suffix_range_larger_than_file",
        "test_responses.test_file_response_with_range_header",
        "test_responses.test_file_response_without_range",
        "test_responses.test_non_empty_response",
        "test_responses.test_populate_headers",
        "test_responses.test_redirect_response_content_length_header",
        "test_responses.test_response_non_contiguous_memoryview",
        "test_responses.test_response_typed_memoryview",
        "test_responses.test_streaming_response_known_size",
        "test_gzip.test_gzip_compression_in_thread",
        "test_gzip.test_gzip_ignored_for_small_responses",
        "test_gzip.test_gzip_ignored_on_range_responses",
        "test_gzip.test_gzip_not_in_accept_encoding",
        "test_gzip.test_gzip_responses",
        "test_staticfiles.test_staticfiles_head_with_middleware",
        "test_staticfiles.test_staticfiles_never_read_file_for_head_method",
    ),
}
NO_STAGE: Differences = {
    "There are no stages, so there is no root path": (
        "test_routing.test_paths_with_root_path",
        "test_routing.test_url_for_with_root_path",
        "test_routing.test_url_for_with_root_path_ending_with_slash",
    ),
    "The server's name, where the Host header is none, is the platform's": (
        "test_https_redirect.test_https_redirect_middleware",
    ),
}
UNQUOTED: Differences = {
    "An HTTP API unquotes the path": ("test_requests.test_request_raw_path",),
}
RUNS: dict[tuple[str, str], tuple[Differences, ...]] = {
    ("function_url", "stream"): (EVERYWHERE, STREAMED, NO_STAGE),
    ("rest_api", "stream"): (EVERYWHERE, STREAMED),
    ("http_api", "buffered"): (EVERYWHERE, UNQUOTED),
    ("alb", "buffered"): (EVERYWHERE, NO_STAGE),
}


def run(folder: Path, source: str, mode: str, report: Path, *arguments: str) -> dict[str, bool]:
    """Run tests in a process of their own; return which have passed, by name."""
    if not (TESTS / ".done").exists():
        pytest.skip("run make attach: build/attach-tests is missing")
    env = {
        **os.environ,
        "PYTHONPATH": f"{SITES / 'starlette'}:{SUITE}",
        "SUITE_SOURCE": source,
        "SAMOVAR_RESPONSE_MODE": mode,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # they take longer than the tests
        "PYTHONDONTWRITEBYTECODE": "",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "anyio.pytest_plugin",
        "-q",
        "--tb=short",
        f"--junit-xml={report}",
        *arguments,
    ]
    done = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert report.exists(), done.stdout
    print(done.stdout)
    passed: dict[str, bool] = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name', '').partition('[')[0]}"
        failed = case.find("failure") is not None or case.find("error") is not None
        passed[name] = passed.get(name, True) and not failed
    return passed


Ran = Mapping[tuple[str, str], "Future[dict[str, bool]]"]


@pytest.fixture(scope="module")
def starlettes_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """All runs, two at a time."""
    folder = TESTS / f"starlette-{version('starlette', 'starlette')}"
    arguments = "-p", "event_client", *(f"tests/{name}" for name in FILES), *LEFT_OUT
    with ThreadPoolExecutor(2) as pool:
        yield {
            key: pool.submit(run, folder, *key, tmp_path_factory.mktemp("report") / "report.xml", *arguments)
            for key in RUNS
        }


@pytest.mark.parametrize(("source", "mode"), RUNS)
def test_starlettes_own_tests_pass_but_for_the_table(source: str, mode: str, starlettes_tests: Ran) -> None:
    passed = starlettes_tests[source, mode].result()
    expected = {name for table in RUNS[source, mode] for names in table.values() for name in names}
    assert {name for name, whole in passed.items() if not whole} == expected
    assert len(passed) > 300


def test_asgi_lifespan_and_sse_starlette_work_as_they_are(tmp_path: Path) -> None:
    arguments = "--rootdir=.", "-c", os.devnull, f"--confcutdir={SUITE}", str(SUITE / "with_packages.py")
    passed = run(tmp_path, "function_url", "stream", tmp_path / "report.xml", *arguments)
    assert [name for name, whole in passed.items() if not whole] == []
    assert len(passed) == 5
