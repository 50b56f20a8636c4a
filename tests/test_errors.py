"""`Fault`, and which exceptions fail an invocation instead of ending the process."""

import asyncio

import pytest

from samovar.errors import Fault, is_failure


def test_a_fault_is_an_exception_with_its_message() -> None:
    fault = Fault("Runtime.HandlerNotFound", "missing")
    assert str(fault) == fault.message == "missing"
    assert (fault.error_type, fault.trace, fault.fatal) == ("Runtime.HandlerNotFound", None, False)


@pytest.mark.parametrize(
    ("exc", "fails"),
    [
        (ValueError(), True),
        (Fault("Runtime.Unknown", ""), True),
        (asyncio.CancelledError(), True),
        (SystemExit(), False),
        (KeyboardInterrupt(), False),
        (GeneratorExit(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_fails_an_invocation(exc: BaseException, fails: bool) -> None:
    assert is_failure(exc) is fails
