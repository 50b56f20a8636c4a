"""The name `awslambdaric` on every install, also where nobody has installed it, and in other processes."""

from __future__ import annotations

import pytest

from tests.attach.harness import AWS, IMAGE, INSTALLS, LAYER, OS_ONLY, Attached, Function

NAMES = Function(
    (),
    {
        "app.py": """
            from importlib.util import find_spec

            import awslambdaric
            from awslambdaric import bootstrap, lambda_context, lambda_runtime_client, lambda_runtime_exception
            from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller, to_json

            found = [
                awslambdaric.__version__,
                awslambdaric.bootstrap is bootstrap,
                bootstrap.LambdaRuntimeClient is lambda_runtime_client.LambdaRuntimeClient,
                bootstrap.FaultException is lambda_runtime_exception.FaultException,
                hasattr(bootstrap, "handle_http_request"),
                find_spec("awslambdaric") is not None,
                find_spec("awslambdaric.lambda_context") is not None,
                find_spec("awslambdaric.nothing") is not None,
                bootstrap._get_handler("json.dumps")("a"),
            ]

            def handler(event, context):
                return [found, isinstance(context, lambda_context.LambdaContext), bootstrap._GLOBAL_AWS_REQUEST_ID]
        """
    },
)
ABSENT = Function(
    (),
    {
        "app.py": """
            def handler(event, context):
                from awslambdaric.bootstrap import make_error
        """
    },
)
BY_PTH = Function(
    (),
    {
        "agent.pth": "import agent\n",
        "agent.py": """
            from awslambdaric import bootstrap

            original = bootstrap.handle_event_request

            def replaced(*args):
                print("before")
                original(*args)

            bootstrap.handle_event_request = replaced
        """,
        "app.py": "def handler(event, context): return event",
    },
)
SPAWNS = Function(
    (),
    {
        "app.py": """
            import multiprocessing

            from awslambdaric.lambda_context import LambdaContext

            def work(context: LambdaContext, results) -> None:
                results.put([isinstance(context, LambdaContext), context.aws_request_id])

            def handler(event, context):
                found = []
                for method in "fork", "spawn", "forkserver":
                    processes = multiprocessing.get_context(method)
                    results = processes.SimpleQueue()
                    process = processes.Process(target=work, args=(context, results))
                    process.start()
                    process.join()
                    found.append(None if results.empty() else results.get())
                return found
        """
    },
)


@pytest.mark.parametrize("install", INSTALLS)
@pytest.mark.parametrize(
    "function", [NAMES, BY_PTH, SPAWNS], ids=["names", "agent by .pth", "processes of multiprocessing"]
)
def test_awslambdaric_is_there(attached: Attached, install: str, function: Function) -> None:
    expected, ours = (attached(function, which) for which in (AWS, install))
    assert ours.posts == expected.posts
    assert ours.output == expected.output
    assert expected.posts[0].call.endswith("/response")


def test_a_name_that_only_the_official_package_has_is_there_where_it_is_installed(attached: Attached) -> None:
    posts = {install: attached(ABSENT, install).posts for install in (AWS, *INSTALLS)}
    assert posts[LAYER] == posts[AWS]
    assert posts[OS_ONLY] == posts[IMAGE]
    assert "cannot import name 'make_error' from 'awslambdaric.bootstrap'" in str(posts[OS_ONLY])
