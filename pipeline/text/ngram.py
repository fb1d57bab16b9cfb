"""What a language model of a few megabytes is compared with: interpolated n-grams of the same bytes, and xz.

The n-grams are smoothed by modified Kneser-Ney (Chen and Goodman, 1999, section 3.2) and pruned by count as KenLM does
(Heafield et al., 2013): what is pruned keeps its share of the denominator, and its mass goes to the shorter context.
The libraries that train such a model need a compiler (kenlm), or weigh one n-gram at a time in Python (nltk).
"""

import itertools
import lzma
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Bits of a quantized probability and of a quantized backoff weight, as KenLM's trie stores them with `-q 8 -b 8`.
_VALUE_BITS = 8
_LONGEST_KEY_BITS = 62
_DISCOUNTED = 3


@dataclass(frozen=True)
class _Order:
    """The n-grams of one length that are kept.

    Attributes:
        keys: tokens of each, packed, ascending, int64 `[n]`.
        shares: discounted count over the count of the context, float64 `[n]`.
        contexts: packed contexts, ascending, int64 `[c]`.
        rest: what each context leaves to the next shorter one, float64 `[c]`.
    """

    keys: NDArray[np.int64]
    shares: NDArray[np.float64]
    contexts: NDArray[np.int64]
    rest: NDArray[np.float64]


@dataclass(frozen=True)
class NgramModel:
    """An interpolated model over token ids.

    Attributes:
        bits: of a packed token.
        unigrams: probability of each token, float64 `[vocabulary]`.
        orders: of lengths 2, 3 and so on.
    """

    bits: int
    unigrams: NDArray[np.float64]
    orders: tuple[_Order, ...]

    @property
    def bytes(self) -> int:
        """Size in the layout of KenLM's trie: token, probability and, below the longest, backoff and a pointer."""
        counts = [len(self.unigrams), *(len(order.keys) for order in self.orders), 0]
        total = 0
        for count, longer in itertools.pairwise(counts):
            inner = _VALUE_BITS + max(longer, 1).bit_length() if longer else 0
            total += count * (self.bits + _VALUE_BITS + inner)
        return total // 8

    def probabilities(self, ids: NDArray[np.int32]) -> NDArray[np.float64]:
        """Of each token of a text behind its first one, float64 `[n - 1]` of int32 `[n]`."""
        packed = ids.astype(np.int64)
        found = self.unigrams[ids[1:]]
        keys = packed[1:].copy()
        for length, order in enumerate(self.orders, start=2):
            # Positions that have so many tokens before them; the others stay with the shorter context.
            keys = keys[1:] if length > 2 else keys
            first = packed[: len(packed) - length + 1]
            keys = keys | (first << (self.bits * (length - 1)))
            start = length - 2
            share = _look_up(order.keys, order.shares, keys, 0.0)
            rest = _look_up(order.contexts, order.rest, keys >> self.bits, 1.0)
            found[start:] = share + rest * found[start:]
        return found


def train_ngrams(stream: NDArray[np.int32], vocabulary: int, length: int, max_bytes: int) -> NgramModel:
    """The model of `length` whose lowest counts are pruned until it has at most `max_bytes`.

    Args:
        stream: texts, each behind a start token, int32 `[total]`.
        vocabulary: number of tokens.
        length: of the longest n-grams; their packed tokens must fit into 62 bits.
    """
    bits = max(1, (vocabulary - 1).bit_length())
    if bits * length > _LONGEST_KEY_BITS:
        raise ValueError(f"{length} tokens of {bits} bits do not fit into {_LONGEST_KEY_BITS}")
    counted = _count(stream, bits, length)
    unigrams = np.zeros(vocabulary)
    unigrams[counted[0][0]] = counted[0][1]
    # A token that never occurs gets as much as one that is seen half a time.
    unigrams = np.maximum(unigrams, 0.5) / np.maximum(unigrams, 0.5).sum()
    least = 0
    while True:
        least += 1
        orders = tuple(_smooth(keys, counts, bits, least) for keys, counts in counted[1:])
        model = NgramModel(bits, unigrams, orders)
        if model.bytes <= max_bytes:
            return model


def bits_per_byte(model: NgramModel, texts: Sequence[NDArray[np.int32]], total_bytes: int) -> float:
    """Of texts in tokens, each behind a start token that costs nothing."""
    return -float(sum(np.log2(model.probabilities(text)).sum() for text in texts)) / total_bytes


def xz_bits_per_byte(texts: Sequence[str]) -> float:
    """Of all texts in one file, compressed by xz at its strongest."""
    content = "\n\n".join(texts).encode()
    return 8 * len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)) / len(content)


def _count(stream: NDArray[np.int32], bits: int, length: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Packed n-grams of each length with their counts: of the longest as they occur, of shorter ones how many
    different tokens stand in front of them (continuation counts).
    """
    packed = stream.astype(np.int64)
    keys = np.zeros(len(packed) - length + 1, np.int64)
    for offset in range(length):
        keys = (keys << bits) | packed[offset : len(packed) - length + 1 + offset]
    longest, counts = np.unique(keys, return_counts=True)
    found = [(longest, counts.astype(np.int64))]
    for shorter in range(length - 1, 0, -1):
        keys, counts = np.unique(found[-1][0] & ((1 << (bits * shorter)) - 1), return_counts=True)
        found.append((keys, counts.astype(np.int64)))
    return found[::-1]


def _smooth(keys: NDArray[np.int64], counts: NDArray[np.int64], bits: int, least: int) -> _Order:
    """Discounted shares of the n-grams that occur at least `least` times."""
    discounts = _discounts(counts)
    contexts, first = np.unique(keys >> bits, return_index=True)
    totals = np.add.reduceat(counts, first).astype(np.float64)
    of_key = np.repeat(np.arange(len(contexts)), np.diff(np.append(first, len(keys))))
    kept = counts >= least
    left = counts[kept] - discounts[np.minimum(counts[kept], _DISCOUNTED)]
    shares = left / totals[of_key[kept]]
    rest = np.asarray(1.0 - np.bincount(of_key[kept], weights=shares, minlength=len(contexts)), np.float64)
    # A context of which nothing is kept leaves everything to the shorter one, as an unknown context does.
    known = np.bincount(of_key[kept], minlength=len(contexts)) > 0
    return _Order(keys[kept], shares, contexts[known], rest[known])


def _discounts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """What is taken off counts of 0, 1, 2 and 3 or more (Chen and Goodman, equation 26)."""
    n1, n2, n3, n4 = (max(int((counts == value).sum()), 1) for value in (1, 2, 3, 4))
    base = n1 / (n1 + 2 * n2)
    return np.clip([0.0, 1 - 2 * base * n2 / n1, 2 - 3 * base * n3 / n2, 3 - 4 * base * n4 / n3], 0.0, [0, 1, 2, 3])


def _look_up(
    keys: NDArray[np.int64], values: NDArray[np.float64], wanted: NDArray[np.int64], absent: float
) -> NDArray[np.float64]:
    """The value of each wanted key; `keys` are ascending."""
    if not len(keys):
        return np.full(len(wanted), absent)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], absent)
