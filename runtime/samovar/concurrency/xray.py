"""X-Ray's SDK keeps the open segments of a thread. Coroutines of several invocations share one: here each has its own.

Only for the SDK's context on Lambda, where the function has imported the SDK by the end of INIT. Knows nothing of
invocations: asyncio and the pollers give each a context of its own.
"""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar
from typing import Any

_values: ContextVar[dict[str, Any] | None] = ContextVar("samovar.xray", default=None)


class _Local:
    """What threading.local is for a thread, for a context."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__
        if name not in values:
            raise AttributeError(name)
        return values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        _values.set({**self.__dict__, name: value})

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        return _values.get() or {}


def adapt() -> None:
    """Adapt the SDK, after INIT."""
    context = getattr(getattr(sys.modules.get("aws_xray_sdk.core"), "xray_recorder", None), "context", None)
    if isinstance(getattr(context, "_local", None), threading.local):
        context._local = _Local()  # type: ignore[union-attr]
