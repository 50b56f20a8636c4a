"""The public names: each is imported when first used, and a wrong one is an error."""

import importlib
import subprocess
import sys

import pytest

import samovar

PACKAGES = ["samovar", "samovar.caching", "samovar.companion"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_listed(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("package", PACKAGES)
def test_dir_lists_the_public_names_before_any_is_used(package: str) -> None:
    code = f"import {package} as package; print(set(package.__all__) <= set(dir(package)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "True\n"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_misspelt_name_is_an_error(package: str) -> None:
    with pytest.raises(ImportError, match=f"cannot import name 'cahced' from '{package}'"):
        exec(f"from {package} import cahced")
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'cahced'"):
        importlib.import_module(package).cahced  # noqa: B018


def test_importing_samovar_imports_no_other_module() -> None:
    code = "import sys; before = set(sys.modules); import samovar; print(*set(sys.modules) - before)"
    assert subprocess.check_output([sys.executable, "-S", "-c", code], text=True, cwd=_root()) == "samovar\n"


def test_cached_as_a_type_imports_no_typing() -> None:
    code = "import sys; from samovar import Cached; Cached[[int], str]; print('typing' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-S", "-c", code], text=True, cwd=_root()) == "False\n"


def _root() -> str:
    """Return the folder that holds the package."""
    return samovar.__path__[0].rpartition("/")[0]
