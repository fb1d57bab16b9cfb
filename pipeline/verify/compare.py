"""How far two runs over the same inputs are apart."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.params.blocks import Tolerance

# A row of zeros has no direction to compare; its differences count as they are.
_SHORTEST = 1e-6


@dataclass(frozen=True)
class Differences:
    """What two runs differ by.

    Attributes:
        mean_cosine: mean over corresponding rows; `None` where a row holds NaN or infinity, and so is the error.
        max_abs_error: the largest, relative to the length (L2 norm) of the wanted row.
        problems: what is out of tolerance, one sentence each.
    """

    mean_cosine: float | None
    max_abs_error: float | None
    problems: tuple[str, ...]


def compare(given: NDArray[np.float32], wanted: NDArray[np.float32], tolerance: Tolerance) -> Differences:
    """Differences of two runs, and what is out of tolerance.

    The error is relative to the row's length, so that one scale serves logits and embeddings; those of unit length are
    compared as they are.

    Args:
        given: the export's outputs, float32 `[n, d]`.
        wanted: PyTorch's for the same inputs, float32 `[n, d]`.
        tolerance: the bounds of cosine and error.
    """
    if not np.isfinite(given).all():
        return Differences(None, None, ("the output holds NaN or infinity",))
    lengths = np.linalg.norm(wanted, axis=1, keepdims=True)
    norms = np.linalg.norm(given, axis=1) * lengths[:, 0]
    cosines = np.asarray((given * wanted).sum(axis=1) / np.maximum(norms, 1e-12), dtype=np.float32)
    cosine = float(cosines.mean())
    error = float((np.abs(given - wanted) / np.maximum(lengths, _SHORTEST)).max())
    problems = []
    if cosine < tolerance.mean_cosine:
        problems.append(f"mean cosine {cosine:.5f} < tolerance {tolerance.mean_cosine}")
    if error > tolerance.max_abs_error:
        problems.append(f"largest absolute error {error:.4f} > tolerance {tolerance.max_abs_error}")
    return Differences(cosine, error, tuple(problems))
