from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.images.folder import make_folder
from pipeline.images.storage import ImageData

_ABOUT = {"input_size": 4, "channels": 3, "fit": "crop", "mean": (0.0,) * 3, "std": (1.0,) * 3}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes one RGB image of random pixels below `pets/`."""
    random = np.random.default_rng(0)

    def make(name: str, mode: str = "RGB", size: tuple[int, int] = (6, 4), **options: Any) -> Path:
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = {"RGB": (*size, 3), "L": size, "RGBA": (*size, 4)}[mode]
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8), mode).save(path, **options)
        return path

    return make


def _make(write: Write, folder: Path, **changes: Any) -> ImageData:
    return make_folder(folder / "pets", {**_ABOUT, **changes}, 0.2, 0.2, seed=3)[0]


def _errors(folder: Path, **changes: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        make_folder(folder / "pets", {**_ABOUT, **changes}, 0.2, 0.2, seed=3)
    return [line.strip().replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


def test_the_folders_are_the_splits_and_the_classes(write: Write, tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        for name in ("dog", "cat"):
            for index in range(count):
                write(f"{split}/{name}/{index}.png")
    data, origin = make_folder(tmp_path / "pets", _ABOUT, 0.2, 0.2, seed=3)
    assert data.info.names == ("cat", "dog")
    assert [part.labels.tolist() for part in data.splits().values()] == [[0, 0, 0, 1, 1, 1], [0, 1], [0, 0, 1, 1]]
    assert data.train.images.shape == (6, 3, 4, 4)
    assert set(origin.values()) == {"its folder"}
    middle = np.asarray(Image.open(tmp_path / "pets/train/cat/0.png"))[1:5]
    np.testing.assert_array_equal(data.train.images[0], middle.transpose(2, 0, 1))


def test_splits_that_are_not_there_are_cut_from_train(write: Write, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for index in range(10):
            write(f"train/{name}/{index}.jpg")
    data = _make(write, tmp_path)
    assert [np.bincount(part.labels).tolist() for part in data.splits().values()] == [[6, 6], [2, 2], [2, 2]]
    for name in ("cat", "dog"):
        write(f"heldout/{name}/0.JPEG")
    data, origin = make_folder(tmp_path / "pets", _ABOUT, 0.2, 0.2, seed=3)
    assert [np.bincount(part.labels).tolist() for part in data.splits().values()] == [[8, 8], [2, 2], [1, 1]]
    assert origin == {"train": "its folder", "validation": "cut from train", "heldout": "its folder"}


def test_every_bad_file_is_named_at_once(write: Write, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for index in range(3):
            write(f"train/{name}/{index}.png")
    good = write("train/cat/large.jpg", size=(60, 60)).read_bytes()
    (tmp_path / "pets/train/cat/large.jpg").write_bytes(good[: len(good) // 2])
    (tmp_path / "pets/train/cat/text.png").write_text("no image")
    (tmp_path / "pets/train/dog/empty.png").touch()
    (tmp_path / "pets/train/dog/notes.txt").touch()
    (tmp_path / "pets/train/dog/.DS_Store").touch()
    write("train/dog/gray.png", mode="L")
    write("train/dog/glass.png", mode="RGBA")
    write("train/dog/other.png", format="GIF")
    (tmp_path / "pets/loose.png").touch()
    (tmp_path / "pets/train/loose.png").touch()
    lines = _errors(tmp_path)
    assert lines[0] == "9 problems with the images in pets:"
    for start, end in [
        ("pets/loose.png is no split", "train, validation, val, heldout, test are known"),
        ("pets/train/loose.png lies outside of a class", "move it into pets/train/<class>/"),
        ("pets/train/dog/notes.txt is no", ".png, .jpg, .jpeg file"),
        ("pets/train/cat/large.jpg: ", ""),
        ("pets/train/cat/text.png: it is no PNG or JPEG image", ""),
        ("pets/train/dog/empty.png: it is no PNG or JPEG image", ""),
        ("pets/train/dog/other.png: it is no PNG or JPEG image", ""),
        ("pets/train/dog/glass.png: it is transparent", "save it without transparency"),
        (
            "pets/train/dog/gray.png: it is grayscale",
            "params.yaml wants RGB (channels: 3): convert it, or change data.channels",
        ),
    ]:
        assert [line for line in lines if line.startswith(start) and line.endswith(end)], (start, lines)
    assert any("large.jpg" in line and "truncated" in line for line in lines)


def test_colours_in_a_grayscale_data_set_are_named(write: Write, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for index in range(3):
            write(f"train/{name}/{index}.png", mode="L")
    write("train/dog/colour.png")
    one = {"channels": 1, "mean": (0.0,), "std": (1.0,)}
    assert _errors(tmp_path, **one)[1:] == [
        "pets/train/dog/colour.png: it is RGB, and params.yaml wants grayscale (channels: 1): "
        "convert it, or change data.channels"
    ]


def test_classes_that_cannot_be_learned_or_judged_are_named(write: Write, tmp_path: Path) -> None:
    for name in ("train/cat/0.png", "train/cat/1.png", "train/cat/2.png", "train/dog/0.png", "test/fox/0.png"):
        write(name)
    (tmp_path / "pets/train/owl").mkdir()
    assert _errors(tmp_path)[1:] == [
        "pets/train/owl is empty: remove it, or put images there",
        "class 'fox' has no image in train",
        "class 'cat' has no image in heldout",
        "class 'dog' has no image in heldout",
        "class 'dog' has 1 images in train, which is to be cut in 2",
    ]


def test_one_class_only_is_refused(write: Write, tmp_path: Path) -> None:
    write("train/cat/0.png")
    assert _errors(tmp_path)[1:] == ["pets has one class only, 'cat': two are needed to tell apart"]


def test_the_same_split_twice_and_a_missing_train_are_refused(write: Write, tmp_path: Path) -> None:
    for split in ("val", "validation", "test"):
        for name in ("cat", "dog"):
            write(f"{split}/{name}/0.png")
    assert _errors(tmp_path)[1:3] == [
        "pets/train is missing: there is nothing to train on",
        "pets/validation and pets/val are the same split: keep one",
    ]


@pytest.mark.parametrize("make", ["", "pets", "pets/cat", "pets/train"])
def test_a_folder_without_images_says_what_is_needed(make: str, tmp_path: Path) -> None:
    (tmp_path / make).mkdir(parents=True, exist_ok=True)
    (line, *more) = _errors(tmp_path)
    if make == "pets/train":
        assert more == ["pets/train is empty: a folder for each class is needed"]
    else:
        assert line.startswith("pets holds no images: pets/train/<class>/*.png or *.jpg is needed")


def test_a_long_list_of_problems_is_cut(write: Write, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for index in range(13):
            write(f"train/{name}/{index:02}.png", mode="L")
    lines = _errors(tmp_path)
    assert lines[0] == "26 problems with the images in pets:"
    assert (len(lines), lines[-1]) == (22, "and 6 more")
