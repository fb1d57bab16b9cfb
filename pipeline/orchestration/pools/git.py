"""Asks Git what a build on several machines needs to know."""

import subprocess
from collections.abc import Collection
from pathlib import Path

from pipeline.errors import InputError


def run(folder: Path, *arguments: str) -> str:
    """What a Git command prints.

    Raises:
        InputError: it failed; the message is Git's own.
    """
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise InputError("git is not installed, and stages in a pool need it") from error
    if done.returncode:
        raise InputError(f"git {arguments[0]} in {folder.resolve()}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def head(folder: Path) -> str:
    """The commit that is checked out.

    Raises:
        InputError: no Git repository, or one without a commit.
    """
    return run(folder, "rev-parse", "--verify", "HEAD").strip()


def prefix(folder: Path) -> str:
    """Where `folder` lies in its repository: empty, or a path with a slash at the end."""
    return run(folder, "rev-parse", "--show-prefix").strip()


def changed(folder: Path, apart: Collection[str]) -> list[str]:
    """Tracked files below `folder` that differ from the commit.

    Args:
        folder: a folder of the repository.
        apart: files and folders, relative to `folder`, that may differ.
    """
    names = run(folder, "diff", "--name-only", "--relative", "-z", "HEAD", "--", ".").split("\0")
    allowed = [Path(path) for path in apart]
    return [name for name in names if name and not any(Path(name).is_relative_to(path) for path in allowed)]


def is_tracked(folder: Path, path: str) -> bool:
    """Git has this file, or something in this folder."""
    return bool(run(folder, "ls-files", "-z", "--", path))
