"""How much a language model helps who writes: bits per byte, the next word, keystrokes; with intervals over groups."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pipeline.text.documents import Whole
from pipeline.text.words import Follow, Spelling, read_spelling, suggest

# Log-probabilities (natural) of the tokens of a text behind a start token, float `[n]` of ids int32 `[n]`.
Surprise = Callable[[NDArray[np.int32]], NDArray[np.floating]]

SUGGESTIONS = 3
_WORD = re.compile(r"(?<=\S) [A-Za-z]+(?![^\W_])(?!_)")
_RESAMPLES = 1000


@dataclass(frozen=True)
class Tally:
    """What was counted in the texts of one group.

    Attributes:
        bits: that a code with the model's probabilities spends on the texts.
        bytes: of the texts' UTF-8.
        words: that were guessed.
        top_1: words that were the first guess before any letter was typed.
        top_3: words that were among the first three.
        keystrokes: letters and spaces of the words, as typed without help.
        keys: pressed when the word is chosen as soon as it is among three suggestions; choosing is one key.
    """

    bits: float = 0.0
    bytes: int = 0
    words: int = 0
    top_1: int = 0
    top_3: int = 0
    keystrokes: int = 0
    keys: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class Figures:
    """What is reported of a tally, or of several."""

    bits_per_byte: float
    next_word_top_1: float
    next_word_top_3: float
    keystrokes_saved: float


def figures(tally: Tally) -> Figures:
    """The shares of a tally; 0 where nothing was counted."""
    words = max(tally.words, 1)
    return Figures(
        tally.bits / max(tally.bytes, 1),
        tally.top_1 / words,
        tally.top_3 / words,
        1 - tally.keys / tally.keystrokes if tally.keystrokes else 0.0,
    )


def beginning(text: str, max_bytes: int) -> str:
    """The first `max_bytes` of a text, without a broken character at the end."""
    return text.encode()[:max_bytes].decode(errors="ignore")


def measure_bits(documents: Sequence[Whole], tokenizer: Tokenizer, surprise: Surprise) -> dict[str, Tally]:
    """Bits and bytes of documents by group."""
    tallies: dict[str, Tally] = {}
    for one in documents:
        ids = np.array(tokenizer.encode(one.text, add_special_tokens=False).ids, np.int32)
        found = Tally(bits=-float(surprise(ids).sum()) / log(2), bytes=len(one.text.encode()))
        tallies[one.group] = tallies.get(one.group, Tally()) + found
    return tallies


def measure_words(
    documents: Sequence[Whole], tokenizer: Tokenizer, follow: Follow, start: int, max_words: int
) -> dict[str, Tally]:
    """Next words and keystrokes of documents by group.

    A word is a run of letters behind a space; one that begins a line is not counted. The words of a document that are
    measured lie evenly in it.

    Args:
        start: the token that begins a text.
        max_words: of a document.
    """
    spelling = read_spelling(tokenizer)
    tallies: dict[str, Tally] = {}
    for one in documents:
        places = list(_WORD.finditer(one.text))
        step = max(1, -(-len(places) // max_words))
        for place in places[::step]:
            # The text up to the space: the space is part of the word's first token.
            before = [start, *tokenizer.encode(one.text[: place.start()], add_special_tokens=False).ids]
            found = type_word(place.group()[1:], before, follow, spelling)
            tallies[one.group] = tallies.get(one.group, Tally()) + found
    return tallies


def type_word(word: str, before: Sequence[int], follow: Follow, spelling: Spelling) -> Tally:
    """Type a word letter by letter, and choose it as soon as it is suggested.

    A choice writes the space behind the word, too.
    """
    first = suggest(follow, before, spelling, SUGGESTIONS)
    keys = len(word) + 1
    for typed in range(len(word)):
        shown = first if typed == 0 else suggest(follow, before, spelling, SUGGESTIONS, word[:typed])
        if word in shown:
            keys = typed + 1
            break
    return Tally(
        words=1,
        top_1=int(first[:1] == [word]),
        top_3=int(word in first),
        keystrokes=len(word) + 1,
        keys=keys,
    )


def interval(
    tallies: Sequence[dict[str, Tally]],
    value: Callable[[Sequence[Figures]], float],
    seed: int,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """A figure of one or several models over all groups, with its bootstrap interval (Efron, 1979; percentiles).

    Groups are drawn with replacement, the same for all models, so that a difference between two has its own interval.

    Args:
        tallies: of each model, by group; all have the same groups.
        value: what is wanted of the models' figures, such as the ratio of the bits per byte of two.

    Returns:
        Estimate, lower and upper bound.
    """
    names = sorted(tallies[0])
    columns = np.array([[list(vars(tally[name]).values()) for name in names] for tally in tallies])
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(names), size=(_RESAMPLES, len(names)))
    counts = np.stack([np.bincount(row, minlength=len(names)) for row in drawn]).astype(np.float64)
    estimate = value([figures(Tally(*row)) for row in columns.sum(axis=1)])
    # [models, groups, counted] weighed by how often each group was drawn.
    sums = np.einsum("rg,mgc->rmc", counts, columns)
    values = [value([figures(Tally(*row)) for row in models]) for models in sums]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return estimate, float(low), float(high)
