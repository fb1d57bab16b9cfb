"""Chooses the next token from a model's logits."""

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.errors import EngineError, RuntimeInputError

Logits = NDArray[np.float32]
Ids = NDArray[np.int32]

# So many tokens nearly always hold `top_p` of the probability, and to sort them is cheap.
_LIKELY = 256
# Logits that are summed up or compared at once.
_BLOCK = 64


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen. By default it is the most probable one, so the same prompt gives the same text.

    Attributes:
        temperature: what logits are divided by; 0 takes the most probable token. Of equals the lowest id is taken.
        top_k: only so many of the most probable tokens are chosen from; 0 allows all.
        top_p: only the most probable tokens that together have this probability are chosen from (nucleus sampling,
            arXiv:1904.09751); in (0, 1], and 1 allows all.
        repetition_penalty: what a token that stands in the text already loses: a positive logit is divided by it, and
            a negative one multiplied (CTRL, arXiv:1909.05858). 1 takes nothing, and less than 1 rewards.

    Raises:
        RuntimeInputError: a value is outside of what is allowed.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name, holds, allowed in (
            ("temperature", isfinite(self.temperature) and self.temperature >= 0, "a number of at least 0"),
            ("top_k", self.top_k >= 0, "a whole number of at least 0"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("repetition_penalty", isfinite(self.repetition_penalty) and self.repetition_penalty > 0, "above 0"),
        ):
            if not holds:
                raise RuntimeInputError(f"{name} is {getattr(self, name)}, and it must be {allowed}")


GREEDY = Sampling()


def choose(logits: Logits, sampling: Sampling, rng: np.random.Generator, seen: Ids) -> int:
    """The next token.

    Args:
        logits: float32 `[vocabulary]`; not changed.
        sampling: how to choose. The penalty comes first, then the temperature, then top_k, then top_p.
        rng: draws one number a token, and none at temperature 0.
        seen: the tokens so far, int32 `[n]`; only the penalty reads them.

    Raises:
        EngineError: the logits hold NaN or infinity where it matters.
    """
    logits = penalized(logits, seen, sampling.repetition_penalty)
    # The first of equals, and NaN before any number.
    best = int(logits.argmax())
    if not isfinite(logits[best]):
        raise EngineError(f"the engine returned {logits[best]} as the highest logit: its file does not work here")
    if sampling.temperature == 0 or sampling.top_k == 1:
        return best
    ids, shares = _nucleus(logits, float(logits[best]), sampling)
    place = _draw(shares, rng.random())
    return place if ids is None else int(ids[place])


def penalized(logits: Logits, seen: Ids, penalty: float) -> Logits:
    """The logits with `Sampling.repetition_penalty` for the tokens `seen`, float32 `[vocabulary]`."""
    if penalty == 1:
        return logits
    changed = logits.copy()
    held = changed[seen]
    changed[seen] = np.where(held > 0, held / penalty, held * penalty)
    return changed


def log_probabilities(logits: Logits) -> NDArray[np.float64]:
    """Logarithm of the softmax of the last axis, natural, in float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide


def _nucleus(logits: Logits, highest: float, sampling: Sampling) -> tuple[NDArray[np.intp] | None, Logits]:
    """The tokens to choose from, most probable first (`None`: all, by id), and shares that need not sum to 1."""
    ids = _most_probable(logits, sampling.top_k) if 0 < sampling.top_k < len(logits) else None
    # The tiniest temperatures overflow to -infinity, whose share is 0.
    with np.errstate(over="ignore"):
        powers = ((logits if ids is None else logits[ids]) - np.float32(highest)) / np.float32(sampling.temperature)
    shares = np.exp(powers, out=powers)
    if sampling.top_p == 1:
        return ids, shares
    wanted = sampling.top_p * float(shares.sum())
    if ids is None:
        ids = _most_probable(logits, min(_LIKELY, len(logits)))
        if shares[ids].sum() < wanted:
            ids = _most_probable(logits, len(logits))
        shares = shares[ids]
    kept = int(np.searchsorted(np.cumsum(shares, dtype=np.float64), wanted)) + 1
    return ids[:kept], shares[:kept]


def _draw(shares: Logits, number: float) -> int:
    """The index whose part of the sum of all shares holds `number`, which is in [0, 1)."""
    # Block by block: to sum up all 49,152 one after the other takes longer than all the rest.
    starts = np.arange(0, len(shares), _BLOCK)
    bounds = np.cumsum(np.add.reduceat(shares, starts), dtype=np.float64)
    wanted = number * bounds[-1]
    block = min(int(np.searchsorted(bounds, wanted, side="right")), len(bounds) - 1)
    within = np.cumsum(shares[starts[block] : starts[block] + _BLOCK], dtype=np.float64)
    rest = wanted - (bounds[block - 1] if block else 0.0)
    # Rounding may leave the last bound a little below the number, but never gives a token without a share.
    place = min(int(np.searchsorted(within, rest, side="right")), int(np.searchsorted(within, within[-1])))
    return int(starts[block]) + place


def _most_probable(logits: Logits, count: int) -> NDArray[np.intp]:
    """Ids of the `count` highest logits, highest first, of equals the lowest id first."""
    if count == len(logits):
        return np.argsort(-logits, kind="stable")
    highest = np.maximum.reduceat(logits, np.arange(0, len(logits), _BLOCK))
    # At least `count` logits reach the count-th highest of the blocks, and few more do: no need to sort all.
    among = highest if count <= len(highest) else logits
    ids = np.flatnonzero(logits >= np.partition(among, len(among) - count)[len(among) - count])
    return ids[np.argsort(-logits[ids], kind="stable")][:count]
