"""Resampling of images in numpy, bit for bit the same on every machine and for training and device.

Bilinear with antialiasing: each target pixel sees a triangle as wide as two source pixels when enlarging, and as two
target pixels when shrinking, as with Pillow's BILINEAR and torchvision's antialias=True (they differ by at most one
level, since they round between the two passes). The weights are multiples of 2**-16, so that every product and sum is
exact in float64 in whatever order a CPU adds; only the last step rounds.
"""

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
    rows = _along_first(images, height)
    columns = _along_first(rows.swapaxes(0, 1), width)
    resampled: NDArray[np.uint8] = np.floor(columns.swapaxes(0, 1) + 0.5).astype(np.uint8)
    return resampled


def weights(size: int, target: int, index: int) -> tuple[int, NDArray[np.float64]]:
    """The first source pixel that target pixel `index` sees, and the weights of it and its followers, sum 1."""
    # In halves of a target pixel, where every position is whole.
    center, support = (2 * index + 1) * size, 2 * max(size, target)
    first = max(0, (center - support) // (2 * target))
    end = min(size, (center + support) // (2 * target) + 1)
    distances = np.abs((2 * np.arange(first, end, dtype=np.int64) + 1) * target - center)
    triangle = np.maximum(0, support - distances)
    total = int(triangle.sum())
    units = (triangle * (2 * _UNIT) + total) // (2 * total)
    units[np.argmax(units)] += _UNIT - units.sum()
    return first, units / _UNIT


def _along_first(array: NDArray[np.generic], target: int) -> NDArray[np.float64]:
    size = array.shape[0]
    if size == target:
        return array.astype(np.float64)
    result = np.empty((target, *array.shape[1:]))
    for index in range(target):
        first, factors = weights(size, target, index)
        # Only the rows that count: a photograph as float64 at once would be eight times its size.
        result[index] = np.tensordot(factors, array[first : first + len(factors)].astype(np.float64), axes=1)
    return result
