"""A seeded split that has every class in every part in the same proportion."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
# One image for each of train, validation and heldout.
MIN_A_CLASS = 3


def split(labels: NDArray[np.int64], shares: tuple[float, ...], seed: int) -> tuple[Rows, ...]:
    """Rows of each part, and last the rows that no part took, each in ascending order.

    Args:
        labels: int64 `[n]`.
        shares: fraction of each class that each part gets, below 1 in all; every part gets at least one image.
        seed: which images they are.

    Returns:
        One array of rows for each of `shares`, and one of the rest.

    Raises:
        ValueError: a class has fewer images than there are parts; check before.
    """
    random = np.random.default_rng(seed)
    parts: list[list[Rows]] = [[] for _ in (*shares, 1)]
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        if len(rows) < len(parts):
            raise ValueError(f"class {label} has {len(rows)} images for {len(parts)} parts")
        start = 0
        for index, share in enumerate(shares):
            still_needed = len(shares) - index
            count = min(max(1, round(share * len(rows))), len(rows) - start - still_needed)
            parts[index].append(rows[start : start + count])
            start += count
        parts[-1].append(rows[start:])
    return tuple(np.sort(np.concatenate(part)) if part else np.empty(0, np.int64) for part in parts)
