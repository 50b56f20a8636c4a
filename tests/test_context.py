"""The context's own arithmetic; what it holds is compared with the official client's in tests/contract."""

import pytest

from samovar import context
from tests import invocations


@pytest.mark.parametrize(("left", "told"), [(-1, 0), (0, 0), (1, 1), (2, 2), (900_000, 900_000)])
def test_the_time_that_is_left_ends_at_0(monkeypatch: pytest.MonkeyPatch, left: int, told: int) -> None:
    monkeypatch.setattr(context, "time", lambda: 1_700_000_000.0)
    begun = invocations.begin(deadline_ms=str(1_700_000_000_000 + left))
    invocations.forget()
    assert begun.get_remaining_time_in_millis() == told
