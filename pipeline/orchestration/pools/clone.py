"""Keeps a worker's own clone, clean and at one commit. It never touches a user's checkout."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline import files
from pipeline.errors import InputError
from pipeline.orchestration.pools import git

# Settings of one machine, such as the keys of a remote: DVC keeps them out of Git.
LOCAL_SETTINGS = Path(".dvc/config.local")


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep a worker's folder for one worker.

    Raises:
        InputError: another worker has it.
    """

    def refuse(who: str) -> None:
        raise InputError(f"{folder} belongs to a worker that runs ({who}): name another with --folder")

    with files.hold(folder / "lock", refuse):
        yield


def prepare(folder: Path, repository: str, commit: str, path: str, locks: Mapping[str, str]) -> Path:
    """Bring the clone in `folder` to a commit with a given state of its lock files; returns its folder of dvc.yaml.

    Files that Git ignores stay: DVC's cache, and outputs that DVC itself will replace.

    Args:
        folder: the worker's own.
        repository: where to fetch from, as `git clone` takes it.
        commit: the full hash.
        path: folder of dvc.yaml in the repository.
        locks: texts of dvc.lock files, by their path from there; an empty one stands for no file.

    Raises:
        InputError: the repository or the commit cannot be had.
    """
    clone = folder / "clone"
    if not (clone / ".git").exists():
        shutil.rmtree(clone, ignore_errors=True)
        git.run(folder, "clone", "--quiet", "--no-checkout", repository, "clone")
    git.run(clone, "remote", "set-url", "origin", repository)
    if not _has(clone, commit):
        git.run(clone, "fetch", "--quiet", "--prune", "--force", "--tags", "origin")
    if not _has(clone, commit):
        raise InputError(f"commit {commit[:10]} is not in {repository}: push it, then build again")
    # A worker that was killed in the middle of a checkout leaves its lock.
    (clone / ".git/index.lock").unlink(missing_ok=True)
    git.run(clone, "checkout", "--quiet", "--force", "--detach", commit)
    git.run(clone, "clean", "--quiet", "--force", "--force", "-d")
    workspace = clone / path
    for name, text in locks.items():
        (workspace / name).unlink(missing_ok=True)
        if text:
            (workspace / name).write_text(text, encoding="utf-8")
    return workspace


def settings(workspace: Path, source: Path | None) -> None:
    """Give a clone the DVC settings that belong to this machine.

    Args:
        workspace: the clone's folder of `.dvc`.
        source: `.dvc/config.local` of a checkout on this machine, if there is one.
    """
    if source is not None and source.exists() and (workspace / ".dvc").is_dir():
        shutil.copyfile(source, workspace / LOCAL_SETTINGS)


def _has(clone: Path, commit: str) -> bool:
    try:
        git.run(clone, "cat-file", "-e", f"{commit}^{{commit}}")
    except InputError:
        return False
    return True
