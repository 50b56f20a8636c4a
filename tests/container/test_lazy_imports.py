"""SAMOVAR_LAZY_IMPORTS: lazy imports on Python 3.15, in a container; an older Python logs that it has none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samovar.local.testing.scripted_api import ScriptedRuntimeApi, invocation
from tests.container.engine import ROOT, Environment

APP = """
import sys
import wave
import package.inner

def handler(event, context):
    if event["use"]:
        return [wave.WAVE_FORMAT_PCM, package.inner.value, "wave" in sys.modules]
    return ["wave" in sys.modules, "package.inner" in sys.modules]
"""


def _task(folder: Path, app: str = APP) -> Path:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "inner.py").write_text("value = 'inner'\n")
    (folder / "app.py").write_text(app)
    folder.chmod(0o755)
    return folder


@pytest.mark.real
@pytest.mark.parametrize(("value", "there"), [("all", False), ("", True)])
def test_on_315_imports_wait_until_they_are_used(
    client: Any, samovar_image: Callable[[str], str], tmp_path: Path, value: str, there: bool
) -> None:
    mounts = {_task(tmp_path): "/var/task"}
    variables = {"SAMOVAR_LAZY_IMPORTS": value}
    with Environment(client, samovar_image("3.15"), ["app.handler"], mounts=mounts, env=variables) as environment:
        assert environment.invoke({"use": False}) == [there, there]
        assert environment.invoke({"use": True}) == [1, "inner", True]
        assert "SAMOVAR_LAZY_IMPORTS" not in environment.log()


@pytest.mark.real
def test_on_315_an_import_that_fails_is_the_invocation_s_error(
    client: Any, samovar_image: Callable[[str], str], tmp_path: Path
) -> None:
    app = "import no_such_module\n\ndef handler(event, context):\n    return no_such_module.x if event['use'] else 1\n"
    mounts = {_task(tmp_path, app): "/var/task"}
    variables = {"SAMOVAR_LAZY_IMPORTS": "all"}
    with Environment(client, samovar_image("3.15"), ["app.handler"], mounts=mounts, env=variables) as environment:
        assert environment.invoke({"use": False}) == 1
        error = environment.invoke({"use": True})
        assert error["errorType"] in ("ModuleNotFoundError", "ImportCycleError", "ImportError")
        assert "no_such_module" in error["errorMessage"]
        assert environment.invoke({"use": False}) == 1


def _run(task: Path, value: str) -> tuple[list[Any], str, int | None]:
    """Run the runtime here for one event; return what it posts, its log, and its exit code if it ends by itself."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with ScriptedRuntimeApi(invocation({"use": False})) as api:
        variables = {
            "PATH": path,
            "_HANDLER": "app.handler",
            "LAMBDA_TASK_ROOT": str(task),
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "SAMOVAR_LAZY_IMPORTS": value,
        }
        with subprocess.Popen(
            [ROOT / "bootstrap"], env=variables, cwd=task, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                api.wait(lambda _: bool(api.posted()))
                code = process.wait(30) if "/init/error" in api.posted()[0].path else None
            finally:
                process.kill()
            log, _ = process.communicate()
        return [(request.path.rpartition("/")[2], json.loads(request.body)) for request in api.posted()], log, code


@pytest.mark.skipif(hasattr(sys, "set_lazy_imports"), reason="this Python has lazy imports")
def test_an_older_python_says_so_and_goes_on(tmp_path: Path) -> None:
    posted, log, code = _run(_task(tmp_path), "all")
    assert (posted, code) == ([("response", [True, True])], None)
    version = sys.version.partition(" ")[0]
    assert "[WARNING]" in log
    assert f"SAMOVAR_LAZY_IMPORTS needs Python 3.15; this is {version}, imports stay eager" in log


def test_another_value_fails_init_with_what_is_wanted(tmp_path: Path) -> None:
    posted, log, code = _run(_task(tmp_path), "some")
    assert code == 1
    assert [(path, error["errorMessage"]) for path, error in posted] == [
        ("error", "SAMOVAR_LAZY_IMPORTS='some': want all, or nothing")
    ]
    assert "SAMOVAR_LAZY_IMPORTS='some'" in log
