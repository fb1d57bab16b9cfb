"""Weights rounded in blocks along their inputs, in the layout that MatMulNBits reads."""

import numpy as np
from numpy.typing import NDArray

INT4_BLOCK = 32

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def symmetric_blocks(matrix: Floats, block: int) -> tuple[Bytes, Floats]:
    """int8 around 128: `scale * (q - 128)`.

    Args:
        matrix: float32 `[outputs, inputs]`.
        block: values that share a scale; it divides the inputs.

    Returns:
        q, uint8 `[outputs, blocks, block]`, and the scales, float32 `[outputs, blocks]`.
    """
    split = matrix.reshape(len(matrix), -1, block)
    scales = np.abs(split).max(axis=2) / np.float32(127)
    q = np.rint(split / _not_zero(scales)[..., None]) + 128
    return q.astype(np.uint8), scales


def affine_blocks(matrix: Floats) -> tuple[Bytes, Floats, Floats]:
    """int4 from the least to the largest value of a block: `step * q + least`.

    Weights that were read from a file with such blocks are found again as they were (Q4_1 of GGUF).

    Returns:
        q, uint8 0 to 15 `[outputs, blocks, 32]`, step and least, float32 `[outputs, blocks]`.
    """
    split = matrix.reshape(len(matrix), -1, INT4_BLOCK)
    least = split.min(axis=2)
    step = (split.max(axis=2) - least) / np.float32(15)
    q = np.rint((split - least[..., None]) / _not_zero(step)[..., None])
    return q.astype(np.uint8), step, least


def pack(q: Bytes) -> Bytes:
    """Two int4 a byte, the first one in the lower half."""
    return q[..., 0::2] | q[..., 1::2] << np.uint8(4)


def _not_zero(scales: Floats) -> Floats:
    """Scales to divide by: a block of zeros stays zero."""
    return np.where(scales == 0, np.float32(1), scales)
