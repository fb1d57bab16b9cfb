"""The words that a language model over BPE tokens expects next, as a keyboard suggests them."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

# The logits of what follows some tokens, float32 `[vocabulary]`: `pipeline.runtime.memory.Memory.follow` is one.
Follow = Callable[[Sequence[int]], NDArray[np.float32]]

# How byte-level BPE writes a space.
_SPACE = "\u0120"
_LETTERS = re.compile(r"[A-Za-z]+")
# Tokens of a word at most; what is longer is not suggested.
_MAX_PIECES = 8


@dataclass(frozen=True)
class Spelling:
    """Which tokens begin a word, go on with it, or end it. A word is a run of letters behind a space.

    Attributes:
        starts: tokens that begin with each text, a space in front, by that text.
        inner: the same of tokens that go on with a word.
        texts: letters of each token, with its space; `None` for tokens that are not of a word.
        ends: whether a word is over before this token, bool `[vocabulary]`.
    """

    starts: dict[str, NDArray[np.int64]]
    inner: dict[str, NDArray[np.int64]]
    texts: tuple[str | None, ...]
    ends: NDArray[np.bool_]


def read_spelling(tokenizer: Tokenizer) -> Spelling:
    """The spelling of a byte-level BPE tokenizer."""
    size = tokenizer.get_vocab_size()
    texts: list[str | None] = [None] * size
    starts: dict[str, list[int]] = defaultdict(list)
    inner: dict[str, list[int]] = defaultdict(list)
    for token, index in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        letters = token.removeprefix(_SPACE)
        if token != _SPACE and not _LETTERS.fullmatch(letters):
            continue
        texts[index] = letters
        table = inner if letters == token else starts
        for end in range(len(letters) + 1):
            table[letters[:end]].append(index)
    ends = np.ones(size, np.bool_)
    ends[inner[""]] = False
    return Spelling(_arrays(starts), _arrays(inner), tuple(texts), ends)


def suggest(follow: Follow, before: Sequence[int], spelling: Spelling, count: int, typed: str = "") -> list[str]:
    """The most probable next words, found by a beam search of width `count`.

    Args:
        before: tokens of the text up to the space in front of the word, start token included.
        typed: letters of the word that stand already.

    Returns:
        At most `count` words, most probable first.
    """
    found: dict[str, float] = {}
    beams: list[tuple[float, tuple[int, ...], str]] = [(0.0, (), "")]
    for _ in range(_MAX_PIECES):
        longer: list[tuple[float, tuple[int, ...], str]] = []
        for score, pieces, word in beams:
            values = _log_softmax(follow([*before, *pieces]))
            if pieces and word.startswith(typed):
                over = score + float(np.logaddexp.reduce(values[spelling.ends]))
                found[word] = float(np.logaddexp(found.get(word, -np.inf), over))
            for piece in _best(values, _fitting(spelling, bool(pieces), typed[len(word) :]), count):
                longer.append(
                    (score + float(values[piece]), (*pieces, int(piece)), word + (spelling.texts[piece] or ""))
                )
        worst = sorted(found.values(), reverse=True)[count - 1] if len(found) >= count else -np.inf
        beams = [beam for beam in sorted(longer, reverse=True)[:count] if beam[0] > worst]
        if not beams:
            break
    words = [word for word in sorted(found, key=lambda word: -found[word]) if word]
    return words[:count]


def _fitting(spelling: Spelling, begun: bool, rest: str) -> NDArray[np.int64]:
    """Tokens that agree with the letters that are typed and not yet covered: longer than they, or a part of them."""
    table = spelling.inner if begun else spelling.starts
    parts = [table.get(rest, np.empty(0, np.int64))]
    for end in range(1 if begun else 0, len(rest)):
        shorter = table.get(rest[:end], np.empty(0, np.int64))
        parts.append(np.array([i for i in shorter[:1] if spelling.texts[i] == rest[:end]], np.int64))
    return np.concatenate(parts)


def _best(values: NDArray[np.float64], among: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return among[np.argsort(-values[among], kind="stable")[:count]]


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - float(logits.max())
    values: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return values


def _arrays(table: dict[str, list[int]]) -> dict[str, NDArray[np.int64]]:
    return {text: np.array(ids, np.int64) for text, ids in table.items()}
