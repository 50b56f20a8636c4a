"""A plugin of the pytest that runs with a Python without the GIL: it fails where anything has brought the GIL back."""

from __future__ import annotations

import sys

import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if sys._is_gil_enabled():  # type: ignore[attr-defined]
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    enabled = sys._is_gil_enabled()  # type: ignore[attr-defined]
    terminalreporter.write_line(f"The GIL is {'enabled: a module has brought it back' if enabled else 'not enabled'}")
