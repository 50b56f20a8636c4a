"""A handler string that cannot be right is explained, and one that may be right is left to the runtime."""

from pathlib import Path

import pytest

from samovar.local import spelling


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(
        "from wrapper import Wrapped\n\ndef handler(event, context): ...\n\nasync def other(event, context): ...\n\n"
        "def _private(): ...\n\nwrapped = Wrapped(handler)\nnumber = 3\n"
    )
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "api.py").write_text("def get(event, context): ...\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("def handler(event, context): ...\n")
    (tmp_path / "test_app.py").write_text("def test_it(): ...\n")
    return tmp_path


@pytest.mark.parametrize(
    "handler",
    [
        "app.handler",
        "app.other",
        "app.wrapped",
        "app.number",  # the runtime knows what it does with that
        "orders/api.get",
        "orders.api.get",
        "package.handler",
        "json.loads",  # installed, though not in the folder
        ".app.handler",
        "sys.exit",
    ],
)
def test_what_may_be_right(root: Path, handler: str) -> None:
    assert spelling.problem(handler, root) == ""


@pytest.mark.parametrize(
    "source",
    [
        "from app import *",
        "def __getattr__(name): ...",
        "globals()['han' + 'dler'] = print",
        "import sys\nsetattr(sys.modules[__name__], 'han' + 'dler', print)",
        "exec('han' + 'dler = print')",
        "'handler'",
    ],
)
def test_a_module_that_may_make_the_name_when_it_is_imported(root: Path, source: str) -> None:
    (root / "dynamic.py").write_text(source)
    assert spelling.problem("dynamic.handler", root) == ""


def test_a_folder_that_the_function_adds_to_its_path(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("more")
    (folder / "elsewhere.py").write_text("def handler(event, context): ...\n")
    assert spelling.problem("elsewhere.handler", root).startswith("there is no module 'elsewhere' in ")
    assert spelling.problem("elsewhere.handler", root, [str(folder)]) == ""


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        ("app.wraped", "app has no function 'wraped'; it could be app.wrapped, app.handler, app.other"),
        ("app.py", "app has no function 'py'; it could be app.handler, app.other, app.wrapped"),
        ("orders/api.put", "orders/api has no function 'put'; it could be orders/api.get"),
        (
            "ap.handler",
            "there is no module 'ap' in ROOT; it could be app.handler, app.other, app.wrapped",
        ),
        (
            "orders/nothing.get",
            "there is no module 'orders/nothing' in ROOT; it could be app.handler, app.other, app.wrapped",
        ),
        ("app", "'app' is not MODULE.FUNCTION; it could be app.handler, app.other, app.wrapped"),
        ("app:handler", "'app:handler' is not MODULE.FUNCTION; it could be app.handler, app.other, app.wrapped"),
        ("app.", "'app.' is not MODULE.FUNCTION; it could be app.handler, app.other, app.wrapped"),
    ],
)
def test_what_cannot_be_right(root: Path, handler: str, says: str) -> None:
    assert spelling.problem(handler, root) == says.replace("ROOT", str(root))


def test_nothing_is_proposed_where_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def handler(:\n")
    assert spelling.problem("app.handler", tmp_path) == f"there is no module 'app' in {tmp_path}"
    assert spelling.problem("broken.other", tmp_path) == "broken has no function 'other'"


def test_nothing_is_imported(root: Path) -> None:
    (root / "package" / "__init__.py").write_text("raise SystemExit('imported')\n")
    (root / "package" / "inner.py").write_text("raise SystemExit('imported')\n")
    assert spelling.problem("package.inner.handler", root) == "package.inner has no function 'handler'"
