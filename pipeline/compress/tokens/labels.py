"""A teacher's probabilities of the student's next tokens, kept sparse and without bias.

The teacher reads its own tokens. Where one of its tokens starts together with one of the student's, its probabilities
are summed by the first piece that the student's tokenizer makes of each of its tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.compress.tokens.alignment import Aligned

# (tokens of each text, rows of each text) -> logits of these rows, float32 [rows, vocabulary] for each text.
Score = Callable[[Sequence[NDArray[np.int32]], Sequence[NDArray[np.int64]]], Iterator[NDArray[np.float32]]]


@dataclass(frozen=True)
class Sparsity:
    """How much of a distribution is kept.

    Attributes:
        top: the most probable tokens, with their probabilities.
        drawn: draws from the others, each with an equal share of their sum. So the expected value of what is kept is
            the whole distribution (Random Sampling KD, arXiv:2503.16870); the top alone would be biased.
    """

    top: int
    drawn: int


# Where the teacher stage leaves them, and the ids of the student's tokens in the teacher's vocabulary beside them.
FILE, KEPT = "labels.safetensors", "kept"


@dataclass(frozen=True)
class Labels:
    """Sparse distributions of the next token, at some positions of n texts.

    Attributes:
        tokens: the student's tokens of all texts, start tokens included, int32 `[total]`.
        offsets: text i is `tokens[offsets[i]:offsets[i + 1]]`, int64 `[n + 1]`.
        places: index in `tokens` of each position that has a distribution, ascending, int64 `[labelled]`.
        ids: tokens of the distributions, uint16 `[labelled, kept]`; one that was drawn twice stands there twice.
        weights: their probabilities, float16 `[labelled, kept]`, of about 1 in all.
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    places: NDArray[np.int64]
    ids: NDArray[np.uint16]
    weights: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.offsets) - 1


def label(
    texts: Sequence[Aligned],
    score: Score,
    first: NDArray[np.int64],
    vocabulary: int,
    sparsity: Sparsity,
    rng: np.random.Generator,
) -> Labels:
    """Label texts with the teacher.

    Args:
        score: the teacher.
        first: `pipeline.text.bpe.first_pieces`, int64 `[teacher's vocabulary]`.
        vocabulary: tokens of the student.
        rng: of the draws.
    """
    pieces = PieceSum(first, vocabulary)
    ids: list[NDArray[np.uint16]] = []
    weights: list[NDArray[np.float16]] = []
    for logits in score([one.teacher for one in texts], [one.rows for one in texts]):
        kept = sparse(pieces(logits), sparsity, rng)
        ids.append(kept[0])
        weights.append(kept[1])
    offsets = np.concatenate([[0], np.cumsum([len(one.student) for one in texts])]).astype(np.int64)
    return Labels(
        np.concatenate([one.student for one in texts]),
        offsets,
        np.concatenate([one.places + offset for one, offset in zip(texts, offsets, strict=False)]),
        np.concatenate(ids),
        np.concatenate(weights),
    )


def join(parts: Sequence[Labels]) -> Labels:
    """The labels of several parts as one, in their order; at least one part."""
    starts = np.concatenate([[0], np.cumsum([len(part.tokens) for part in parts])]).astype(np.int64)
    ends = [part.offsets[1:] + start for part, start in zip(parts, starts, strict=False)]
    return Labels(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([np.zeros(1, np.int64), *ends]),
        np.concatenate([part.places + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.weights for part in parts]),
    )


class PieceSum:
    """Sums a teacher's probabilities by the first piece of its tokens.

    Args:
        first: of each token of the teacher the first piece, int64 `[teacher's vocabulary]`; -1 leaves a token out.
        vocabulary: number of pieces.
    """

    def __init__(self, first: NDArray[np.int64], vocabulary: int) -> None:
        # What is left out is summed into one more column, which is dropped.
        self._first = torch.from_numpy(np.where(first < 0, vocabulary, first))
        self._vocabulary = vocabulary

    def __call__(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of the pieces, float32 `[n, vocabulary]`, of logits `[n, teacher's vocabulary]`."""
        values = torch.from_numpy(np.exp(logits - logits.max(axis=1, keepdims=True)))
        summed = torch.zeros(len(logits), self._vocabulary + 1).index_add_(1, self._first, values)
        chosen: NDArray[np.float32] = summed[:, : self._vocabulary].numpy()
        chosen /= chosen.sum(axis=1, keepdims=True)
        return chosen


def sparse(
    probabilities: NDArray[np.float32], sparsity: Sparsity, rng: np.random.Generator
) -> tuple[NDArray[np.uint16], NDArray[np.float16]]:
    """Ids and weights `[n, top + drawn]` whose expected value is `probabilities`, float32 `[n, vocabulary]`."""
    count, vocabulary = probabilities.shape
    top = min(sparsity.top, vocabulary - 1)
    best = np.argpartition(-probabilities, top, axis=1)[:, :top]
    values = np.take_along_axis(probabilities, best, axis=1)
    rest = probabilities.copy()
    np.put_along_axis(rest, best, 0.0, axis=1)
    sums = np.cumsum(rest, axis=1, dtype=np.float64)
    total = sums[:, -1:]
    # One draw in each of `drawn` equal parts of the sum: the same expected value, less noise.
    marks = (np.arange(sparsity.drawn) + rng.random((count, sparsity.drawn))) / max(sparsity.drawn, 1) * total
    drawn = np.stack([np.searchsorted(row, mark, side="right") for row, mark in zip(sums, marks, strict=True)])
    drawn = np.minimum(drawn, vocabulary - 1)
    shares = np.repeat(total / max(sparsity.drawn, 1), sparsity.drawn, axis=1)
    return (
        np.concatenate([best, drawn], axis=1).astype(np.uint16),
        np.concatenate([values, shares], axis=1).astype(np.float16),
    )
