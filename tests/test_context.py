"""The context by itself; tests/contract/cases_context.py compares it with the official client's."""

import os
from collections.abc import Iterator

import pytest

from samovar import context
from samovar.context import Contexts
from samovar.errors import Fault
from tests import invocations


@pytest.fixture(autouse=True)
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "")  # put back afterwards
    yield
    invocations.forget()


@pytest.mark.parametrize(("left", "told"), [(-1, 0), (0, 0), (1, 1), (2, 2), (900_000, 900_000)])
def test_the_time_that_is_left_ends_at_0(monkeypatch: pytest.MonkeyPatch, left: int, told: int) -> None:
    monkeypatch.setattr(context, "time", lambda: 1_700_000_000.0)
    begun = invocations.begin(deadline_ms=str(1_700_000_000_000 + left))
    invocations.forget()
    assert begun.get_remaining_time_in_millis() == told


def test_the_headers_are_its_attributes() -> None:
    begun = invocations.begin(
        "request-1",
        arn="arn:aws:lambda:eu-west-1:123456789012:function:f",
        tenant_id="tenant",
        client_context='{"custom":{"a":1},"client":{"app_title":"title"},"w3c":{"traceparent":"00-1","other":"x"}}',
        identity='{"cognitoIdentityId":"id","cognitoIdentityPoolId":"pool"}',
    )
    assert (begun.aws_request_id, begun.tenant_id) == ("request-1", "tenant")
    assert begun.invoked_function_arn == "arn:aws:lambda:eu-west-1:123456789012:function:f"
    assert begun.client_context is not None
    assert (begun.client_context.custom, begun.client_context.env) == ({"a": 1}, None)
    assert begun.client_context.client.app_title == "title"
    assert (begun.identity.cognito_identity_id, begun.identity.cognito_identity_pool_id) == ("id", "pool")
    assert begun.w3c() == {"traceparent": "00-1"}


def test_the_function_is_described_by_its_variables_whenever_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = Contexts()
    for name in "one", "two":
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", name)
        invocation = invocations.invocation()
        contexts.begin(invocation)
        assert invocation.context is not None
        assert invocation.context.function_name == name


def test_the_trace_id_is_in_the_environment_while_there_is_one() -> None:
    contexts = Contexts()
    contexts.begin(invocations.invocation(trace_id="Root=1"))
    assert os.environ["_X_AMZN_TRACE_ID"] == "Root=1"
    contexts.begin(invocations.invocation())
    assert "_X_AMZN_TRACE_ID" not in os.environ


@pytest.mark.parametrize(
    ("header", "value", "message"),
    [
        ("deadline_ms", "soon", "Unable to parse Deadline: 'soon' is not a number"),
        ("client_context", "{", "Unable to parse Client Context JSON: "),
        ("identity", "{", "Unable to parse Cognito Identity JSON: "),
    ],
)
def test_a_header_that_cannot_be_read_is_a_fault_and_the_context_is_there(
    header: str, value: str, message: str
) -> None:
    invocation = invocations.invocation("request-1", **{header: value})
    with pytest.raises(Fault) as caught:
        Contexts().begin(invocation)
    assert caught.value.error_type == "Runtime.LambdaContextUnmarshalError"
    assert caught.value.message.startswith(message)
    assert invocation.context is not None
    assert invocation.context.aws_request_id == "request-1"
