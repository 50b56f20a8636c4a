"""Sample events of AWS are told right: the source and the request, or that they are no HTTP requests."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.handler.events import EVENTS, QUERY
from tests.suites import events
from tests.suites.test_suites import CHECKOUT

PYTHON = CHECKOUT / ".venv-sam" / "bin" / "python"
SAMPLES = """
import json
from samcli.lib.generated_sample_events.events import Events

events = Events()
print(json.dumps({
    f"{service} {kind}": json.loads(events.generate_event(
        service, kind, {name: tag.get("default") for name, tag in entry.get("tags", {}).items()}
    ))
    for service, kinds in events.event_mapping.items() for kind, entry in kinds.items()
}))
"""


def test_every_sample_event_of_the_sam_cli_is_told_right() -> None:
    if not PYTHON.exists():
        pytest.skip("run make sam: .venv-sam is not there")
    samples = json.loads(subprocess.run([PYTHON, "-c", SAMPLES], capture_output=True, check=True).stdout)
    assert len(samples) > 60
    assert events.wrong(samples, events.SAM) == []


def test_an_event_that_is_not_told_as_the_table_has_it_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lattice = EVENTS["lattice_v1"]
    want = {"a": f"lattice_v1 POST /orders/café au?{QUERY}", "gone": "alb GET /"}
    assert events.wrong({"a": lattice, "queue": {"Records": []}}, want) == ["gone is missing"]
    assert events.wrong({"a": lattice, "b": lattice}, {"a": "alb GET /"}) == [
        f"a is {want['a']}, and should be alb GET /",
        f"b is {want['a']}, and should be none",
    ]
    folder = tmp_path / "vokerhttp" / "testdata"
    folder.mkdir(parents=True)
    (folder / "alb-request.json").write_text("{}")
    assert events.main(str(tmp_path)) == 1
    assert "alb-request is no HTTP request, and should be alb POST /capture" in capsys.readouterr().out
    assert events.main(str(folder)) == 2
