"""ARCHITECTURE.md names every module, and the layers that `make lint` checks."""

import tomllib

from tests.conftest import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def _section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_module_has_a_row() -> None:
    rows = [line.split(" | ")[0] for line in _section("What each module is for").splitlines() if line.startswith("| `")]
    named = [name.strip("`/") for row in rows for name in row.removeprefix("| ").split(", ")]
    package = ROOT / "runtime" / "samovar"
    modules = [path.stem for path in package.glob("*.py") if path.stem != "__init__"]
    folders = [path.parent.name for path in package.glob("*/__init__.py")]
    assert sorted(named) == sorted(modules + folders)


def test_the_layers_are_those_of_the_linter() -> None:
    shown = _section("Who may import whom").split("```")[1].split("\n")[1:-1]
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    assert [line.replace("/", "").split(", ") for line in shown] == [line.split(" | ") for line in contract["layers"]]
