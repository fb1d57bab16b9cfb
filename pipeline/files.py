"""Writes files and folders so that none ever stands half-written under its final name, and locks files."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from pipeline.errors import IntegrityError

_CHUNK_BYTES = 1 << 20


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Yield an empty folder beside `final` that takes its place when the block ends without an error.

    After an error, nothing under the final name has changed and the temporary folder is gone. A kill leaves at
    most a folder whose name starts with a dot.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if final.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{final.name}.old.", dir=final.parent))
            final.rename(old / final.name)
            try:
                temporary.rename(final)
            except BaseException:
                (old / final.name).rename(final)
                raise
            finally:
                shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def new_file(final: Path) -> Iterator[Path]:
    """Yield a path beside `final`; the file written there takes its place when the block ends without an error."""
    final.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{final.name}.", suffix=final.suffix, dir=final.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


def hold(path: Path, taken: Callable[[str], None]) -> TextIO:
    """Lock a file for this process and write into it who holds it; closing the file releases the lock.

    The lock is also released when the process is killed. A child process that inherits the file keeps it locked.

    Args:
        path: made if it is missing.
        taken: called with the holder in words where another process has the lock. If it returns, `hold` waits for the
            lock; to refuse, it raises.

    Returns:
        The open file.
    """
    # Windows has no such locks, and nothing that needs one runs there.
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8", errors="replace")
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            taken(file.read().strip() or "another process")
            fcntl.flock(file, fcntl.LOCK_EX)
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
        file.truncate(0)
        file.write(f"PID {os.getpid()} since {datetime.now():%H:%M:%S} ({command})\n")
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON artifact.

    Raises:
        IntegrityError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing: run `dvc repro` (or `dvc pull`) first") from error
    except ValueError as error:
        raise IntegrityError(f"{path} is not valid JSON ({error}): `dvc repro` makes it anew") from error
