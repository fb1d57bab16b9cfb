"""Cuts the tokens of a call into the lengths that an engine with fixed shapes serves."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# What a call costs beside its tokens, in tokens: it reads every weight once, however many tokens share the reading.
_READING = 8


@dataclass(frozen=True)
class Piece:
    """A part of a call.

    Attributes:
        start: its first token.
        count: its tokens.
        length: that of the signature which runs it; what is longer than `count` is filled up.
    """

    start: int
    count: int
    length: int


def cut(count: int, rows: NDArray[np.generic], lengths: Mapping[int, int], room: int) -> list[Piece]:
    """The cheapest pieces that hold all tokens. Only the last one is filled up, and no piece reaches past the room.

    Args:
        count: of the tokens, at most `room`.
        rows: of which tokens something is wanted.
        lengths: how many rows one call of each length gives; 1 is among the lengths. A piece with more is run again.
        room: positions that the cache has left.
    """
    wanted = np.bincount(rows.astype(np.int64), minlength=count).cumsum()
    costs, choices = np.zeros(count + 1, np.int64), np.zeros(count, np.int64)
    for start in reversed(range(count)):
        options = {}
        for length, given in lengths.items():
            stop = min(start + length, count)
            here = int(wanted[stop - 1]) - (int(wanted[start - 1]) if start else 0)
            if start + length <= room:
                options[length] = max(1, -(-here // given)) * (length + _READING) + int(costs[stop])
        choices[start] = min(options, key=lambda length: (options[length], -length))
        costs[start] = options[int(choices[start])]
    pieces, start = [], 0
    while start < count:
        length = int(choices[start])
        pieces.append(Piece(start, min(length, count - start), length))
        start += length
    return pieces
