"""Weights of 4 bits whose rounding errors make up for each other: GPTQ (Frantar et al., arXiv:2210.17323).

The columns of a weight are rounded one after the other; each error moves the columns that are not yet rounded, so
that the product with typical inputs changes least.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_LEVELS = 15
# Shares of a group's range that its levels may span: fewer clip what is far out, and are finer for the rest.
_SPANS = (0.8, 0.85, 0.9, 0.95, 1.0, 1.05)
# Added to the diagonal of the second moments, relative to its mean: the paper's.
_DAMPING = 0.01


@dataclass(frozen=True)
class Groups:
    """A weight `[rows, columns]` as `(level - zero) * scale`, in groups of neighbouring columns.

    Attributes:
        levels: uint8 0 to 15, `[rows, groups, group]`.
        scale: float32 `[rows, groups, 1]`.
        zero: uint8 0 to 15, `[rows, groups, 1]`.
    """

    levels: NDArray[np.uint8]
    scale: Floats
    zero: NDArray[np.uint8]


def round_weight(weight: Floats, moments: NDArray[Any], group: int) -> Groups:
    """Round a weight for inputs with these second moments.

    Args:
        weight: `[rows, columns]`.
        moments: of the inputs, `[columns, columns]`: the mean of `x x^T`.
        group: columns that share a scale and a zero; divides `columns`.
    """
    rows, columns = weight.shape
    left = weight.T.astype(np.float32)  # a copy; what is left to round, with the errors so far
    spread = _spread(moments)
    importance = np.maximum(np.diagonal(moments), np.finfo(np.float32).tiny).astype(np.float32)
    levels = np.empty((columns, rows), np.uint8)
    scales, zeros = (np.empty((columns // group, rows), np.float32) for _ in range(2))
    for number, start in enumerate(range(0, columns, group)):
        end = start + group
        block, inner = left[start:end], spread[start:end, start:end]
        scale, zero = _range(block, importance[start:end])
        errors = np.empty_like(block)
        for column in range(group):
            level = _level(block[column], scale, zero)
            levels[start + column] = level
            errors[column] = (block[column] - (level - zero) * scale) / inner[column, column]
            block[column + 1 :] -= np.outer(inner[column, column + 1 :], errors[column])
        left[end:] -= spread[start:end, end:].T @ errors
        scales[number], zeros[number] = scale, zero
    return Groups(
        np.ascontiguousarray(levels.T).reshape(rows, columns // group, group),
        np.ascontiguousarray(scales.T)[:, :, None],
        np.ascontiguousarray(zeros.T)[:, :, None].astype(np.uint8),
    )


def _spread(moments: NDArray[Any]) -> Floats:
    """How an error of each column moves those behind it: the upper Cholesky factor of the inverse moments."""
    damped = moments.astype(np.float64)
    damped[np.diag_indices_from(damped)] += _DAMPING * max(float(np.diagonal(damped).mean()), 1e-12)
    factor = np.linalg.cholesky(np.linalg.inv(damped))
    return np.ascontiguousarray(factor.T, np.float32)


def _range(block: Floats, importance: Floats) -> tuple[Floats, Floats]:
    """The scale and the zero of each row with the least squared error, `[rows]` each; `block` is `[group, rows]`."""
    low, high = np.minimum(block.min(0), 0), np.maximum(block.max(0), 0)
    whole = np.maximum((high - low) / _LEVELS, np.finfo(np.float32).tiny)
    scale, zero, least = whole, np.zeros_like(whole), np.full_like(whole, np.inf)
    for span in _SPANS:
        tried = whole * np.float32(span)
        start = np.clip(np.rint(-low / tried), 0, _LEVELS)
        error = importance @ np.square((_level(block, tried, start) - start) * tried - block)
        better = error < least
        scale, zero = np.where(better, tried, scale), np.where(better, start, zero)
        least = np.minimum(error, least)
    return scale, zero


def _level(values: Floats, scale: Floats, zero: Floats) -> Floats:
    levels: Floats = np.clip(np.rint(values / scale) + zero, 0, _LEVELS)
    return levels
