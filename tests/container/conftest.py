"""The engine, the images and the layers, each built once. A failed test shows its containers' output."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from samovar.local import rie
from tests.container import engine
from tests.container.engine import Environment

RUNNING: list[Environment] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for environment in RUNNING:
            report.sections.append((f"log of container {environment.container.name}", environment.log()))
    return report


@pytest.fixture(scope="session")
def client() -> Any:
    try:
        return engine.connect()
    except engine.NoEngine as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def emulator() -> str:
    return rie.find()


@pytest.fixture(scope="session")
def opt(client: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Build with opt(version, …) the layer for that Python, unpacked as /opt; keywords are layer.zip.mk's variables."""

    @cache
    def unpacked(version: str, **variables: str) -> Path:
        folder = tmp_path_factory.mktemp("layer")
        return engine.unpack(engine.layer(version, folder, **variables), folder / "opt")

    return unpacked


@pytest.fixture(scope="session")
def prefix(client: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Copy with prefix(version) a relocatable Python, Debian's, from the base image."""
    return cache(lambda version: engine.python_prefix(client, version, tmp_path_factory.mktemp("prefix")))


@pytest.fixture(scope="session")
def bundle(opt: Callable[..., Path], prefix: Callable[[str], Path]) -> Path:
    """Build the layer with Debian 12's Python 3.11 in it, unpacked as /opt."""
    return opt("3.11", BUNDLE="1", BASE="debian12", PYTHON_PREFIX=str(prefix("3.11")))


@pytest.fixture(scope="session")
def samovar_image(client: Any) -> Callable[[str], str]:
    return cache(lambda version: engine.samovar_image(client, version))


@pytest.fixture(scope="session")
def official_image(client: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    return cache(lambda version: engine.official_image(client, version, tmp_path_factory.mktemp("aws")))


@pytest.fixture(scope="session")
def os_image(client: Any, bundle: Path, samovar_image: Callable[[str], str]) -> str:
    """Build Dockerfile.os, on the stand-in for AWS's OS-only base."""
    folder = bundle.parent / "context"
    engine.copy_checkout(folder)
    (folder / "build").mkdir()
    shutil.copy(engine.archive(bundle.parent), folder / "build")
    arguments = {"SAMOVAR_IMAGE": samovar_image("3.11"), "OS_IMAGE": engine.OS_ONLY}
    return engine.build(client, folder, "samovar-test/os", dockerfile="Dockerfile.os", buildargs=arguments)
