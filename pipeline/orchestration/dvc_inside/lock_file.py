"""Entries of a dvc.lock, written by DVC and sorted by us."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dvc.dvcfile import Lockfile
from dvc.utils import relpath
from dvc.utils.serialize import dump_yaml, dumps_yaml, parse_yaml_for_update

from pipeline.orchestration.plan.lockfile import entries, in_order

_SCHEMA = "2.0"


def write_entry(repo: Any, stage: Any, path: Path) -> None:
    """Write the entry of a stage into a file that is, or becomes, a dvc.lock."""
    with _silent("dvc.dvcfile"):
        Lockfile(repo, str(path)).dump_stages([stage])


def sort_entries(path: Path, order: Sequence[str]) -> None:
    """Bring the entries of a dvc.lock into an order; what `order` does not name stays at the end."""
    text = path.read_text(encoding="utf-8")
    present = entries(text)
    if present == in_order(present, order):
        return
    content = parse_yaml_for_update(text, str(path))
    for name in in_order(list(content["stages"]), order):
        content["stages"].move_to_end(name)
    dump_yaml(str(path), content)


def announce(repo: Any, written: Path, final: Path) -> None:
    """Tell DVC that what it wrote at one path lies at another, so that `core.autostage` adds the right one to Git."""
    with suppress(KeyError):
        repo.scm_context.files_to_track.remove(relpath(str(written)))
        repo.scm_context.track_file(relpath(str(final)))


def lock_text(recorded: Mapping[str, Any]) -> str:
    """A dvc.lock with these entries; empty where there are none."""
    return dumps_yaml({"schema": _SCHEMA, "stages": dict(recorded)}) if recorded else ""


@contextmanager
def _silent(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False
