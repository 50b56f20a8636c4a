"""Annotations with AWS's LambdaContext, checked at each call."""

from __future__ import annotations

import pytest

from tests.attach.harness import AWS, INSTALLS, Attached, Function

SOURCE = """
    from awslambdaric.lambda_context import CognitoIdentity, LambdaContext
    from {package} import {decorator}

    @{decorator}{options}
    def handler(event: dict, context: LambdaContext):
        assert isinstance(context.identity, CognitoIdentity)
        return [event, isinstance(context, LambdaContext), type(context).__name__]
"""
EVENTS = ({"number": 1}, "no dict")
FUNCTIONS = {
    "pydantic": Function(
        ("annotations",),
        {
            "app.py": SOURCE.format(
                package="pydantic",
                decorator="validate_call",
                options='(config={"arbitrary_types_allowed": True})',
            )
        },
        EVENTS,
    ),
    "beartype": Function(
        ("annotations",), {"app.py": SOURCE.format(package="beartype", decorator="beartype", options="")}, EVENTS
    ),
}


@pytest.mark.parametrize("install", INSTALLS)
@pytest.mark.parametrize("package", FUNCTIONS)
def test_the_context_is_what_its_annotation_says(attached: Attached, install: str, package: str) -> None:
    expected, ours = (attached(FUNCTIONS[package], which) for which in (AWS, install))
    print(expected.posts, expected.output)
    assert ours.posts == expected.posts
    assert [post.call.rpartition("/")[2] for post in expected.posts] == ["response", "error"]
