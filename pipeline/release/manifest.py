"""Making manifest.json: what a release holds and what it was made from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError
from pipeline.files import sha256
from pipeline.layout import LOCK, REPORT, WEIGHTS, Engine, Layout, Variant
from pipeline.params.blocks import ModelParams
from pipeline.records.export import Precision
from pipeline.runtime.manifest import FORMAT, FORMAT_VERSION, MANIFEST

GOLDEN = "golden.json"


@dataclass(frozen=True)
class EngineFiles:
    """The variant that ships for one engine; paths are relative to the release.

    Attributes:
        model: the file that the engine opens.
        precision: what it is opened with.
    """

    variant: Variant
    model: str
    files: Sequence[str]
    precision: Precision

    def as_json(self) -> dict[str, Any]:
        """Its entry in manifest.json."""
        return {
            "variant": self.variant.value,
            "model": self.model,
            "files": list(self.files),
            "precision": self.precision.model_dump(),
        }


def manifest(
    model: str,
    params: ModelParams,
    facts: Mapping[str, Any],
    engines: Mapping[Engine, EngineFiles],
    made_from: Mapping[str, str],
) -> dict[str, Any]:
    """The manifest without its `files`; `list_files` adds them when all are written.

    Args:
        model: name of the model.
        params: its block of params.yaml.
        facts: the file that says how inputs are made ready, and what was found out about the model.
        engines: what ships for each.
        made_from: SHA-256 of each source, by its path in the workspace.
    """
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": model,
        "verb": params.verb,
        "task": params.task,
        **params.device_facts(),
        **facts,
        "golden": GOLDEN,
        "engines": {engine.value: entry.as_json() for engine, entry in engines.items()},
        "made_from": dict(made_from),
    }


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Name, SHA-256 and size of every file of a release except the manifest, in the order of their names."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {
        name: {"sha256": sha256(path), "size_bytes": path.stat().st_size}
        for name, path in names.items()
        if name != MANIFEST
    }


def hash_sources(layout: Layout, model: str, params: ModelParams) -> dict[str, str]:
    """SHA-256 of everything that decides what the release is, by its path in the workspace.

    `teacher` is the checksum that params.yaml pins; its weights were checked against it before they were read. The
    weights of a teacher that is trained here stand among the files.

    Raises:
        IntegrityError: naming every source that is missing.
    """
    paths = layout.model(model)
    data = sorted(path for path in paths.data.glob("*") if path.name != REPORT)
    pinned = params.pinned_teacher()
    trained = [] if pinned else [paths.teacher_checkpoint / WEIGHTS]
    made = [paths.student] * (params.distill != "none") + [paths.pruned] * (params.prune != "none")
    weights = [folder / WEIGHTS for folder in (*made, paths.quantized)]
    sources = [*data, *trained, *weights, layout.root / LOCK, paths.verification, paths.verdict]
    # Where there are no data files, their folder stands for them: no file has its name, so the error names it.
    _require(sources if data else [paths.data, *sources])
    hashes = {path.relative_to(layout.root).as_posix(): sha256(path) for path in sources}
    return {"teacher": pinned.sha256, **hashes} if pinned else hashes


def _require(paths: Iterable[Path]) -> None:
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise IntegrityError(f"missing: {', '.join(missing)}: run `dvc repro` (or `dvc pull`) first")
