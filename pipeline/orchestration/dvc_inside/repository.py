"""DVC's repository, locked as every DVC command locks it, but without polling."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from dvc.lock import Lock
from dvc.repo import Repo, lock_repo

_STATE = "bardlet"
# DVC imports these only when it works. A module that another version lacks is imported later, by DVC itself.
_IMPORTED_LATE = (
    "dvc.repo.index",
    "dvc.repo.graph",
    "dvc.repo.trie",
    "dvc.repo.scm_context",
    "dvc.stage.cache",
    "dvc.stage.loader",
    "dvc.stage.serialize",
    "dvc.dependency.param",
    "dvc.parsing.interpolate",
    "dvc.utils.strictyaml",
    "dvc.schema",
    "dvc.cachemgr",
    "dvc.data_cloud",
    "dvc.ignore",
    "dvc_data.hashfile.checkout",
    "dvc_data.hashfile.transfer",
    "dvc_data.index",
    "dvc_data.hashfile.state",
    "networkx",
    "ruamel.yaml",
    "scmrepo.git",
)


def preload() -> None:
    """Import what DVC would import while it works, so that forked processes have it already."""
    for name in _IMPORTED_LATE:
        with suppress(ImportError):
            import_module(name)


@contextmanager
def open_repo() -> Iterator[Any]:
    """The repository of the current folder, not locked yet."""
    with Repo(_wait_for_lock=True) as repo:
        state_folder(repo).mkdir(exist_ok=True)
        if isinstance(repo.lock, Lock):
            repo.lock = _QueuedLock(repo.lock.lockfile, state_folder(repo) / "queue")
        yield repo


@contextmanager
def locked(repo: Any) -> Iterator[None]:
    """Hold DVC's lock of the repository and see dvc.yaml and dvc.lock as they are now."""
    with lock_repo(repo):
        _heal_busy_paths(Path(repo.tmp_dir) / "rwlock")
        yield


@contextmanager
def locked_repo() -> Iterator[Any]:
    """The repository of the current folder, locked."""
    with open_repo() as repo, locked(repo):
        yield repo


def state_folder(repo: Any) -> Path:
    """Where builds keep what they remember, beside DVC's own temporary files."""
    return Path(repo.tmp_dir) / _STATE


class _QueuedLock(Lock):  # type: ignore[misc]  # DVC has no type information
    """DVC's lock of the repository. Whoever waits for it stands in a queue and does not try twice a second."""

    def __init__(self, lockfile: str, queue: Path) -> None:
        super().__init__(lockfile, wait=True)
        self._queue = os.open(queue, os.O_RDWR | os.O_CREAT, 0o666)

    def lock(self) -> None:
        fcntl.flock(self._queue, fcntl.LOCK_EX)
        super().lock()

    def unlock(self) -> None:
        super().unlock()
        fcntl.flock(self._queue, fcntl.LOCK_UN)


def _heal_busy_paths(path: Path) -> None:
    """Remove DVC's list of busy paths if a process was killed while it wrote it; only lock holders write it."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except ValueError:
        path.unlink()
