"""Handwritten digits that scikit-learn carries: 1,797 grayscale images of 8 by 8 (UCI ML, Alpaydin and Kaynak 1998)."""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.images.split import split
from pipeline.images.storage import ImageData, ImageInfo, ImageSet
from pipeline.runtime.resize import resize

NAMES = tuple("0123456789")
_BRIGHTEST = 16


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The images as they are, uint8 `[1797, 8, 8]` with 0..16 stretched to 0..255, and their digits, int64 `[1797]`."""
    # Brings scipy along, which only this source needs.
    from sklearn.datasets import load_digits

    loaded = load_digits()
    pixels = np.floor(loaded.images * 255 / _BRIGHTEST + 0.5).astype(np.uint8)
    return pixels, loaded.target.astype(np.int64)


def make_digits(info: ImageInfo, validation_share: float, heldout_share: float, seed: int) -> ImageData:
    """The digits enlarged to `info.input_size` once, as a device enlarges them, and split with every digit everywhere.

    The shares are fractions of each digit's images.

    Raises:
        InputError: `info` wants colours, which digits do not have.
    """
    if info.channels != 1:
        raise InputError(f"data.channels is {info.channels}, but the digits are grayscale: write `channels: 1`")
    pixels, labels = read_digits()
    # [n, h, w] -> [h, w, n]: the resampling treats all images at once.
    large = resize(np.moveaxis(pixels, 0, -1), info.input_size, info.input_size)
    everything = ImageSet(np.ascontiguousarray(np.moveaxis(large, -1, 0)[:, None]), labels)
    validation, heldout, train = split(labels, (validation_share, heldout_share), seed)
    return ImageData(info, *(everything.take(rows) for rows in (train, validation, heldout)))
