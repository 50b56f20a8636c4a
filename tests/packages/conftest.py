"""The functions are run as those of tests/attach are."""

from tests.attach.conftest import attached

__all__ = ["attached"]
