from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import IntegrityError
from pipeline.files import read_json
from pipeline.images import storage
from pipeline.images.storage import ImageData, ImageInfo, ImageSet
from pipeline.weights import save_tensors

_INFO = ImageInfo(("cat", "dog"), 2, 3, "stretch", (0.1, 0.2, 0.3), (1.0, 1.0, 0.5))


def _set(labels: list[int], seed: int) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3, 2, 2), dtype=np.uint8)
    return ImageSet(pixels, np.array(labels, np.int64))


_DATA = ImageData(_INFO, _set([0, 1, 1], 0), _set([0, 1], 1), _set([1, 0], 2))


def test_images_come_back_as_they_were_saved(tmp_path: Path) -> None:
    storage.save(_DATA, tmp_path, {"source": "made up"})
    assert storage.load_info(tmp_path) == _INFO
    for name, wanted in _DATA.splits().items():
        given = storage.load_split(tmp_path / name)
        np.testing.assert_array_equal(given.images, wanted.images)
        np.testing.assert_array_equal(given.labels, wanted.labels)
        assert (given.images.dtype, given.labels.dtype) == (np.uint8, np.int64)


def test_the_report_counts_images_and_those_seen_in_training(tmp_path: Path) -> None:
    leaking = ImageData(_INFO, _DATA.train, _DATA.validation, _DATA.train.take(np.array([0, 2])))
    storage.save(leaking, tmp_path, {"source": "made up"})
    assert read_json(tmp_path / "report.json") == {
        "source": "made up",
        "train_images": 3,
        "validation_images": 2,
        "heldout_images": 2,
        "heldout_images_also_in_train": 2,
        "classes": {
            "cat": {"train": 1, "validation": 1, "heldout": 1},
            "dog": {"train": 2, "validation": 1, "heldout": 1},
        },
    }


def test_a_device_learns_what_the_model_does_not_do_itself() -> None:
    assert _INFO.preprocessing() == {
        "height": 2,
        "width": 2,
        "channels": 3,
        "fit": "stretch",
        "labels": ["cat", "dog"],
        "resampling": "bilinear, antialiased",
    }


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"train\.safetensors"):
        storage.load_split(tmp_path / storage.TRAIN)
    save_tensors({"images": np.zeros((1, 2, 2), np.uint8), "labels": np.zeros(1, np.int64)}, tmp_path / storage.TRAIN)
    with pytest.raises(IntegrityError, match=r"train\.safetensors holds no images and labels"):
        storage.load_split(tmp_path / storage.TRAIN)
    (tmp_path / storage.CLASSES).write_text('{"names": ["a"]}')
    with pytest.raises(IntegrityError, match=r"classes\.json is damaged"):
        storage.load_info(tmp_path)
