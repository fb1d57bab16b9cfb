"""How well a language model foretells texts that it never saw: the figures are of whole texts, and sums over texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.progress import track
from pipeline.runtime.decoder_calls import POSITION, ROWS, TOKENS
from pipeline.runtime.session import Inputs, Session
from pipeline.text.prepared import Prepared

_LN2 = float(np.log(2.0))


@dataclass(frozen=True)
class Scored:
    """What a model made of a text.

    Attributes:
        bits: that the model needs for the text: the sum of -log2 of each token's probability.
        byte_count: of the text.
        tokens: how many were foretold.
        right: how many of them the model held for the likeliest.
        likeliest: the token that it held for the likeliest at each place, int32 `[tokens]`.
    """

    bits: float
    byte_count: int
    tokens: int
    right: int
    likeliest: NDArray[np.int32]


def whole_call(ids: NDArray[np.int32]) -> Inputs:
    """The inputs of one call that reads a text from its start and gives a row for each of its n tokens."""
    count = len(ids)
    return {
        TOKENS: ids[None].astype(np.int32),
        POSITION: np.zeros(1, np.int32),
        ROWS: np.arange(count, dtype=np.int32),
    }


def score(session: Session, texts: Sequence[Prepared], label: str) -> list[Scored]:
    """Read each text in one call, and compare what comes with what was foretold.

    Raises:
        StageError: there are no texts, or the model gives NaN or infinity.
    """
    if not texts:
        raise StageError(f"{label}: there are no texts to score")
    tracked = track(texts, total=len(texts), label=label, unit="texts")
    return [_score(session, text, label) for text in tracked]


def _score(session: Session, text: Prepared, label: str) -> Scored:
    logits = session.run(whole_call(text.ids[:-1]), session.new_state())
    if not np.isfinite(logits).all():
        raise StageError(f"{label}: the model gives NaN or infinity: its weights are damaged or its training diverged")
    wanted = text.ids[1:]
    likeliest = logits.argmax(axis=1).astype(np.int32)
    return Scored(
        bits=float(-log_probabilities(logits, wanted).sum() / _LN2),
        byte_count=text.byte_count,
        tokens=len(wanted),
        right=int((likeliest == wanted).sum()),
        likeliest=likeliest,
    )


def log_probabilities(logits: NDArray[np.float32], wanted: NDArray[np.int32]) -> NDArray[np.float64]:
    """The natural logarithm of the probability of `wanted[i]` in row i, float64 `[n]`."""
    highest = logits.max(axis=1)
    total = np.exp(logits - highest[:, None]).sum(axis=1, dtype=np.float64)
    chosen: NDArray[np.float64] = logits[np.arange(len(wanted)), wanted].astype(np.float64) - highest
    logarithms: NDArray[np.float64] = chosen - np.log(total)
    return logarithms


def bits_per_byte(scored: Sequence[Scored]) -> float:
    """Bits over bytes of all texts together."""
    return sum(one.bits for one in scored) / sum(one.byte_count for one in scored)


def next_token_right(scored: Sequence[Scored]) -> float:
    """How often the likeliest token was the one that came."""
    return sum(one.right for one in scored) / sum(one.tokens for one in scored)


def agreement(scored: Sequence[Scored], reference: NDArray[np.int32]) -> float:
    """How often the likeliest token is that of another model, which is given for all texts one behind the other."""
    return float((np.concatenate([one.likeliest for one in scored]) == reference).mean())


def greedy(session: Session, prompt: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """The `count` likeliest tokens behind a prompt, each fed back to get the next; int32 `[count]`.

    Args:
        session: of a decoder.
        prompt: token ids, int32 `[n]`.
        count: tokens to make.
    """
    state = session.new_state()
    said = np.empty(count, np.int32)
    step = {TOKENS: prompt[None].astype(np.int32), POSITION: np.zeros(1, np.int32)}
    position = 0
    for index in range(count):
        length = step[TOKENS].shape[1]
        logits = session.run({**step, ROWS: np.array([length - 1], np.int32)}, state)
        said[index] = logits[0].argmax()
        position += length
        step = {TOKENS: said[None, index : index + 1].copy(), POSITION: np.array([position], np.int32)}
    return said


def first_difference(given: NDArray[np.int32], wanted: NDArray[np.int32]) -> int:
    """How many tokens two texts of one length have in common from their start."""
    differing = np.flatnonzero(given != wanted)
    return int(differing[0]) if len(differing) else len(wanted)
