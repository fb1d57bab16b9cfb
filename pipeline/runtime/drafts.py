"""Guesses the next tokens, so that the model checks several of them in one call.

The text is the same with and without guesses (speculative decoding, arXiv:2211.17192): each token is chosen from the
model's own logits, with the same random numbers, and a wrong guess is forgotten. That holds as far as an engine gives
the same logits for a token whether it comes alone or among others. Where the best two are closer than `CLOSE`, a call
of one token therefore decides. It does not hold at all where activations are rounded: engines have other kernels for
several tokens, and the logits of one are 1 to 3 off. There drafts are refused.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import numpy as np

from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.memory import Memory
from pipeline.runtime.sampling import Ids, Logits, Sampling, choose, penalized
from pipeline.runtime.session import Precision

Drafts = Literal["none", "prompt"]

# Of two logits. Engines in fp32 differ by 1e-5 to 1e-4 between a call of one token and a call of several.
CLOSE = 1e-2


class Drafter(Protocol):
    """Guesses tokens. A smaller model is one as well: with a `Memory` of its own it follows the text and goes on."""

    def guess(self, ids: Ids, most: int) -> Sequence[int]:
        """What may follow.

        Args:
            ids: the text so far, int32 `[n]`. From call to call it only grows.
            most: the most tokens that are of use.

        Returns:
            At most `most` tokens; none where it has no idea.
        """
        ...


class PromptLookup:
    """Guesses that what followed these tokens the last time follows again: for texts that repeat, such as code."""

    def __init__(self, window: int = 3, length: int = 4) -> None:
        """Begin with an empty text.

        Args:
            window: how many tokens must be the same.
            length: tokens of a guess.
        """
        self._window, self._length = window, length
        self._places: dict[tuple[int, ...], int] = {}
        self._indexed = window

    def guess(self, ids: Ids, most: int) -> Sequence[int]:
        """See `Drafter`."""
        # The last window is looked up before it is indexed: it must not find itself.
        for end in range(self._indexed, len(ids)):
            self._places[tuple(ids[end - self._window : end].tolist())] = end
        self._indexed = max(self._indexed, len(ids))
        place = self._places.get(tuple(ids[-self._window :].tolist()))
        if place is None:
            return ()
        found: list[int] = ids[place : place + min(self._length, most)].tolist()
        return found


def drafter(name: Drafts, precision: Precision) -> Drafter | None:
    """A new drafter for one text; `None` for no drafts.

    Args:
        name: which one.
        precision: of the model that checks the guesses.

    Raises:
        RuntimeInputError: there is none of this name, or with this precision the text would be another one.
    """
    if name not in ("none", "prompt"):
        raise RuntimeInputError(f"drafts is {name!r}: choose none or prompt")
    if name == "none":
        return None
    if (rounded := precision.activations) != "fp32" or (rounded := precision.inference) != "f32":
        raise RuntimeInputError(
            f"drafts would change the text: the model computes in {rounded}, where several tokens at once are rounded "
            "otherwise than one. Leave them out, or take an engine whose variant computes in fp32"
        )
    return PromptLookup()


def drafted_tokens(
    memory: Memory, logits: Logits, sampling: Sampling, rng: np.random.Generator, drafts: Drafter
) -> Iterator[int]:
    """The tokens that follow what `memory` holds, without end, until it is full.

    Args:
        memory: holds the prompt.
        logits: those behind the prompt, float32 `[vocabulary]`.
        sampling: how to choose.
        rng: for sampling.
        drafts: guesses.
    """
    token = choose(logits, sampling, rng, memory.ids)
    while True:
        yield token
        if memory.is_full:
            return
        start = len(memory.ids)
        text = np.append(memory.ids, np.int32(token))
        # After the last token that fits in nothing is read any more, so a guess must leave room for it.
        guess = list(drafts.guess(text, memory.context - start - 1))
        rows = memory.read([token, *guess], every=True) if guess else memory.step(token)[None]
        read = memory.ids
        for place, row in enumerate(rows):
            seen = read[: start + place + 1]
            if guess and is_close(row, sampling, seen):
                memory.rewind(len(seen) - 1)
                token = choose(memory.step(int(seen[-1])), sampling, rng, seen)
                break
            token = choose(row, sampling, rng, seen)
            if place == len(guess) or token != guess[place]:
                memory.rewind(len(seen))
                break
            yield token


def is_close(logits: Logits, sampling: Sampling, seen: Ids) -> bool:
    """Whether a slightly different sum could make another token the most probable one."""
    weighed = penalized(logits, seen, sampling.repetition_penalty)
    return int(np.count_nonzero(weighed >= weighed.max() - CLOSE)) > 1
