"""Opening, checking and running a release."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.runtime import Release
from pipeline.runtime.errors import EngineError, ReleaseError, RuntimeInputError, TamperedError
from pipeline.runtime.golden import check_golden
from pipeline.runtime.session import ENGINES
from tests.runtime import tiny

MakeRelease = Callable[..., Path]
TEXTS = ["read a csv file", "", "parse date", "sort list of numbers " * 20, "read a csv file"]
IMPORT_NAMES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tflite": "ai_edge_litert"}


@pytest.mark.parametrize("engine", ENGINES)
def test_encode_keeps_the_order_and_does_not_depend_on_neighbours(engine: str, make_release: MakeRelease) -> None:
    release = Release.open(make_release(), engine)
    together = release.encode(TEXTS)
    assert together.shape == (5, tiny.DIM)
    assert together.dtype == np.float32
    for row, text in zip(together, TEXTS, strict=True):
        np.testing.assert_array_equal(row, release.encode([text])[0])
    np.testing.assert_allclose(release.encode(TEXTS, batch=4), together, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_texts_are_cut_and_not_padded(make_release: MakeRelease) -> None:
    release = Release.open(make_release(), "onnxruntime")
    assert len(release.token_ids("sort " * 50)) == 16
    assert release.token_ids("sort") == [1, tiny.WORDS.index("sort"), 2]


def test_rank_puts_the_nearest_first_and_keeps_the_order_of_equals(make_release: MakeRelease) -> None:
    release = Release.open(make_release(), "onnxruntime")
    corpus = ["open socket", "read a csv file", "parse date", "read a csv file"]
    (hits,) = release.rank(["read a csv file"], corpus, top=3)
    assert [(hit.rank, hit.index) for hit in hits[:2]] == [(1, 1), (2, 3)]
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert len(hits) == 3
    assert release.rank(["parse date"], release.encode(corpus), top=1)[0][0].index == 2


def test_progress_counts_to_the_end(make_release: MakeRelease) -> None:
    seen: list[int] = []
    Release.open(make_release()).encode(TEXTS, on_progress=seen.append)
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", ["tokenizer.json", "onnxruntime/int8.onnx"])
def test_a_changed_file_is_refused_before_it_is_read(name: str, make_release: MakeRelease) -> None:
    folder = make_release()
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(TamperedError, match=rf"{name} has SHA-256 [0-9a-f]{{64}}, the manifest says") as caught:
        Release.open(folder, "onnxruntime")
    assert caught.value.exit_code == 4


def test_all_differing_files_are_named_at_once(make_release: MakeRelease) -> None:
    folder = make_release()
    (folder / "tokenizer.json").write_text("{}")
    (folder / "openvino" / "int8.bin").unlink()
    with pytest.raises(TamperedError, match=r"int8\.bin: No such file") as caught:
        Release.open(folder, "openvino")
    assert "tokenizer.json has 2 bytes" in str(caught.value)


def test_files_of_another_engine_are_not_needed(make_release: MakeRelease) -> None:
    folder = make_release()
    (folder / "openvino" / "int8.bin").unlink()
    assert Release.open(folder, "tflite").encode(["parse"]).shape == (1, tiny.DIM)


def test_a_manifest_that_is_wrong_is_refused(make_release: MakeRelease) -> None:
    folder = make_release()
    manifest = json.loads((folder / "manifest.json").read_text())

    def write(**changes: object) -> None:
        (folder / "manifest.json").write_text(json.dumps(manifest | changes))

    outside = {"../evil": {"sha256": "0" * 64, "size_bytes": 1}}
    write(files=manifest["files"] | outside)
    with pytest.raises(TamperedError, match="lies outside of the release"):
        Release.open(folder)
    write(files={})
    with pytest.raises(TamperedError, match=r"no checksum for tokenizer\.json"):
        Release.open(folder)
    write(format_version=3)
    with pytest.raises(ReleaseError, match="format version 3, and this runtime reads 2: update Bardlet"):
        Release.open(folder)
    write(format_version=1)
    with pytest.raises(ReleaseError, match="format version 1, and this runtime reads 2: make the release anew"):
        Release.open(folder)
    write(dim="twelve")
    with pytest.raises(TamperedError, match="dim is 'twelve', no whole number"):
        Release.open(folder, "onnxruntime")
    engines = {name: {**entry, "precision": {"weight": "int8"}} for name, entry in manifest["engines"].items()}
    write(engines=engines)
    with pytest.raises(TamperedError, match=r"manifest\.json is damaged"):
        Release.open(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(TamperedError, match="not valid JSON"):
        Release.open(folder)


def test_wrong_input_is_named(make_release: MakeRelease, tmp_path: Path) -> None:
    release = Release.open(make_release(), "onnxruntime")
    with pytest.raises(RuntimeInputError, match=r"encode\(\[text\]\)"):
        release.encode("one text")
    with pytest.raises(RuntimeInputError, match="not valid Unicode"):
        release.encode(["\ud800"])
    with pytest.raises(RuntimeInputError, match="must be a str"):
        release.encode([3])  # type: ignore[list-item]
    with pytest.raises(RuntimeInputError, match="is no release"):
        Release.open(tmp_path / "nothing")
    with pytest.raises(RuntimeInputError, match="no engine 'torch'"):
        Release.open(tmp_path / "release", "torch")
    assert release.encode([]).shape == (0, tiny.DIM)


def test_an_output_of_another_size_is_refused(make_release: MakeRelease) -> None:
    with pytest.raises(EngineError, match=r"returned shape \(1, 12\), expected \(1, 13\)"):
        Release.open(make_release(dim=13), "onnxruntime").encode(["read"])


def test_a_release_without_golden_outputs_cannot_be_checked(make_release: MakeRelease) -> None:
    with pytest.raises(TamperedError, match=r"golden\.json has no checksum"):
        check_golden(Release.open(make_release()))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_device_needs_numpy_tokenizers_and_one_engine_only(engine: str, make_release: MakeRelease) -> None:
    code = (
        "import sys; from pipeline.runtime import Release; "
        f"Release.open({str(make_release())!r}, {engine!r}).encode(['read']); print('\\n'.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    others = set(IMPORT_NAMES.values()) - {IMPORT_NAMES[engine]}
    assert not loaded & {"torch", "pydantic", "dvc", "yaml", "transformers", "typer", "rich", *others}
    inner = {name for name in done.stdout.split() if name.startswith("pipeline.")}
    assert all(name.startswith("pipeline.runtime") for name in inner)


def test_the_device_side_imports_with_numpy_alone() -> None:
    """Every module but those of the engines, where nothing else is installed."""
    code = (
        "import sys, pkgutil, importlib\n"
        "absent = ['pydantic', 'psutil', 'rich', 'typer', 'tokenizers', 'PIL', 'torch', 'dvc', 'prefect', 'yaml', "
        "'jinja2', 'onnxruntime', 'openvino', 'ai_edge_litert']\n"
        "sys.modules.update(dict.fromkeys(absent))\n"
        "import pipeline.runtime\n"
        "engines = ('onnxruntime', 'openvino', 'tflite')\n"
        "found = [module.name for module in pkgutil.iter_modules(pipeline.runtime.__path__)]\n"
        "names = [name for name in found if not name.startswith(engines)]\n"
        "[importlib.import_module(f'pipeline.runtime.{name}') for name in names]\n"
        "print(pipeline.runtime.Release.__name__, *names)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"Release", "embed", "classify", "manifest", "golden"} <= set(done.stdout.split())


def test_every_verb_that_a_manifest_may_have_is_opened() -> None:
    from pipeline.runtime import manifest, release

    assert set(release._OPEN) == set(manifest.INPUT_FILES)
