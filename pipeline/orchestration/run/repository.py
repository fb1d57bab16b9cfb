"""DVC's repository as a worker opens it: locked as every DVC command locks it, without polling."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dvc.lock import Lock
from dvc.repo import Repo, lock_repo

STATE = Path("bardlet")


@contextmanager
def open_repo() -> Iterator[Any]:
    """The repository of the current folder, not locked yet."""
    with Repo(_wait_for_lock=True) as repo:
        state = Path(repo.tmp_dir) / STATE
        state.mkdir(exist_ok=True)
        if isinstance(repo.lock, Lock):
            repo.lock = _QueuedLock(repo.lock.lockfile, state / "queue")
        yield repo


@contextmanager
def locked(repo: Any) -> Iterator[None]:
    """Hold DVC's lock of the repository and see dvc.yaml and dvc.lock as they are now."""
    with lock_repo(repo):
        _heal_rwlock(Path(repo.tmp_dir) / "rwlock")
        yield


@contextmanager
def locked_repo() -> Iterator[Any]:
    """The repository of the current folder, locked."""
    with open_repo() as repo, locked(repo):
        yield repo


class _QueuedLock(Lock):  # type: ignore[misc]  # DVC has no type information
    """DVC's lock of the repository, waited for in a queue and not by trying twice a second."""

    def __init__(self, lockfile: str, queue: Path) -> None:
        super().__init__(lockfile, wait=True)
        self._queue = os.open(queue, os.O_RDWR | os.O_CREAT, 0o666)

    def lock(self) -> None:
        fcntl.flock(self._queue, fcntl.LOCK_EX)
        super().lock()

    def unlock(self) -> None:
        super().unlock()
        fcntl.flock(self._queue, fcntl.LOCK_UN)


def _heal_rwlock(path: Path) -> None:
    """Remove DVC's list of busy paths where a process was killed while it wrote it; only lock holders write it."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except ValueError:
        path.unlink()


def heal_run_cache(repo: Any) -> None:
    """Remove folders of the run-cache that a process was killed before it filled; DVC fails on one without entries."""
    for folder in Path(repo.stage_cache.cache_dir).glob("*/*"):
        with suppress(OSError):
            folder.rmdir()
