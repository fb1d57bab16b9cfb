"""Putting a release together; it appears under its name only when it is complete and has repeated its outputs."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import IntegrityError, StageError
from pipeline.files import new_folder, sha256, write_json
from pipeline.layout import CARD, CHAT, GENERATION, PREPROCESSING, TOKENIZER, Engine, Layout, ModelLayout, Variant
from pipeline.params.blocks import ModelParams
from pipeline.records.generation import Generation
from pipeline.records.results import Results
from pipeline.records.verdict import Verdict
from pipeline.records.verification import Verification
from pipeline.release import golden
from pipeline.release.manifest import GOLDEN, EngineFiles, hash_sources, list_files, manifest
from pipeline.release.model_card import model_card
from pipeline.release.permission import require_pass
from pipeline.runtime.manifest import INPUT_FILES, MANIFEST, parse_manifest, read_manifest
from pipeline.runtime.session import Precision, open_session

# The files that say how inputs are made ready, by their keys in manifest.json.
_FILE_NAMES = {"tokenizer": TOKENIZER, "preprocessing": PREPROCESSING}


def write_bundle(layout: Layout, model: str, params: ModelParams) -> Path:
    """Write `artifacts/<model>/release/` and return its path.

    Raises:
        BudgetError, InconclusiveError: the gate's verdict on the model is not PASS.
        IntegrityError: a source is missing, or an export is not the file that was verified and measured.
        StageError: the bundled files contradict each other or do not repeat their outputs.
    """
    paths = layout.model(model)
    verdict = require_pass(model, Verdict.read(paths.verdict))
    verification = Verification.read(paths.verification)
    results = Results.read(layout.results)
    made_from = hash_sources(layout, model, params)
    with new_folder(paths.release) as folder:
        engines = _copy_exports(layout.root, verification, verdict.chosen, folder)
        facts = _copy_input_file(paths, params.verb, folder)
        if params.verb == "generate":
            facts |= _generation(paths, folder)
        if params.verb == "encode":
            facts["dim"] = _dimension(folder, engines)
        content = manifest(model, params, facts, engines, made_from)
        recorded = golden.record(parse_manifest(folder, {**content, "files": list_files(folder)}), paths.data)
        golden.require_agreement(recorded, params.verify.tolerances)
        write_json(folder / GOLDEN, recorded)
        card = model_card(layout, model, params, verdict, verification, results)
        (folder / CARD).write_text(card, encoding="utf-8")
        write_json(folder / MANIFEST, {**content, "files": list_files(folder)})
        golden.verify(read_manifest(folder))
    return paths.release


def _copy_exports(
    root: Path, verification: Verification, chosen: Mapping[Engine, Variant | None], folder: Path
) -> dict[Engine, EngineFiles]:
    engines: dict[Engine, EngineFiles] = {}
    for engine in Engine:
        variant = chosen.get(engine)
        if variant is None:
            continue
        entry = verification.find(engine, variant)
        if entry is None:
            raise IntegrityError(f"the verdict chose {engine} {variant}, which verify.json lacks: run `dvc repro`")
        (folder / engine).mkdir()
        for name, file in entry.files.items():
            _copy_checked((root / entry.path).with_name(name), folder / engine / name, file.sha256)
        engines[engine] = EngineFiles(
            variant=variant,
            model=f"{engine}/{Path(entry.path).name}",
            files=[f"{engine}/{name}" for name in sorted(entry.files)],
            precision=entry.precision,
        )
    if not engines:
        raise StageError("the verdict chose no variant for any engine: there is nothing to release")
    return engines


def _copy_checked(source: Path, target: Path, expected: str) -> None:
    if not source.is_file():
        raise IntegrityError(f"{source} is missing: run `dvc repro` (or `dvc pull`) first")
    shutil.copyfile(source, target)
    if (digest := sha256(target)) != expected:
        raise IntegrityError(
            f"{source} has SHA-256 {digest}, but {expected} was verified and measured: `dvc repro` makes it anew"
        )


def _copy_input_file(paths: ModelLayout, verb: str, folder: Path) -> dict[str, Any]:
    """The file that makes inputs ready for this verb, by its key in the manifest."""
    key = INPUT_FILES[verb]
    name = _FILE_NAMES[key]
    if not (paths.quantized / name).is_file():
        raise IntegrityError(f"{paths.quantized} has no {name}: run `dvc repro` (or `dvc pull`) first")
    shutil.copyfile(paths.quantized / name, folder / name)
    return {key: name}


def _generation(paths: ModelLayout, folder: Path) -> dict[str, Any]:
    """What a generator needs to know, and chat.json where the model chats."""
    known = Generation.read(paths.quantized / GENERATION)
    facts: dict[str, Any] = {"start_token": known.start, "end_tokens": list(known.end)}
    if not (paths.quantized / CHAT).is_file():
        return facts
    shutil.copyfile(paths.quantized / CHAT, folder / CHAT)
    return {**facts, "chat": CHAT}


def _dimension(folder: Path, engines: Mapping[Engine, EngineFiles]) -> int:
    """Features of one embedding, as the first engine's file has them."""
    engine, entry = next(iter(engines.items()))
    ids = np.ones((1, 8), np.int32)
    session = open_session(engine, folder / entry.model, 1, Precision(**entry.precision.model_dump()))
    return int(session.run({"input_ids": ids, "attention_mask": ids}).shape[1])
