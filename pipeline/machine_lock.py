"""Ordinary stages share the machine; a measurement has it alone, whoever started the other stages.

The lock is two files in the folder for temporary files. So it holds between workspaces and between `dvc repro` and
`bardlet build`, and it is released when a stage is killed.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks; there the user keeps the machine quiet.
    fcntl = None  # type: ignore[assignment]


@contextmanager
def machine(alone: bool, waiting: Callable[[], None], folder: Path | None = None) -> Iterator[None]:
    """Hold the machine with others, or alone.

    Args:
        alone: wait until nobody else holds it, and keep the others waiting.
        waiting: called once if the machine is not free.
        folder: where the lock files lie; default: the system's folder for temporary files.
    """
    if fcntl is None:
        yield
        return
    folder = Path(tempfile.gettempdir()) if folder is None else folder
    # A stage that waits for the machine keeps the queue, so that no later stage overtakes a measurement.
    with _opened(folder / "bardlet-queue.lock") as queue, _opened(folder / "bardlet-machine.lock") as held:
        _take(queue, fcntl.LOCK_EX, told := _Once(waiting))
        _take(held, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, told)
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield


class _Once:
    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    def __call__(self) -> None:
        act, self._act = self._act, None
        if act is not None:
            act()


def _take(descriptor: int, how: int, waiting: Callable[[], None]) -> None:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(descriptor, how)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        # Another user's file can be locked, but not opened for writing.
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(PermissionError):
            path.chmod(0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
