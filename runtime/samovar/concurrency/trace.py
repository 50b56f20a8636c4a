"""`os.environ["_X_AMZN_TRACE_ID"]` where several invocations are in flight: each reads and writes its own trace id.

Tracing libraries look there (X-Ray's SDK, OpenTelemetry, Powertools, botocore). The variable of the process is left
alone: it would be right for one of the invocations at most. So C code and a program that is started without `env=` find
none; copies of os.environ have it, and a program that is started with one. Outside an invocation the variable is that
of the process.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from samovar.concurrency.current import variable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samovar.invocation import Invocation

_NAME = "_X_AMZN_TRACE_ID"


class _Traced(os._Environ[Any]):
    """A view of the environment's variables with the trace id of the invocation that asks."""

    _name: Any

    def __getitem__(self, key: Any) -> Any:
        if key == self._name and (own := variable.get()) is not None:
            if not own.trace_id:
                raise KeyError(key)
            return self.decodevalue(_encoded(own))
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if key == self._name and (own := variable.get()) is not None:
            own.trace_id = self.encodevalue(value).decode("utf-8", "surrogateescape")
        else:
            super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        if key == self._name and (own := variable.get()) is not None:
            if not own.trace_id:
                raise KeyError(key)
            own.trace_id = None
        else:
            super().__delitem__(key)

    def __iter__(self) -> Iterator[Any]:
        own = variable.get()
        for key in super().__iter__():
            if own is None or key != self._name:
                yield key
        if own is not None and own.trace_id:
            yield self._name

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _TracedText(_Traced):
    _name = _NAME


class _TracedBytes(_Traced):
    _name = _NAME.encode()


def set_up() -> None:
    """Have os.environ and os.environb answer so from now on."""
    os.environ.__class__ = _TracedText
    os.environb.__class__ = _TracedBytes


def _encoded(own: Invocation) -> bytes:
    return (own.trace_id or "").encode("utf-8", "surrogateescape")
