"""How well a model predicts a text, in bits per byte: comparable between models whatever their tokens are."""

from collections.abc import Iterator, Sequence
from math import log

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.memory import Memory
from pipeline.runtime.sampling import log_probabilities

# Tokens of one call: their logits must fit into memory, 25 MB with 49,152 tokens in the vocabulary.
_ROWS = 128


def bits_per_byte(memory: Memory, text: str, ids: Sequence[int], start: int) -> float:
    """Bits that a code with the model's probabilities spends on each byte of the text's UTF-8.

    Args:
        memory: of the model; what it holds is lost.
        text: what is scored; not empty.
        ids: its tokens. A text of more than the context is scored in pieces, each behind a start token of its own.
        start: the token that begins a text; it costs nothing.
    """
    total = sum(float(found.sum()) for found in scores(memory, ids, start))
    return -total / log(2) / len(text.encode())


def scores(memory: Memory, ids: Sequence[int], start: int) -> Iterator[NDArray[np.float64]]:
    """Natural log-probabilities of the tokens, float64 `[n]` each, in order; n is at most 128."""
    memory.claim()
    piece = memory.context
    for first in range(0, len(ids), piece):
        memory.rewind(0)
        wanted = ids[first : first + piece]
        # The last token is not read: nothing behind it is asked for.
        read = [start, *wanted[:-1]]
        for place in range(0, len(read), _ROWS):
            rows = memory.read(read[place : place + _ROWS], every=True)
            targets = wanted[place : place + _ROWS]
            # Row by row: all at once in float64 would take as much memory as the model.
            yield np.array([log_probabilities(row)[target] for row, target in zip(rows, targets, strict=True)])
