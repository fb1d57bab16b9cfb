"""DVC's exceptions, by what they mean to a build."""

from collections.abc import Iterator

from dvc.exceptions import DvcException
from dvc.lock import LockError

# DVC refuses or fails; its message and those of its causes say why.
DvcError = DvcException
# Another `dvc` works on the repository or on the same paths.
BusyError = LockError


def causes(error: BaseException | None) -> Iterator[str]:
    """The messages of an error and of what caused it, outermost first."""
    while error is not None:
        yield str(error)
        error = error.__cause__
