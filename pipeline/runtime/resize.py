"""Resampling of images in numpy, bit for bit the same on every machine and for training and device.

Bilinear with antialiasing: each target pixel sees a triangle as wide as two source pixels when enlarging, and as two
target pixels when shrinking, as with Pillow's BILINEAR and torchvision's antialias=True (they differ by at most one
level, since they round between the two passes). The weights are multiples of 2**-16, so that every product and sum is
exact (24 bits after the first pass, 40 after the second) in whatever order a CPU adds; only the last step rounds.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLING = "bilinear, antialiased"
_UNIT = 1 << 16


def resize(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resample the first two axes.

    Args:
        images: uint8 `[h, w]` or `[h, w, ...]`; further axes (channels, a batch) are independent of each other.
        height: rows of the result.
        width: columns of the result.

    Returns:
        uint8 `[height, width, ...]`; `images` itself where it has this size already.
    """
    if images.shape[:2] == (height, width):
        return images
    rows = _along(images, 0, height, np.float32)
    columns = _along(rows, 1, width, np.float64)
    resampled: NDArray[np.uint8] = np.floor(columns + 0.5).astype(np.uint8)
    return resampled


@lru_cache(maxsize=64)  # a camera gives the same size over and over
def weights(size: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which source pixels each target pixel sees, and how much: both `[target, n]`, each row of weights with sum 1.

    Every target pixel has the same `n`; those that see fewer have weights of 0.
    """
    # In halves of a target pixel, where every position is whole.
    centers, support = (2 * np.arange(target, dtype=np.int64) + 1) * size, 2 * max(size, target)
    first = np.maximum(0, (centers - support) // (2 * target))
    last = np.minimum(size - 1, (centers + support) // (2 * target))
    seen = first[:, None] + np.arange((last - first).max() + 1)
    distances = np.abs((2 * seen + 1) * target - centers[:, None])
    triangle = np.where(seen < size, np.maximum(0, support - distances), 0)
    total = triangle.sum(axis=1, keepdims=True)
    units = (triangle * (2 * _UNIT) + total) // (2 * total)
    units[np.arange(target), units.argmax(axis=1)] += _UNIT - units.sum(axis=1)
    return np.minimum(seen, size - 1), units / _UNIT


def _along(array: NDArray[Any], axis: int, target: int, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    if array.shape[axis] == target:
        return array.astype(dtype)
    seen, factors = weights(array.shape[axis], target)
    shape = [1] * array.ndim
    shape[axis] = target
    result = np.zeros((*array.shape[:axis], target, *array.shape[axis + 1 :]), dtype)
    for index in range(seen.shape[1]):
        result += array.take(seen[:, index], axis) * factors[:, index].astype(dtype).reshape(shape)
    return result
