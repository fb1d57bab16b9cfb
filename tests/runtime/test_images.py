"""Preparing images: numbers first."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.images import Preprocessing
from pipeline.runtime.pictures import open_image
from pipeline.runtime.resize import resize, weights

Pixels = NDArray[np.uint8]


def _noise(*shape: int) -> Pixels:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def test_enlarging_and_shrinking_by_hand() -> None:
    row = np.array([[0, 100]], np.uint8)
    assert resize(row, 1, 4).tolist() == [[0, 25, 75, 100]]
    assert resize(np.array([[0, 0, 100, 100]], np.uint8), 1, 2).tolist() == [[14, 86]]
    assert resize(row, 2, 2).tolist() == [[0, 100]] * 2
    assert resize(row, 1, 2) is row


@pytest.mark.parametrize("source", [(8, 8), (50, 71), (301, 200), (3, 1)])
@pytest.mark.parametrize("target", [(32, 32), (7, 90), (1, 1)])
def test_resampling_is_pillows_bilinear_within_one_level(source: tuple[int, int], target: tuple[int, int]) -> None:
    image = _noise(*source, 3)
    given = resize(image, *target)
    wanted = np.asarray(Image.fromarray(image).resize(target[::-1], Image.Resampling.BILINEAR))
    assert given.dtype == np.uint8
    assert np.abs(given.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(("size", "target"), [(8, 32), (3000, 224), (7, 5), (1, 9), (9, 1)])
def test_weights_are_whole_65536ths_that_sum_to_one(size: int, target: int) -> None:
    seen, factors = weights(size, target)
    assert seen.shape == factors.shape
    assert 0 <= seen.min() <= seen.max() < size
    assert (factors.sum(axis=1) == 1).all()
    assert (factors >= 0).all()
    np.testing.assert_array_equal(factors * 65536, np.round(factors * 65536))


@pytest.mark.parametrize(("source", "target"), [((8, 8), (32, 32)), ((97, 61), (13, 40))])
def test_resampling_is_exact_so_that_every_machine_rounds_alike(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    def matrix(size: int, wanted: int) -> NDArray[np.int64]:
        rows = np.zeros((wanted, size), np.int64)
        seen, factors = weights(size, wanted)
        np.add.at(rows, (np.arange(wanted)[:, None], seen), np.round(factors * 65536).astype(np.int64))
        return rows

    image = _noise(*source)
    whole = matrix(source[0], target[0]) @ image.astype(np.int64) @ matrix(source[1], target[1]).T
    np.testing.assert_array_equal(resize(image, *target), (whole + (1 << 31)) >> 32)


def test_a_batch_is_resampled_as_each_image_alone() -> None:
    images = _noise(9, 8, 20)
    together = resize(images, 4, 16)
    np.testing.assert_array_equal(together[..., 7], resize(images[..., 7], 4, 16))


@pytest.mark.parametrize(("height", "width"), [(8, 6), (6, 8), (7, 100)])
def test_crop_takes_the_middle_and_stretch_all_of_it(height: int, width: int) -> None:
    image = _noise(height, width)
    size = min(height, width)
    top, left = (height - size) // 2, (width - size) // 2
    cropped = Preprocessing(4, 4, 1, "crop", ()).prepare(image)
    np.testing.assert_array_equal(cropped[0], resize(image[top : top + size, left : left + size], 4, 4))
    stretched = Preprocessing(4, 4, 1, "stretch", ()).prepare(image)
    np.testing.assert_array_equal(stretched[0], resize(image, 4, 4))


def test_colours_become_gray_as_pillow_does_it_and_gray_becomes_three_channels() -> None:
    image = _noise(16, 16, 3)
    gray = Preprocessing(16, 16, 1, "crop", ()).prepare(image)
    np.testing.assert_array_equal(gray[0], np.asarray(Image.fromarray(image).convert("L")))
    colours = Preprocessing(16, 16, 3, "crop", ()).prepare(gray[0])
    assert colours.shape == (3, 16, 16)
    assert all((channel == gray[0]).all() for channel in colours)
    np.testing.assert_array_equal(Preprocessing(16, 16, 3, "crop", ()).prepare(image), image.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("mode", "shape"),
    [("L", (3, 2)), ("1", (3, 2)), ("LA", (3, 2)), ("RGB", (3, 2, 3)), ("P", (3, 2, 3)), ("RGBA", (3, 2, 3))],
)
def test_files_are_gray_or_in_colours(mode: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    Image.fromarray(_noise(3, 2, 3)).convert(mode).save(tmp_path / "image.png")
    pixels = open_image(tmp_path / "image.png")
    assert (pixels.shape, pixels.dtype) == (shape, np.uint8)


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    image = Image.fromarray(_noise(20, 30, 3))
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees clockwise
    image.save(tmp_path / "image.jpg", exif=exif)
    assert open_image(tmp_path / "image.jpg").shape == (30, 20, 3)


def test_images_of_other_kinds_are_refused_with_the_reason(tmp_path: Path) -> None:
    deep, glass, cut = tmp_path / "deep.png", tmp_path / "glass.png", tmp_path / "cut.png"
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(deep)
    Image.fromarray(np.full((4, 4, 4), 99, np.uint8), "RGBA").save(glass)
    Image.fromarray(_noise(64, 64, 3)).save(cut)
    cut.write_bytes(cut.read_bytes()[:-2000])
    with pytest.raises(
        RuntimeInputError, match=r"deep\.png: it has pixels of kind I;16: save it with 8 bits a channel"
    ):
        open_image(deep)
    with pytest.raises(RuntimeInputError, match=r"glass\.png: it is transparent"):
        open_image(glass)
    with pytest.raises(RuntimeInputError, match=r"cut\.png: .*truncated"):
        open_image(cut)
