"""What is loaded when the first event arrives: every module costs a cold start, so each is in this list on purpose."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

from samovar.local.layer import cold
from tests.contract.harness import OURS, Run, environment, execute
from tests.contract.table import app

EXPECTED = {
    # the function's
    "app",
    # built into the interpreter or beside it in C
    "_json",
    "_socket",
    "gc",
    # exit() and quit(), which `site` would have given
    "_sitebuiltins",
    # ours: those that an event passes through
    "samovar",
    "samovar.__main__",
    "samovar.codec",
    "samovar.context",
    "samovar.environment",
    "samovar.errors",
    "samovar.failure",
    "samovar.handler",
    "samovar.handler.function",
    "samovar.invocation",
    "samovar.alias",
    "samovar.logging_hook",
    "samovar.logs",
    "samovar.loop",
    "samovar.runtime_api",
    "samovar.streams",
    "samovar.syspath",
    "samovar.wire",
}


def test_modules_at_the_first_event(tmp_path: Path) -> None:
    """In an interpreter as in a layer or an image: nothing installed that `site` would have to run."""
    venv.create(tmp_path, with_pip=False, symlinks=True)
    python = str(tmp_path / "bin" / "python3")
    source = app("import sys\n\ndef handler(event, context):\n    return sorted(sys.modules)\n")
    loaded = execute(Run(source, env={"SAMOVAR_PYTHON": python}), OURS)[1].value
    env = environment(OURS, "app.handler", "/", "", {})
    bare = subprocess.check_output([python, "-S", "-u", "-c", "import sys; print(*sys.modules)"], env=env, text=True)
    assert set(loaded) - set(bare.split()) == EXPECTED


def test_the_one_file_of_bytecode_has_the_modules_of_samovar_on_that_list() -> None:
    assert {name for name in EXPECTED if name.startswith("samovar")} == set(cold.MODULES)
