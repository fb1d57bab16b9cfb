"""Models and releases of a few kilobytes."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runtime import tiny

SUFFIX = {"onnxruntime": ".onnx", "openvino": ".xml", "tflite": ".tflite"}


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model file an engine, all with the same word vectors."""
    folder = tmp_path_factory.mktemp("models")
    paths = {engine: folder / f"int8{suffix}" for engine, suffix in SUFFIX.items()}
    for engine, path in paths.items():
        tiny.write_model(engine, path, tiny.word_vectors())
    return paths


@pytest.fixture
def make_release(tmp_path: Path, tiny_models: dict[str, Path]) -> Callable[..., Path]:
    """A function that writes a release; keywords replace fields of its manifest."""

    def make(**changes: Any) -> Path:
        folder = tmp_path / "release"
        folder.mkdir()
        tiny.write_tokenizer(folder / "tokenizer.json")
        engines = {}
        for engine, path in tiny_models.items():
            (folder / engine).mkdir()
            files = sorted(path.parent.glob("int8.xml")) + sorted(path.parent.glob("int8.bin"))
            for file in files if engine == "openvino" else [path]:
                (folder / engine / file.name).write_bytes(file.read_bytes())
            names = sorted(f"{engine}/{file.name}" for file in (folder / engine).iterdir())
            model = f"{engine}/{path.name}"
            engines[engine] = {"variant": "int8", "model": model, "files": names, "precision": tiny.PRECISION}
        files_of = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        manifest = {
            "format": "bardlet-release",
            "format_version": 2,
            "model": "tiny",
            "verb": "encode",
            "task": "sentence_embedding",
            "dim": tiny.DIM,
            "max_tokens": 16,
            "tokenizer": "tokenizer.json",
            "golden": "golden.json",
            "engines": engines,
            "files": {
                name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
                for name, content in files_of.items()
            },
        }
        (folder / "manifest.json").write_text(json.dumps(manifest | changes))
        return folder

    return make


@pytest.fixture
def text_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A function that writes a release of the tiny language model, which `Release.open` then runs in PyTorch."""
    # torch takes seconds to import, and only these tests need it.
    from tests.runtime import tiny_texts

    monkeypatch.setattr("pipeline.runtime.release.open_session", lambda *_: tiny_texts.session())

    def make(**changes: Any) -> Path:
        return tiny_texts.write_release(tmp_path / "texts", **changes)

    return make
