"""Opens the storage behind a DVC remote so that it cannot hold a build up for long; says its errors in one line."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from pipeline.orchestration.dvc_inside.object_store import default_remote_address, file_system

# A cache that is out of reach must not hold a build up; a remote's own `connect_timeout` and `read_timeout` win.
_TIMEOUTS_S = {"connect_timeout": 4, "read_timeout": 15}
_ATTEMPTS = "2"
_S3_MODULES = ("dvc_s3", "s3fs")


class RemoteError(Exception):
    """The shared cache cannot be used: out of reach, or it refuses us."""


def preload() -> None:
    """Import what the default remote needs before jobs are forked; S3 takes most of a second."""
    with suppress(Exception):
        for name in _S3_MODULES if default_remote_address().startswith("s3://") else ():
            import_module(name)


def open_storage(config: Mapping[str, Any], name: str) -> tuple[Any, str, dict[str, Any]]:
    """DVC's file system of a remote, the path of the remote in it, and its settings.

    Raises:
        RemoteError: the settings cannot be used.
    """
    with trouble(f"remote '{name}'"):
        kind, settings, root = file_system(config, name)
        if kind.protocol != "s3":
            return kind(**settings), root, settings
        fs = kind(**{**_TIMEOUTS_S, **settings})
        _connect(fs)
        return fs, root, settings


def show_bytes(count: int) -> str:
    """Write a number of bytes as a person reads it."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def describe(error: BaseException) -> str:
    """Say an error of a storage library in one line."""
    if isinstance(error, PermissionError):
        return f"it refuses us: {error.strerror or error}"
    text = " ".join(str(error).split())
    return text or type(error).__name__


@contextmanager
def trouble(where: str) -> Iterator[None]:
    """Turn every error of the storage at `where` into a RemoteError."""
    try:
        yield
    except RemoteError:
        raise
    except Exception as error:
        raise RemoteError(f"{where}: {describe(error)}") from error


def _connect(fs: Any) -> None:
    """Open the S3 client; it would try five times, each time for a minute."""
    before = os.environ.get("AWS_MAX_ATTEMPTS")
    os.environ["AWS_MAX_ATTEMPTS"] = before or _ATTEMPTS
    try:
        fs.fs.retries = int(_ATTEMPTS)
    finally:
        if before is None:
            del os.environ["AWS_MAX_ATTEMPTS"]
