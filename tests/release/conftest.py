"""A workspace written once and one release made of it."""

from pathlib import Path

import pytest

from pipeline.layout import Layout
from stages import release as stage
from tests.release import workspace


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the release stage reads, with a PASS; do not change it."""
    root = tmp_path_factory.mktemp("ready") / "workspace"
    root.mkdir()
    workspace.write_workspace(root)
    return root


@pytest.fixture
def own(ready: Path, tmp_path: Path) -> Layout:
    """A copy of `ready` that a test may change."""
    return workspace.copy(ready, tmp_path / "workspace")


@pytest.fixture(scope="session")
def released(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release; do not change it."""
    layout = workspace.copy(ready, tmp_path_factory.mktemp("released") / "workspace")
    return stage.run(workspace.MODEL, layout.root)
