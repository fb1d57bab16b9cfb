"""What goes between machines: objects through the DVC remote, and contents of files outside the cache."""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.stage.cache import _can_hash, _get_stage_hash

from pipeline.errors import InputError


def inputs(repo: Any, stage: Any) -> list[tuple[Any, str | None]]:
    """Outputs that a stage reads; with the path inside where it reads only a part."""
    found: list[tuple[Any, str | None]] = []
    for other in repo.index.graph.successors(stage):
        for out in other.outs:
            for dep in stage.deps:
                if dep.fs.isin_or_eq(out.fs_path, dep.fs_path):
                    found.append((out, None))
                elif dep.fs.isin(dep.fs_path, out.fs_path):
                    found.append((out, dep.fs_path))
    return found


def push(repo: Any, out: Any, part: str | None = None) -> None:
    """Send what an output holds to the DVC remote.

    Args:
        part: only what lies at this path.

    Raises:
        DvcException: not all of it arrived.
    """
    for odb, objects in out.get_used_objs(filter_info=part).items():
        if objects and repo.cloud.push(objects, odb=odb).failed:
            raise DvcException(f"{out.def_path} did not get to the DVC remote")


def pull(repo: Any, out: Any, part: str | None = None) -> None:
    """Put an output in its place, from the DVC remote where the cache lacks it.

    Args:
        part: only what lies at this path.

    Raises:
        DvcException: the remote lacks it too.
    """
    for odb, objects in out.get_used_objs(filter_info=part).items():
        if objects and repo.cloud.pull(objects, odb=odb).failed:
            raise DvcException(f"{out.def_path} is not whole in the DVC remote")
    out.checkout(force=True, filter_info=part)


def push_run_cache(repo: Any, stage: Any) -> None:
    """As `StageCache.push` does, but of one stage: it sends everything that a worker has ever done, each time."""
    if not _can_hash(stage):
        return
    cache = repo.stage_cache
    # It holds metrics too, whatever `cache` says of them.
    held = {out.hash_info for out in stage.outs if not out.use_cache and repo.cache.local.exists(out.hash_info.value)}
    if held:
        repo.cloud.push(held)
    source = Path(cache._get_cache_dir(_get_stage_hash(stage)))
    remote = repo.cloud.get_remote_odb(None, "push --run-cache", hash_name="md5-dos2unix")
    for file in source.iterdir() if source.is_dir() else ():
        target = remote.fs.join(remote.path, "runs", source.parent.name, source.name, file.name)
        remote.fs.makedirs(remote.fs.parent(target), exist_ok=True)
        remote.fs.put_file(str(file), target)


def read_files(outs: list[Any], most: int) -> dict[str, Any]:
    """Contents of outputs outside the cache, by their path in the workspace.

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
    """Write what `read_files` has read."""
    for name, file in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(base64.b64decode(file["base64"]))
        if file["executable"]:
            path.chmod(path.stat().st_mode | 0o111)


def relative(repo: Any, path: str) -> str:
    """A path as it is called in the workspace."""
    return os.path.relpath(path, repo.root_dir)
