"""How contract cases are written down: batches of unrelated handlers that share a process, and solos with their own."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from tests.contract.harness import Event, Outcome, Run

DISPATCH = """

def handler(event, context):
    return globals()["case_" + context.aws_request_id.replace("-", "_")](event, context)
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One handler and one event in a batch. `source` is the body of the handler; an expression is returned."""

    id: str
    source: str
    body: object = b"{}"
    headers: tuple[tuple[str, str | None], ...] = ()
    content_type: str | None = "application/json"
    differs: str | None = None
    ours: Callable[[Outcome], object] | None = None
    """For a difference: what ours must have done instead; true or an assertion error."""

    def function(self) -> str:
        """The handler's source as a function of the batch's module."""
        text = textwrap.dedent(self.source).strip("\n")
        try:
            ast.parse(text, mode="eval")
            text = f"return {text}"
        except SyntaxError:
            pass  # statements
        return f"def case_{self.id.replace('-', '_')}(event, context):\n{textwrap.indent(text, '    ')}\n"


Differing = tuple[str, Callable[[Outcome], object]]
"""A difference and what ours must have done instead."""


class _Keywords(TypedDict, total=False):
    differs: str
    ours: Callable[[Outcome], object]


def differing(pair: Differing | None) -> _Keywords:
    """Keywords for `Case`."""
    return {"differs": pair[0], "ours": pair[1]} if pair else {}


@dataclass(frozen=True, slots=True)
class Batch:
    """Cases that share a module, an environment and, as none of them changes what the others see, a process."""

    id: str
    cases: tuple[Case, ...]
    prelude: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    framed: bool = False

    def run(self) -> Run:
        """The process pair of this batch; outcome i + 1 belongs to case i."""
        module = "\n\n".join([textwrap.dedent(self.prelude), *(case.function() for case in self.cases)]) + DISPATCH
        events = tuple(Event(case.body, case.id, case.content_type, case.headers) for case in self.cases)
        return Run({"app.py": module}, events, env=self.env, framed=self.framed, restart=True)


@dataclass(frozen=True, slots=True)
class Solo:
    """A case whose INIT, state or exit is the point: all outcomes of a process of its own are compared."""

    id: str
    run: Run
    differs: str | None = None
    ours: Callable[[list[Outcome]], object] | None = None
    urllib3: bool = True
    """Whether it is compared on the second transport too: not where that cannot matter, as each costs 60 ms more."""


def app(source: str) -> dict[str, str]:
    """A task root with one module."""
    return {"app.py": source}
