"""Runs the blocks of a page, in one folder and in order, and says what is not as the page has it."""

from __future__ import annotations

import ast
import builtins
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from samovar.local.rie import RIE
from tests.conftest import ROOT
from tests.docs import stand_ins
from tests.docs.blocks import RUN, Block

LIMIT = 300  # seconds; a command of the docs takes a few at most
_STEP = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)  # a command and its output


class Wrong(Exception):
    """A block does not do what the page says."""


class Page:
    """The folder in which the blocks of a page run.

    Args:
        folder: An empty folder.
        start: The fixture `samovar_rie`.
        variables: Environment variables of all that runs.
    """

    def __init__(self, folder: Path, start: Callable[..., RIE], variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._start = start
        self._variables = variables
        shutil.copy(stand_ins.__file__, folder)
        shutil.copy(ROOT / "handlers" / "companion" / "hello.sh", folder / "main")
        (folder / "pytest.ini").write_text("[pytest]\n")  # a project of its own

    def run(self, blocks: Sequence[Block]) -> list[str]:
        """Run the blocks and return what is wrong with them."""
        wrong = []
        for number, block in enumerate(blocks):
            try:
                self._run(block, later="".join(each.source for each in blocks[number + 1 :]))
            except Wrong as error:
                wrong.append(f"{block.where}: {error}")
        return wrong

    def _run(self, block: Block, later: str) -> None:
        if block.title:
            (self._folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / block.title).write_text(block.source)
        if block.remarked("not run here") or block.language not in RUN:
            return
        match block.language:
            case "python":
                self._run_python(block, later)
            case "console":
                self._run_console(block)
            case "sh":
                self._program(["bash", "-e", "-c", block.source])
            case "json":
                try:
                    json.loads(block.source)
                except ValueError as error:
                    raise Wrong(f"not JSON: {error}") from None

    def _run_python(self, block: Block, later: str) -> None:
        try:
            tree = ast.parse(block.source)
        except SyntaxError as error:
            raise Wrong(f"not Python: {error}") from None
        file = Path(block.title or f"block_{block.line}.py")
        (self._folder / file).write_text(_imports(tree) + block.source)
        functions = {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
        if block.remarked("event"):
            self._invoke(block, f"{file.stem}.handler")
        elif "handler" in functions:
            if not (block.title and re.search(rf"\b{file.stem}\.handler\b", later)):
                raise Wrong("no event for its handler: give it <!-- event: … -->, or a title and a block that runs it")
        elif any(name.startswith("test_") for name in functions):
            self._program([sys.executable, "-m", "pytest", "-q", str(file)])
        elif not block.title:
            self._program([sys.executable, str(file)])

    def _invoke(self, block: Block, handler: str) -> None:
        rie = self._start(handler, task_root=self._folder, env=self._variables)
        responses = block.remarked("response") or block.remarked("streams")
        for number, event in enumerate(block.remarked("event")):
            answer = rie.invoke(json.loads(event))
            if answer.error is not None:
                raise Wrong(f"the event {event} fails: {answer.error}\n{rie.output()}")
            expected = json.loads(responses[number]) if number < len(responses) else None
            body = answer.body.decode() if block.remarked("streams") else answer.json()
            if expected is not None and body != expected:
                raise Wrong(f"the response to {event} is {json.dumps(body)} instead of {responses[number]}")
        rie.stop()  # what runs after the response, and at the end, is in the log now
        if "Traceback" in rie.output():
            raise Wrong(f"the log has a failure:\n{rie.output()}")

    def _run_console(self, block: Block) -> None:
        steps = _STEP.findall(block.source)
        if not steps:
            raise Wrong("a console block needs a line that begins with `$ `")
        last = int((block.remarked("exits") or ["0"])[0])
        for number, (command, expected) in enumerate(steps, 1):
            command = command.replace("\\\n> ", "\\\n")
            output = self._program(["bash", "-c", command], last if number == len(steps) else 0)
            pattern = ".*".join(map(re.escape, expected.rstrip().split("...")))
            if expected.strip() and not re.fullmatch(pattern, output, re.DOTALL):
                raise Wrong(f"$ {command}\nprints\n{output}\ninstead of\n{expected}")

    def _program(self, command: list[str], status: int = 0) -> str:
        """Run a program, check its exit status and return what it printed, without the space at the ends of lines."""
        try:
            done = subprocess.run(
                command,
                cwd=self._folder,
                env={**os.environ, **self._variables},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Wrong(f"{command[-1]}\ndoes not end within {LIMIT} s") from None
        if done.returncode != status:
            raise Wrong(f"{command[-1]}\nexits with {done.returncode} instead of {status}:\n{done.stdout}")
        return "\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines())


def _imports(tree: ast.Module) -> str:
    """Return the import of the stand-ins that the block uses and does not define, or ""."""
    used, defined = set(), set(dir(builtins))
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                defined.add(name)
            case ast.ClassDef(name=name) | ast.arg(arg=name):
                defined.add(name)
            case ast.alias(name=name, asname=alias):
                defined.add((alias or name).partition(".")[0])
    missing = sorted(name for name in used - defined if hasattr(stand_ins, name))
    return f"from stand_ins import {', '.join(missing)}\n" if missing else ""
