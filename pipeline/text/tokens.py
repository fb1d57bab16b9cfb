"""Token ids of many texts in one flat array, and padded batches of similar length drawn from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

_BATCHES_SORTED_TOGETHER = 16


@dataclass(frozen=True)
class Tokens:
    """Token ids of n texts: text i is `ids[offsets[i]:offsets[i + 1]]`.

    Attributes:
        ids: int32 `[total]`.
        offsets: int64 `[n + 1]`.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, int64 `[n]`."""
        return np.diff(self.offsets)

    def cut(self, max_tokens: int) -> "Tokens":
        """The same texts with at most `max_tokens` each; the last token stays the closing one."""
        lengths = np.minimum(self.lengths, max_tokens)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        ids = np.empty(offsets[-1], np.int32)
        for i in range(len(self)):
            ids[offsets[i] : offsets[i + 1]] = self.ids[self.offsets[i] : self.offsets[i] + lengths[i]]
            ids[offsets[i + 1] - 1] = self.ids[self.offsets[i + 1] - 1]
        return Tokens(ids, offsets)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Ids and mask of some texts, int32 `[len(indices), longest of them]`, padded with zero."""
        lengths = self.lengths[indices]
        mask = np.arange(lengths.max())[None, :] < lengths[:, None]
        ids = np.zeros(mask.shape, np.int32)
        ids[mask] = np.concatenate([self.ids[self.offsets[i] : self.offsets[i + 1]] for i in indices])
        return ids, mask.astype(np.int32)


def tokenize(texts: Sequence[str], tokenizer: Tokenizer, max_tokens: int) -> Tokens:
    """Tokenize texts, each cut to `max_tokens`, special tokens included."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64)
    return Tokens(np.fromiter((i for row in ids for i in row), np.int32, count=int(offsets[-1])), offsets)


def load_tokenizer(path: Path) -> Tokenizer:
    """The fast tokenizer in a `tokenizer.json`."""
    return Tokenizer.from_file(str(path))


def epoch(tokens: Tokens, batch_size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Indices of one pass, int64 `[batch_size]` a batch, in random order; texts of a batch are of similar length.

    Only full batches are given, because the in-batch similarity loss needs batches of one size.
    """
    order = rng.permutation(len(tokens))
    lengths = tokens.lengths
    span = batch_size * _BATCHES_SORTED_TOGETHER
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), span):
        block = order[start : start + span]
        block = block[np.argsort(lengths[block], kind="stable")]
        batches += [block[i : i + batch_size] for i in range(0, len(block) - batch_size + 1, batch_size)]
    for index in rng.permutation(len(batches)):
        yield batches[index]


def by_length(tokens: Tokens, batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Indices of all texts, int64, in batches of at most `batch_tokens` padded tokens, longest first."""
    order = np.argsort(-tokens.lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // int(tokens.lengths[order[start]]))
        yield order[start : start + size]
        start += size


def examples(tokens: Tokens) -> list[dict[str, NDArray[np.int32]]]:
    """Each text as the inputs of one call, int32 `[1, length]`."""
    made: list[dict[str, NDArray[np.int32]]] = []
    for start, end in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True):
        ids = tokens.ids[None, start:end]
        made.append({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    return made
