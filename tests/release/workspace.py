"""A workspace that is ready to be released: tiny exports for three engines, and evidence with a PASS."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from pipeline.layout import Layout
from tests.report import made_up
from tests.runtime import tiny

MODEL = made_up.MODEL
SUFFIX = {"onnxruntime": ".onnx", "openvino": ".xml", "tflite": ".tflite"}


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
    variants = json.loads(layout.model(MODEL).fleet_variants.read_text())
    for entry in variants["variants"]:
        if entry["variant"] == "teacher":
            continue
        path = layout.root / f"{entry['path']}{SUFFIX[entry['engine']]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        tiny.write_model(entry["engine"], path, tiny.word_vectors(), shapes=((1, 16), (1, 128)))
        describe(entry, path, layout.root)
    made_up.write(layout.model(MODEL).fleet_variants, variants)


def describe(entry: dict[str, Any], path: Path, root: Path) -> None:
    """Put a file's path and checksums into its entry of variants.json."""
    files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    entry["path"] = path.relative_to(root).as_posix()
    entry["files"] = {
        file.name: {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "size_bytes": file.stat().st_size}
        for file in files
    }


def copy(source: Path, target: Path) -> Layout:
    """A workspace of its own for a test that changes it."""
    shutil.copytree(source, target)
    return Layout(target)
