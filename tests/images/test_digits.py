from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.images import digits
from pipeline.images.storage import ImageInfo
from pipeline.runtime.images import Preprocessing

_INFO = ImageInfo(digits.NAMES, 32, 1, "crop", (0.3,), (0.3,))


def test_the_digits_are_split_once_with_every_digit_everywhere() -> None:
    data = digits.make_digits(_INFO, 0.1, 0.2, seed=7)
    assert [len(part) for part in data.splits().values()] == [1259, 179, 359]
    for part in data.splits().values():
        assert part.images.shape == (len(part), 1, 32, 32)
        assert np.bincount(part.labels).min() >= 17
    together = np.concatenate([part.images for part in data.splits().values()])
    assert len({image.tobytes() for image in together}) == 1797


def test_the_seed_decides_the_split() -> None:
    first, again, other = (digits.make_digits(_INFO, 0.1, 0.2, seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.heldout.images, again.heldout.images)
    assert (first.heldout.images != other.heldout.images).any()


def test_a_device_prepares_a_digit_as_training_did() -> None:
    pixels, labels = digits.read_digits()
    assert (pixels.shape, pixels.max(), labels[:3].tolist()) == ((1797, 8, 8), 255, [0, 1, 2])
    data = digits.make_digits(_INFO, 0.1, 0.2, seed=7)
    prepare = Preprocessing(32, 32, 1, "crop", digits.NAMES).prepare
    known = {image.tobytes() for part in data.splits().values() for image in part.images}
    assert all(prepare(image).tobytes() in known for image in pixels[:50])


def test_digits_in_colours_are_refused() -> None:
    with pytest.raises(InputError, match=r"data\.channels is 3, but the digits are grayscale"):
        digits.make_digits(replace(_INFO, channels=3), 0.1, 0.2, seed=7)
