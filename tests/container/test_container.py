"""The image, the layer on a managed python3.x, and the layer with its own interpreter, each as it runs on Lambda."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.container import engine
from tests.container.conftest import RUNNING
from tests.container.engine import Environment

Start = Callable[..., Environment]
KINDS = [f"{kind}-{version}" for version in engine.BASES for kind in ("image", "managed")]
KINDS += ["bundle-3.11", "os_image-3.11"]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def start(client: Any, kind: str, emulator: str, request: pytest.FixtureRequest) -> Start:
    """Create with start(**options) an environment of this kind with app.handler; the options are Environment's."""
    name, _, version = kind.partition("-")
    task: dict[Any, str] = {engine.TASK: "/var/task"}
    get = request.getfixturevalue
    if name == "image":
        fixed: dict[str, Any] = {"image": get("samovar_image")(version)}
    elif name == "managed":
        task |= {get("opt")(version): "/opt", emulator: "/usr/local/bin/aws-lambda-rie"}
        fixed = {"image": get("official_image")(version), "env": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/samovar-exec"}}
    elif name == "bundle":
        # As Lambda starts an OS-only function: the emulator finds /opt/bootstrap by itself.
        task |= {get("bundle"): "/opt", emulator: "/usr/local/bin/aws-lambda-rie"}
        fixed = {"image": engine.OS_ONLY, "entrypoint": ["/usr/local/bin/aws-lambda-rie"]}
        fixed["env"] = {"LAMBDA_TASK_ROOT": "/var/task", "_HANDLER": "app.handler"}
    else:
        fixed = {"image": get("os_image")}
    if name != "bundle":
        fixed["command"] = ["app.handler"]
    fixed["mounts"] = task

    def environment(**options: Any) -> Environment:
        for key in ("mounts", "env"):
            options[key] = fixed.get(key, {}) | options.get(key, {})
        return Environment(client, **(fixed | options))

    return environment


@pytest.fixture(scope="module")
def environment(start: Start) -> Iterator[Environment]:
    """Provide one environment of this kind for several tests in turn."""
    with start() as running:
        RUNNING.append(running)
        yield running
        RUNNING.remove(running)


@pytest.fixture
def fresh(start: Start) -> Iterator[Callable[..., Environment]]:
    """Create with fresh(**options) an environment for this test alone."""
    own: list[Environment] = []

    def make(**options: Any) -> Environment:
        own.append(start(**options))
        RUNNING.append(own[-1])
        return own[-1].__enter__()

    yield make
    for running in own:
        RUNNING.remove(running)
        running.__exit__()


SUCCESS = "INIT RTDONE(status: success)"


def test_one_init_then_state_is_kept(environment: Environment, kind: str) -> None:
    first, second = environment.invoke({"do": "hello"}), environment.invoke({"do": "hello"})
    assert first["python"] == kind.partition("-")[2]
    assert first["official_client"] is False
    assert (second["calls"], second["pid"]) == (first["calls"] + 1, first["pid"])
    assert environment.wait_log(SUCCESS).count(SUCCESS) == 1


def test_arbitrary_user_and_read_only_root(environment: Environment) -> None:
    assert environment.invoke({"do": "hello"})["uid"] == 54321
    written = environment.invoke({"do": "write"})["written"]
    assert written == {"/var/task": False, "/opt": False, "/tmp": True, "/home": False, "/": False}


def test_cache_hit(environment: Environment) -> None:
    answer = environment.invoke({"do": "cache"})
    assert answer["first"] == answer["second"] == {"name": "de", "load": 1}
    assert environment.invoke({"do": "cache"})["loads"] == 1


def test_failing_handler_is_reported_and_costs_no_init(environment: Environment) -> None:
    before = environment.invoke({"do": "hello"})
    failed = environment.invoke({"do": "fail"})
    assert (failed["errorType"], failed["errorMessage"]) == ("ValueError", "as asked")
    assert "raise ValueError" in failed["stackTrace"][-1]
    after = environment.invoke({"do": "hello"})
    assert (after["pid"], after["calls"]) == (before["pid"], before["calls"] + 2)
    environment.wait_log("ValueError: as asked")


def test_nothing_of_ours_is_compiled_at_start(environment: Environment) -> None:
    answer = environment.invoke({"do": "uncompiled"})
    assert "samovar.loop" in answer["ours"]
    assert answer["uncompiled"] == []
    assert answer["cold_path_fits"] is True


def test_what_the_function_and_other_layers_bring_comes_before_ours(fresh: Start, kind: str, tmp_path: Path) -> None:
    version = kind.partition("-")[2]
    function, other = tmp_path / "function", tmp_path / "other"
    deep = other / "lib" / f"python{version}" / "site-packages"
    for folder in (function, deep):
        folder.mkdir(parents=True)
    for name in ("app.py", "urllib3.py", "both.py"):
        (function / name).write_text("")
    (function / "app.py").write_text((engine.TASK / "app.py").read_text())
    for file in (other / "both.py", other / "plain.py", other / "orjson.py", deep / "packaged.py"):
        file.write_text("")
    environment = fresh(mounts={engine.TASK: "/unused", function: "/var/task", other: "/opt/python"})
    names = ["urllib3", "both", "plain", "orjson", "packaged"]
    answer = environment.invoke({"do": "found", "modules": names})
    assert answer["found"] == {
        "urllib3": "/var/task/urllib3.py",
        "both": "/var/task/both.py",
        "plain": "/opt/python/plain.py",
        "orjson": "/opt/python/orjson.py",
        "packaged": f"/opt/python/lib/python{version}/site-packages/packaged.py",
    }
    assert answer["path"][-1] == "/opt/samovar/lib"


def test_an_agents_exec_wrapper_in_python_runs_once(fresh: Start, kind: str, tmp_path: Path) -> None:
    """A bundle's Python is on PATH for it, by both names that such scripts use."""
    python = "python" if kind in ("bundle-3.11", "os_image-3.11") else "python3"
    agent = tmp_path / "agent"
    agent.write_text(
        f"#!/usr/bin/env {python}\nimport os, sys\n\n"
        "os.environ['AGENT'] = os.environ.get('AGENT', '') + os.path.basename(sys.argv[-1])\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    agent.chmod(0o755)
    (tmp_path / "app.py").write_text("import os\n\ndef handler(event, context):\n    return os.environ['AGENT']\n")
    tmp_path.chmod(0o755)
    variable = "SAMOVAR_EXEC_WRAPPER" if kind.startswith("managed") else "AWS_LAMBDA_EXEC_WRAPPER"
    environment = fresh(mounts={engine.TASK: "/unused", tmp_path: "/var/task"}, env={variable: "/var/task/agent"})
    assert environment.invoke({}) == "bootstrap.py"


def test_sigterm_runs_the_shutdown_hook(fresh: Start) -> None:
    environment = fresh()
    environment.invoke({"do": "hello"})
    environment.stop()
    environment.wait_log("goodbye after 1 calls")


def test_out_of_memory_is_reported_and_followed_by_a_new_init(fresh: Start) -> None:
    environment = fresh(memory=128)
    before = environment.invoke({"do": "hello"})
    died = environment.invoke({"do": "eat"})
    assert died["errorType"] == "Runtime.ExitError"
    assert "signal: killed" in died["errorMessage"]
    after = environment.invoke({"do": "hello"})
    assert after["calls"] == 1
    assert after["pid"] != before["pid"]
    assert environment.wait_log(SUCCESS, 2).count(SUCCESS) == 2


def test_smallest_environment(fresh: Start) -> None:
    environment = fresh(memory=128, cpus=128 / engine.VCPU_MB)
    assert [environment.invoke({"do": "hello"})["calls"] for _ in range(3)] == [1, 2, 3]
    assert environment.wait_log(SUCCESS).count(SUCCESS) == 1


def test_a_layer_for_another_python_answers_and_warns_once(
    client: Any, opt: Callable[..., Path], official_image: Callable[[str], str], emulator: str
) -> None:
    mounts = {engine.TASK: "/var/task", opt("3.11"): "/opt", emulator: "/usr/local/bin/aws-lambda-rie"}
    wrapper = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/samovar-exec"}
    with Environment(client, official_image("3.13"), ["app.handler"], mounts=mounts, env=wrapper) as environment:
        for _ in range(2):
            assert environment.invoke({"do": "hello"})["executable"] == "/var/lang/bin/python3.13"
        warnings = [line for line in environment.log().splitlines() if "[WARNING]" in line]
    assert len(warnings) == 1
    assert "layer is for Python 3.11, and this is Python 3.13" in warnings[0]
