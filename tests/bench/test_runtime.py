"""The runtime benchmark itself: that it measures what it says, for every row, and notices wrong results.

No timing is asserted.
"""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import events, output, platform, publish, quota, report, runtime
from bench.launcher import Launcher, RuntimeDied
from bench.stage import Stage, stage

COLD_ROWS = {"samovar", "awslambdaric", "urllib3", "samovar-urllib3", "samovar-m", "raw", "bare", "bare-S"}


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    made = Launcher(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run one round of a part of each kind from the command line, in a process of its own, since it pins itself."""
    folder = tmp_path_factory.mktemp("results")
    options = ["--only", "cold,log,0.28", "--rounds", "1", "--out", str(folder)]
    command = [sys.executable, "-m", "bench.runtime", *options]
    process = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    (folder / "stdout").write_text(process.stdout)
    (folder / "runtime.svg").write_text(publish.chart(publish.documents(folder)["runtime"]))
    return folder


@pytest.fixture(scope="module")
def place(results: Path) -> Stage:
    """Come after `results`: a process that has the stage locks it."""
    return stage()


def test_every_row_has_its_figures(results: Path) -> None:
    document = json.loads((results / "runtime.json").read_text())
    metrics = document["metrics"]
    assert set(metrics["next"]["rows"]) == COLD_ROWS
    assert set(metrics["answer"]["rows"]) == COLD_ROWS - {"bare", "bare-S"}
    assert set(metrics["warm_typical"]["rows"]) == COLD_ROWS - {"bare", "bare-S", "raw"}
    assert metrics["warm_typical"]["rows"]["samovar"]["n"] == 1000
    for metric in metrics.values():
        for figures in metric["rows"].values():
            order = [figures[name] for name in ("min", "q1", "median", "q3", "p99", "max")]
            assert order == sorted(order)
            assert order[0] > 0
    for row in COLD_ROWS - {"bare", "bare-S"}:
        assert metrics["answer"]["rows"][row]["median"] > metrics["next"]["rows"][row]["median"]
        assert 1 < metrics["rss_init"]["rows"][row]["median"] < 200
    assert "quota_28_echo_answer" in metrics or "small CPU shares" in document["notes"][0]
    assert {target["limit"] for target in metrics["next"]["targets"]} == {0.35, 1.25}
    assert all(document["machine"].values())


def test_the_printed_table_the_picture_and_the_page_say_the_same(results: Path) -> None:
    metrics = json.loads((results / "runtime.json").read_text())["metrics"]
    shown = f"{metrics['next']['rows']['awslambdaric']['median']:.1f}"
    for name in ("stdout", "runtime.md", "runtime.svg"):
        assert shown in (results / name).read_text()
    assert shown in publish.page(publish.documents(output.PUBLISHED) | publish.documents(results))
    ET.parse(results / "runtime.svg")


@pytest.mark.parametrize("size", [1 << 10, 100 << 10, 1 << 20])
def test_events_have_their_size_and_every_kind_of_value(size: int) -> None:
    made = events.records(size)
    assert len(made) == size
    assert made == events.records(size)
    kinds = {type(value) for record in json.loads(made)["records"] for value in record.values()}
    assert kinds >= {str, int, float, bool, list, dict}
    assert b"null" in made
    upload = events.upload(size)
    assert len(upload) == size
    assert len(json.loads(upload)["body"]) > size * 0.8


def test_a_runtime_that_dies_is_shown_with_what_it_said(launcher: Launcher) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such handler')"]
    with platform.Runtime(launcher, command, {}) as dying, pytest.raises(RuntimeDied, match="no such handler"):
        dying.first_next()
    with pytest.raises(RuntimeDied, match="ended with 1"):
        platform.floor(launcher, command, {})
    with pytest.raises(RuntimeDied, match="No such file"):
        platform.floor(launcher, ["/no/such/program"], {})


def test_a_wrong_answer_is_not_compared(place: Stage) -> None:
    bench = runtime.Bench(place, ["samovar"])
    try:
        with bench.runtime("samovar", "heap") as other:
            other.first_next()
            with pytest.raises(RuntimeDied, match="is not its event"):
                bench.check_echo(other, "1k")
        with bench.runtime("samovar", "echo") as echo:
            echo.first_next()
            bench.check_echo(echo, "100k")
            assert echo.processor_time() > 0
            assert echo.memory().peak >= echo.memory().resident > 1 << 20
    finally:
        bench.launcher.close()


def test_all_runtimes_get_the_same_variables(place: Stage) -> None:
    bench = runtime.Bench(place, list(runtime.ROWS))
    bench.launcher.close()
    plain = place.environment("echo.handler")
    for row in runtime.ROWS:
        command, environment = bench.command(row, "echo.handler")
        environment.pop("SAMOVAR_TRANSPORT", None)
        assert environment == plain
        assert Path(command[0]).is_relative_to(place.python.parent.parent.parent)


def test_the_interpreter_has_nothing_foreign(place: Stage) -> None:
    library = next(place.python.parent.parent.glob("lib*/python3.*"))
    packages = {path.name for path in (library / "site-packages").iterdir()}
    assert {"awslambdaric", "orjson", "urllib3", "boto3", "samovar"} <= packages
    assert not [name for name in packages if name.endswith(".pth") or name in ("pip", "setuptools", "pytest")]
    assert list(library.glob("json/__pycache__/decoder.*.pyc"))


_BURN = """
import time
start = time.perf_counter_ns()
while time.process_time_ns() < 60_000_000:
    pass
print("spent", flush=True)
"""


@pytest.mark.parametrize("way", ["a control group or a container", "a container"])
def test_a_share_of_a_core_is_what_a_process_gets(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """60 ms of work at 0.28 of a core take at least 200 ms."""
    if way == "a container":
        monkeypatch.setattr(quota, "_V1", {"cpu.no_such_file": ""})
        monkeypatch.setattr(quota, "_V2", {"cpu.no_such_file": ""})
    try:
        with quota.launcher(0.28, tmp_path, None) as launcher:
            taken, spent = platform.floor(launcher, [sys.executable, "-S", "-c", _BURN], {})
    except quota.NoQuota as exc:
        pytest.skip(str(exc))
    assert spent >= 60_000_000
    assert taken > 2 * spent
    assert not list(Path("/sys/fs/cgroup").glob(f"**/samovar-bench-{os.getpid()}-*"))


def test_percentiles_and_verdicts() -> None:
    assert report.summary([4, 1, 3, 2])["median"] == 2.5
    assert report.percentile([1, 2, 3, 4, 5], 25) == 2
    assert report.percentile([1, 2], 99) == pytest.approx(1.99)
    assert report.percentile([7], 99) == 7
    metric = report.Metric("next", "to next", "ms", 1, 0.5, "bare", 1.2)
    rows = {"ours": report.summary([5.0]), "awslambdaric": report.summary([10.0]), "bare": report.summary([4.0])}
    first, second = report.verdicts(metric, {"next": rows}, "ours")
    assert (first.ratio, first.met, str(first)) == (0.5, True, "0.50 ≤ 0.50 × awslambdaric: met")
    assert (second.ratio, second.met, str(second)) == (1.25, False, "1.25 > 1.20 × bare: MISSED")
    assert report.verdicts(metric, {}, "ours") == []


def test_wrong_calls_are_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--only", "colt"], ["--rows", "samover"]):
        with pytest.raises(SystemExit, match="2"):
            runtime.main(arguments)
    assert "'colt' is none of cold, typical" in capsys.readouterr().err
