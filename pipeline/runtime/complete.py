"""Candidates for the rest of a word or of a line, as a keyboard or an editor shows them."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from heapq import nlargest
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.memory import Memory
from pipeline.runtime.sampling import log_probabilities
from pipeline.runtime.vocabulary import Vocabulary

Until = Literal["word", "line"]

# Beginnings that are followed at once, at least: the best one may not look best at its start.
_WIDTH = 4


class Candidate(NamedTuple):
    """A rest of the word or line, never empty, and how probable it is that exactly this one follows."""

    text: str
    probability: float


class _Beginning(NamedTuple):
    """Tokens behind the kept ones, and the logarithm of their probability."""

    score: float
    ids: tuple[int, ...]


class Completer:
    """Finds the most probable rests by beam search.

    The last token of a text often is the start of a longer one: `impor` is followed by `t` far more rarely than it
    stands where `import` is one token. So the last token is taken back, and the first new one must begin with it
    (token healing).
    """

    def __init__(self, memory: Memory, vocabulary: Vocabulary, start: int) -> None:
        self._memory, self._vocabulary, self._start = memory, vocabulary, start
        self._ends_by_kind: dict[Until, NDArray[np.bool_]] = {}

    def complete(self, text: str, count: int, max_tokens: int, until: Until) -> list[Candidate]:
        """See `Release.complete`."""
        if count < 1 or max_tokens < 1:
            raise RuntimeInputError(f"{count} candidates of at most {max_tokens} tokens: both must be at least 1")
        if until not in ("word", "line"):
            raise RuntimeInputError(f"until is {until!r}: choose word or line")
        ids = self._vocabulary.encode(text)
        kept = [self._start, *ids[:-1]]
        if len(kept) + max_tokens > self._memory.context:
            allowed = self._memory.context - max_tokens
            raise RuntimeInputError(
                f"the text has {len(ids)} tokens, and before {max_tokens} more it may have {allowed}"
            )
        self._memory.claim()
        found = self._search(kept, ids[-1], until, max_tokens, count)
        base = len(self._vocabulary.decode(ids))
        totals: dict[str, float] = defaultdict(float)
        for score, tokens in found:
            # Several sequences of tokens may read the same.
            totals[self._vocabulary.decode([*ids[:-1], *tokens])[base:]] += float(np.exp(score))
        best = nlargest(count, ((share, rest) for rest, share in totals.items() if rest))
        return [Candidate(rest, share) for share, rest in best]

    def _search(self, kept: Sequence[int], healed: int, until: Until, max_tokens: int, count: int) -> list[_Beginning]:
        """Rests that ended, and those that were cut at `max_tokens`."""
        ends, width = self._ends(until), max(count, _WIDTH)
        live, done = self._first(kept, healed, until, width), list[_Beginning]()
        for _ in range(max_tokens - 1):
            longer: list[_Beginning] = []
            for score, tokens in live:
                row = log_probabilities(self._memory.follow([*kept, *tokens]))
                row = row[: len(ends)]
                # The healed token alone adds nothing to the text: no candidate, but a beginning of some.
                if tokens != (healed,):
                    done.append(_Beginning(score + float(np.logaddexp.reduce(row[ends])), tokens))
                row[ends] = -np.inf
                best = np.argpartition(-row, min(width, len(row) - 1))[:width]
                longer += [_Beginning(score + float(row[token]), (*tokens, int(token))) for token in best]
            live = nlargest(width, (one for one in longer if one.score > -np.inf))
            enough = nlargest(count, done)
            if len(enough) == count and (not live or enough[-1].score >= live[0].score):
                return done
        return done + live

    def _first(self, kept: Sequence[int], healed: int, until: Until, width: int) -> list[_Beginning]:
        """The most probable first tokens among those that begin as the healed one does."""
        allowed = self._vocabulary.starting_with(healed)
        row = log_probabilities(self._memory.follow(kept))[allowed]
        row -= np.logaddexp.reduce(row)
        begun = len(self._vocabulary.texts[healed])
        # Best first: behind a space, half of the vocabulary is allowed, and only a few tokens are looked at.
        order = (int(place) for place in np.argsort(-row, kind="stable"))
        rests = ((place, self._vocabulary.texts[allowed[place]][begun:]) for place in order)
        fitting = (place for place, rest in rests if not rest or _CONTINUES[until](rest))
        return [_Beginning(float(row[place]), (int(allowed[place]),)) for place in islice(fitting, width)]

    def _ends(self, until: Until) -> NDArray[np.bool_]:
        """By token, whether it ends the word or line that it would stand in."""
        if until not in self._ends_by_kind:
            continues = _CONTINUES[until]
            self._ends_by_kind[until] = np.array([not (text and continues(text)) for text in self._vocabulary.texts])
        return self._ends_by_kind[until]


def _continues_word(text: str) -> bool:
    """Whether a word goes on with this text; bytes that are part of a character mostly are of a letter."""
    return text[0].isalnum() or text[0] in "_\ufffd"


def _continues_line(text: str) -> bool:
    return "\n" not in text and "\r" not in text


_CONTINUES: Mapping[Until, Callable[[str], bool]] = {"word": _continues_word, "line": _continues_line}
