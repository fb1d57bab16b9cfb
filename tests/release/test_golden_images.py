"""Golden images: recorded, agreed on, and repeated."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import IntegrityError, StageError
from pipeline.images.storage import HELDOUT
from pipeline.layout import Variant
from pipeline.params.blocks import Tolerance
from pipeline.release import golden
from pipeline.runtime import Release
from pipeline.runtime.errors import TamperedError
from pipeline.runtime.golden import check_golden
from pipeline.runtime.golden_images import pack, unpack
from pipeline.runtime.manifest import read_manifest
from pipeline.runtime.session import ENGINES
from pipeline.weights import save_tensors
from tests.runtime import tiny_images as tiny

_TOLERANCES = {variant: Tolerance(mean_cosine=0.99, max_abs_error=1) for variant in Variant}


def _write_data(folder: Path) -> Path:
    """Held-out images, of which the first of each class becomes golden."""
    order = [1, 0, 0, 2, 1]
    images = np.stack([tiny.HOW.prepare(tiny.picture(tiny.LABELS[label])) for label in order])
    save_tensors({"images": images, "labels": np.array(order, np.int64)}, folder / HELDOUT)
    return folder


def _write_golden(folder: Path, recorded: dict[str, Any]) -> None:
    (folder / "golden.json").write_text(json.dumps(recorded))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["golden.json"] = tiny.describe(folder / "golden.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release with golden images."""
    folder = tiny.write_release(tmp_path / "release")
    _write_golden(folder, golden.record(read_manifest(folder), _write_data(tmp_path)))
    return folder


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_repeats_its_golden_images(engine: str, release: Path) -> None:
    assert check_golden(Release.open(release, engine)) == []


def test_golden_images_are_the_first_of_each_class(release: Path) -> None:
    recorded = json.loads((release / "golden.json").read_text())
    images = [unpack(entry) for entry in recorded["images"]]
    assert [image.shape for image in images] == [(4, 4)] * 3
    found = Release.open(release, "onnxruntime").classify(images, top=1)
    assert [guesses[0].label for guesses in found] == ["top", "bottom", "dark"]
    assert [entry["shape"] for entry in recorded["patterns"]] == [[11, 13, 3], [3, 2]]
    golden.require_agreement(recorded, _TOLERANCES)
    golden.verify(read_manifest(release))


def test_another_model_or_preparation_is_noticed(release: Path) -> None:
    recorded = json.loads((release / "golden.json").read_text())
    logits = recorded["engines"]["tflite"]["outputs"]
    recorded["engines"]["tflite"]["outputs"] = [logits[1], logits[0], logits[2]]
    _write_golden(release, recorded)
    problems = check_golden(Release.open(release, "tflite"))
    assert [problem.partition(":")[0] for problem in problems] == ["image 0", "image 1"]
    assert all("away from a recorded probability, allowed 0.15" in problem for problem in problems)
    with pytest.raises(StageError, match="onnxruntime and tflite: mean cosine"):
        golden.require_agreement(recorded, _TOLERANCES)
    recorded["patterns"][0]["sha256"] = "0" * 64
    _write_golden(release, recorded)
    (problem,) = check_golden(Release.open(release, "onnxruntime"))
    assert problem.startswith("a pattern of shape [11, 13, 3] is prepared to ")


@pytest.mark.parametrize("damage", [{"images": [{"shape": [4, 4], "zlib_base64": "AAAA"}]}, {"patterns": 3}])
def test_damaged_golden_images_are_named(damage: dict[str, Any], release: Path) -> None:
    recorded = json.loads((release / "golden.json").read_text())
    _write_golden(release, recorded | damage)
    with pytest.raises(TamperedError, match=r"golden\.json is damaged"):
        check_golden(Release.open(release, "onnxruntime"))


def test_large_images_become_fewer(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 300, 300), dtype=np.uint8)
    save_tensors({"images": images, "labels": np.arange(4)}, tmp_path / HELDOUT)
    chosen = golden.heldout_images(tmp_path)
    assert [image.shape for image in chosen] == [(300, 300, 3)] * 2
    np.testing.assert_array_equal(unpack(pack(chosen[1])), images[1].transpose(1, 2, 0))


def test_no_heldout_images_are_named(tmp_path: Path) -> None:
    folder = tiny.write_release(tmp_path / "release")
    with pytest.raises(IntegrityError, match=r"heldout\.safetensors"):
        golden.record(read_manifest(folder), tmp_path)
