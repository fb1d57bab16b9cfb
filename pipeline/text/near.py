"""Finding texts that repeat others almost word for word, by the shingles that they share.

A shingle is a run of words. Of all shingles only those are compared whose hash falls into a fixed fraction (Broder,
On the resemblance and containment of documents, 1997, section 3), which estimates how much of a text stands in others.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORDS = 5
# One shingle in so many is compared, by its hash.
_SAMPLED = 4
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def seen_before(texts: Sequence[str]) -> NDArray[np.float64]:
    """How much of each text stands in texts before it.

    Letter case, digits and white space make no difference.

    Returns:
        Share of a text's sampled shingles that an earlier text has, float64 `[n]`. A text that is too short to have a
        sampled shingle counts as one shingle.
    """
    hashes, owner = _shingles(texts)
    # np.unique gives the first place of each hash, and owners ascend: that is the first text to have it.
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    repeated = owner[first][inverse] < owner
    totals = np.bincount(owner, minlength=len(texts))
    return np.bincount(owner, weights=repeated, minlength=len(texts)) / np.maximum(totals, 1)


def _shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of the sampled shingles of all texts, and the text that each is of, ascending."""
    numbers: dict[str, int] = {}
    ids: list[int] = []
    lengths: list[int] = []
    for text in texts:
        words = text.casefold().translate(_DIGITS).split() or [""]
        ids += [numbers.setdefault(word, len(numbers)) for word in words]
        lengths.append(len(words))
    owner = np.repeat(np.arange(len(texts)), lengths)
    words_left = np.concatenate([np.arange(length, 0, -1) for length in lengths]) if lengths else np.zeros(0, np.int64)
    hashes = np.zeros(len(ids), np.uint64)
    values = _mix(np.array(ids, np.uint64))
    for offset in range(_WORDS):
        # Behind the end of its text a shingle is shorter; only a whole text may be.
        inside = np.flatnonzero(words_left > offset)
        hashes[inside] = _mix(hashes[inside]) + values[inside + offset]
    hashes = _mix(hashes)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64) if lengths else np.zeros(0, np.int64)
    chosen = (words_left >= _WORDS) & (hashes % np.uint64(_SAMPLED) == 0)
    chosen[starts[np.bincount(owner[chosen], minlength=len(texts)) == 0]] = True
    return hashes[chosen], owner[chosen]


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread 64 bits (the finalizer of splitmix64, without its last step)."""
    values = (values + np.uint64(1)) * _MULTIPLIER
    return (values ^ (values >> np.uint64(29))) * _MULTIPLIER ^ (values >> np.uint64(32))


_DIGITS = str.maketrans("123456789", "0" * 9)
