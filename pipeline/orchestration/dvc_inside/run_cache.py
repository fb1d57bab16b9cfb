"""Entries of the run-cache: what came out when a command ran on these inputs with these parameters.

An entry lies at runs/KEY/NAME. KEY is the hash of the question (command, dependencies, parameters, and paths of
outputs), NAME the hash of all of it.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA
from dvc.stage.cache import _can_hash, _get_cache_hash, _get_stage_hash
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils.serialize import dump_yaml, parse_yaml

Entry = Mapping[str, Any]


def is_kept(stage: Any) -> bool:
    """Whether DVC keeps the results of a stage in the run-cache."""
    return bool(_can_hash(stage))


def key_of(stage: Any) -> str:
    """The key under which the results of a stage are found; only for one that `is_kept`."""
    return str(_get_stage_hash(stage))


def keep(repo: Any, stage: Any) -> tuple[str, str]:
    """Have an entry for a stage as it is now; returns its key and its name."""
    repo.stage_cache.save(stage)
    return key_of(stage), str(_get_cache_hash(to_single_stage_lockfile(stage)))


def known_entries(repo: Any, key: str) -> dict[str, Entry]:
    """The entries that this clone has for `key`, by name; damaged ones are left out."""
    folder = Path(repo.stage_cache._get_cache_dir(key))
    texts = {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}
    found = {name: read_entry(key, name, text) for name, text in texts.items()}
    return {name: entry for name, entry in found.items() if entry is not None}


def path_of(repo: Any, key: str, name: str) -> Path:
    """Where this clone has an entry."""
    return Path(repo.stage_cache._get_cache_path(key, name))


def make_newest(repo: Any, key: str, name: str, entry: Entry) -> None:
    """Write an entry; DVC takes the one of a key that was written last."""
    path = path_of(repo, key, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{name}")
    dump_yaml(str(temporary), dict(entry))
    temporary.replace(path)


def read_entry(key: str, name: str, text: bytes) -> dict[str, Any] | None:
    """An entry from its text; None where it is damaged or answers another question."""
    try:
        entry: dict[str, Any] = COMPILED_LOCK_FILE_STAGE_SCHEMA(parse_yaml(text.decode("utf-8"), name))
        question = {**entry, "outs": [dict(out) for out in entry.get("outs", [])]}
        genuine = _get_cache_hash(entry) == name and _get_cache_hash(question, key=True) == key
    except Exception:
        # Whatever is wrong with it, it is no entry.
        return None
    return entry if genuine else None


def heal(repo: Any) -> None:
    """Remove folders that a killed process left without an entry; DVC fails on such a folder."""
    for folder in Path(repo.stage_cache.cache_dir).glob("*/*"):
        with suppress(OSError):
            folder.rmdir()
