"""A tiny fleet built once by `dvc repro`, and copies of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fleet import workspace
from tests.fleet.workspace import Fleet


@pytest.fixture(scope="session")
def fleet(tiny_teacher: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The fleet after `dvc repro`, committed; do not change it."""
    root = tmp_path_factory.mktemp("fleet") / "workspace"
    root.mkdir()
    # DVC remembers checksums by path and inode here; another run's must not be taken for this one's.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path_factory.mktemp("dvc")))
        built = workspace.write(root, tiny_teacher)
        done = built.dvc("repro")
        assert done.code == 0, done.said[-6000:]
        workspace.commit(root)
        yield built


@pytest.fixture
def own(fleet: Fleet, tmp_path: Path) -> Fleet:
    """A copy of `fleet` that a test may change."""
    return workspace.copy(fleet, tmp_path / "workspace")
