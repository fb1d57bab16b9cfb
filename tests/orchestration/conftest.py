"""Builds of this package's tests see the checkout, and no settings of the user."""

import os
from pathlib import Path

import pytest

from tests.orchestration import graphs


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in graphs.environment().items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that is made once: its tables take Prefect several seconds."""
    return tmp_path_factory.mktemp("prefect")
