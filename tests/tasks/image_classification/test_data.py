from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.files import read_json
from pipeline.images import storage
from pipeline.tasks.image_classification.data import make_data
from pipeline.tasks.image_classification.params import DataParams, ModelParams
from tests.work import work_in

_DATA = {
    "source": "digits",
    "folder": "none",
    "input_size": 16,
    "channels": 1,
    "fit": "crop",
    "mean": [0.3],
    "std": [0.32],
    "validation_fraction": 0.1,
    "heldout_fraction": 0.2,
    "augment": {"shift": 0.1, "rotation_degrees": 5, "zoom": 0.1, "flip": False},
}


def _params(**changes: Any) -> ModelParams:
    data = DataParams.model_validate(_DATA | changes)
    # Only the block that makes data.
    return ModelParams.model_construct(data=data)


def test_the_digits_are_written_once_with_what_the_model_must_know(tmp_path: Path) -> None:
    make_data(work_in(tmp_path, _params(), tmp_path))
    info = storage.load_info(tmp_path)
    assert (info.names, info.input_size, info.channels, info.mean, info.std) == (
        tuple("0123456789"),
        16,
        1,
        (0.3,),
        (0.32,),
    )
    assert storage.load_split(tmp_path / storage.HELDOUT).images.shape == (359, 1, 16, 16)
    report = read_json(tmp_path / "report.json")
    assert (report["source"], report["train_images"]) == ("digits of scikit-learn", 1259)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "classes.json", "heldout.safetensors", "report.json", "train.safetensors", "validation.safetensors",
    ]  # fmt: skip


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        (tmp_path / name).mkdir()
        make_data(work_in(tmp_path, _params(), tmp_path / name, seed))
    a, b, c = ((tmp_path / name / storage.TRAIN).read_bytes() for name in "abc")
    assert a == b != c


def test_a_folder_of_data_raw_is_read(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (folder := tmp_path / "data" / "raw" / "arrows" / "train" / name).mkdir(parents=True)
        for index in range(5):
            Image.fromarray(np.full((20, 20), index * 40, np.uint8)).save(folder / f"{index}.png")
    params = _params(source="folder", folder="arrows")
    make_data(work_in(tmp_path, params, tmp_path))
    assert storage.load_info(tmp_path).names == ("left", "right")
    report = read_json(tmp_path / "report.json")
    assert report["splits"] == {"train": "its folder", "validation": "cut from train", "heldout": "cut from train"}
    assert [report[f"{split}_images"] for split in ("train", "validation", "heldout")] == [6, 2, 2]
    (tmp_path / "data/raw/arrows/train/left/0.png").write_text("no image")
    with pytest.raises(InputError, match=r"arrows/train/left/0\.png: it is no PNG or JPEG image"):
        make_data(work_in(tmp_path, params, tmp_path))
