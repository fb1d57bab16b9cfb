"""Moves a stage's files between machines: objects through the DVC remote, files outside the cache as contents."""

import base64
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.orchestration.dvc_inside.graph import upstream_of
from pipeline.orchestration.dvc_inside.object_store import HASH, files_of_folder
from pipeline.orchestration.sharing.remote import AbsentError, Remote, default_remote
from pipeline.orchestration.sharing.stages import put_entry_of
from pipeline.orchestration.sharing.storage import RemoteError


def inputs(repo: Any, stage: Any) -> list[tuple[Any, str | None]]:
    """The outputs that a stage reads, each with the path of the part that it reads, or None for the whole."""
    found: list[tuple[Any, str | None]] = []
    for other in upstream_of(repo, stage):
        for out in other.outs:
            for dep in stage.deps:
                if dep.fs.isin_or_eq(out.fs_path, dep.fs_path):
                    found.append((out, None))
                elif dep.fs.isin(dep.fs_path, out.fs_path):
                    found.append((out, dep.fs_path))
    return found


class Carrier:
    """Takes outputs to the DVC remote and brings them from there; every hash is compared on the way here."""

    def __init__(self, repo: Any) -> None:
        """Nothing is opened yet.

        Args:
            repo: the repository; `core.remote` names the remote of outputs that name none themselves.
        """
        self._repo = repo
        self._remotes: dict[str | None, Remote] = {}

    def send(self, out: Any, part: str | None = None) -> None:
        """Send what an output holds; one outside the cache holds nothing.

        Args:
            out: an output of a stage, as dvc.lock records it.
            part: only what lies at this path.

        Raises:
            InputError: not all of it arrived.
        """
        if out.use_cache:
            with _told(out, "did not get to the DVC remote"):
                remote = self._remote(out)
                # Its list may be there and not here: DVC needs no list for a folder that nothing has changed.
                remote.get(_list_of(out))
                remote.put(sorted([_object(out), *self._contents(out, part)]))

    def bring(self, out: Any, part: str | None = None) -> None:
        """Bring what an output holds into this clone's cache, unless it is there.

        Raises:
            InputError: the remote lacks something, or has something else in its place.
        """
        with _told(out, "is not whole in the DVC remote"):
            remote = self._remote(out)
            remote.get({_object(out): out.def_path})
            remote.get(self._contents(out, part))

    def send_entry(self, stage: Any) -> None:
        """Send the entry of the run-cache for a stage whose outputs were sent, so that other clones find them.

        Raises:
            InputError: it did not arrive.
        """
        if stage.outs:
            with _told(stage.outs[0], "did not get to the DVC remote"):
                put_entry_of(self._repo, stage, self._remote(stage.outs[0]))

    def _remote(self, out: Any) -> Remote:
        if out.remote not in self._remotes:
            remote = Remote(self._repo, out.remote) if out.remote else default_remote(self._repo)
            if remote is None:
                raise RemoteError("no remote is configured: `dvc remote default` names one")
            self._remotes[out.remote] = remote
        return self._remotes[out.remote]

    def _contents(self, out: Any, part: str | None) -> dict[str, str]:
        """Objects of the files in a folder, with their paths; empty for a file."""
        if not _list_of(out):
            return {}
        wanted = () if part is None else out.fs.relparts(part, out.fs_path)
        return {
            oid: "/".join([out.def_path, *parts])
            for oid, parts in files_of_folder(self._repo, _object(out))
            if parts[: len(wanted)] == wanted
        }


@contextmanager
def _told(out: Any, what: str) -> Iterator[None]:
    try:
        yield
    except (AbsentError, RemoteError) as error:
        raise InputError(f"{out.def_path} {what}, through which it goes to another machine: {error}") from error


def _object(out: Any) -> str:
    if out.hash_name != HASH or not out.hash_info:
        advice = f"`dvc commit {out.stage.addressing}` records it" if not out.hash_info else "`dvc cache migrate` helps"
        raise InputError(f"{out.def_path} has no {HASH} hash in dvc.lock and cannot go to another machine: {advice}")
    return str(out.hash_info.value)


def _list_of(out: Any) -> dict[str, str]:
    """The object that lists a folder, with the folder's path; empty for a file."""
    return {_object(out): out.def_path} if _object(out).endswith(".dir") else {}


def check_out(out: Any, part: str | None = None) -> None:
    """Put an output, or the part of it at a path, into the workspace; the cache has it."""
    out.checkout(force=True, filter_info=part)


def read_files(outs: list[Any], most: int) -> dict[str, Any]:
    """Read outputs outside the cache; returns contents by path in the workspace.

    Args:
        outs: of stages; files only.
        most: bytes that each may have.

    Raises:
        InputError: one that cannot go to another machine.
    """
    files: dict[str, Any] = {}
    for out in outs:
        path = Path(out.fs_path)
        advice = "without `cache: false` in dvc.yaml it goes through the DVC remote"
        if not path.exists():
            raise InputError(
                f"{out.def_path} is missing and cannot go to another machine: build {out.stage.addressing}"
            )
        if path.is_dir():
            raise InputError(
                f"{out.def_path} is a folder outside the cache, which cannot go to another machine; {advice}"
            )
        size = path.stat().st_size
        if size > most:
            raise InputError(
                f"{out.def_path} has {size} bytes > {most} that a file outside the cache may have; {advice}"
            )
        data = base64.b64encode(path.read_bytes()).decode()
        files[relative(out.repo, out.fs_path)] = {"base64": data, "executable": os.access(path, os.X_OK)}
    return files


def write_files(root: Path, files: Mapping[str, Any]) -> None:
    """Write files that `read_files` has read."""
    for name, file in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(base64.b64decode(file["base64"]))
        if file["executable"]:
            path.chmod(path.stat().st_mode | 0o111)


def relative(repo: Any, path: str) -> str:
    """A path relative to the workspace."""
    return os.path.relpath(path, repo.root_dir)
