"""A workspace that is ready to be released: tiny exports for three engines, and evidence with a PASS."""

import shutil
from pathlib import Path

from pipeline.files import sha256
from pipeline.layout import SUFFIX, Engine, Layout, Variant
from pipeline.records.export import FileFacts
from pipeline.records.verification import Verification
from tests.report import made_up
from tests.runtime import tiny

MODEL = made_up.MODEL


def write_workspace(root: Path, verdict: str = "PASS") -> Layout:
    """Write everything that the release stage reads below `root`."""
    made_up.write_workspace(root, verdict)
    layout = Layout(root)
    paths = layout.model(MODEL)
    for folder in (paths.data, paths.student, paths.pruned, paths.quantized):
        folder.mkdir(parents=True)
    for name, lines in (("train", 7), ("heldout", 3), ("retrieval", 2)):
        (paths.data / f"{name}.jsonl").write_text('{"text": "read a csv file"}\n' * lines)
    (paths.data / "report.json").write_text('{"train_texts": 7, "heldout_texts": 3, "groups": {}}')
    for folder in (paths.student, paths.pruned, paths.quantized):
        (folder / "model.safetensors").write_bytes(folder.name.encode())
    tiny.write_tokenizer(paths.quantized / "tokenizer.json")
    (root / "requirements.lock").write_text("numpy==2.4.6\n")
    _export(layout)
    return layout


def _export(layout: Layout) -> None:
    for entry in made_up.verification().variants:
        if entry.variant.is_student:
            path = layout.root / f"{entry.path}{SUFFIX[entry.engine]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            tiny.write_model(entry.engine, path, tiny.word_vectors(), shapes=((1, 16), (1, 128)))
            describe(layout, entry.engine, entry.variant, path)


def describe(layout: Layout, engine: Engine, variant: Variant, path: Path) -> None:
    """Put a file's path and checksums into its entry of verify.json."""
    names = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    files = {file.name: FileFacts(sha256=sha256(file), size_bytes=file.stat().st_size) for file in names}
    changes = {"path": path.relative_to(layout.root).as_posix(), "files": files}
    verification = Verification.read(layout.model(MODEL).verification)
    variants = tuple(
        one.model_copy(update=changes) if (one.engine, one.variant) == (engine, variant) else one
        for one in verification.variants
    )
    verification.model_copy(update={"variants": variants}).write(layout.model(MODEL).verification)


def copy(source: Path, target: Path) -> Layout:
    """A workspace of its own for a test that changes it."""
    shutil.copytree(source, target)
    return Layout(target)
