"""pytest's plugin in the process that runs a suite: the shims come before the real packages, which lie beside the
tests, and what each test did goes to the file that OUTCOMES names.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import apig_wsgi  # noqa: F401
import mangum
import mangum.handlers.alb
import mangum.handlers.api_gateway
import mangum.handlers.lambda_at_edge  # noqa: F401
import pytest

OUTCOMES: dict[str, str] = {}  # a test's id -> "" where it passed, else how it failed


def pytest_assertrepr_compare(op: str, left: Any, right: Any) -> list[str] | None:
    """Show what is ours, the left side, as far as it differs."""
    if op != "==":
        return None
    if isinstance(left, dict) and isinstance(right, dict):
        missing = object()
        names = [name for name in {**left, **right} if left.get(name, missing) != right.get(name, missing)]
        return [f"ours: {', '.join(f'{name}={left[name]!r}' if name in left else f'no {name}' for name in names)}"]
    return [f"ours: {left!r}"]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        message = getattr(getattr(report.longrepr, "reprcrash", None), "message", str(report.longrepr))
        OUTCOMES[report.nodeid] = message.removeprefix("AssertionError: ").partition("\n")[0]
    elif report.when == "call" or report.skipped:
        OUTCOMES.setdefault(report.nodeid, "skipped" if report.skipped else "")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        OUTCOMES[report.nodeid] = f"not collected: {report.longrepr}"


def pytest_sessionfinish() -> None:
    Path(os.environ["OUTCOMES"]).write_text(json.dumps(OUTCOMES), encoding="utf-8")
