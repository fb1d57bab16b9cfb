"""From the numbers of a classifier to classes with probabilities."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Guess(NamedTuple):
    """A class and how probable it is."""

    label: str
    probability: float


def probabilities(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Softmax of the last axis, in float64."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def guesses(logits: NDArray[np.float32], labels: Sequence[str], top: int | None) -> list[Guess]:
    """The `top` classes (`None`: all) of one image's logits, float32 `[classes]`, best first; ties keep their order."""
    order = np.argsort(-logits, kind="stable")[:top]
    shares = probabilities(logits)
    return [Guess(labels[index], float(shares[index])) for index in order]
