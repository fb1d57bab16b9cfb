"""Training texts as one stream of tokens, and the batches of windows that are cut out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.compress.tokens.labels import Labels
from pipeline.compress.tokens.losses import Targets
from pipeline.errors import StageError


def join_texts(texts: Sequence[NDArray[np.int32]], start: int) -> NDArray[np.int32]:
    """Texts behind each other, each behind a `start` token, and one more at the end; int32 `[total]`."""
    mark = np.array([start], np.int32)
    return np.concatenate([part for text in texts for part in (mark, text)] + [mark])


class Windows:
    """Windows of one length that tile a stream once a pass, in an order and from an offset that each pass draws.

    Window i depends on the arguments alone, so that a resumed training sees what the killed one would have seen.

    Raises:
        StageError: the stream is too short for one window at every offset.
    """

    def __init__(self, tokens: int, length: int, seed: int) -> None:
        self._length, self._seed = length, seed
        self.each_pass = (tokens - 1) // length - 1
        if self.each_pass < 1:
            raise StageError(f"{tokens} tokens are too few for windows of {length}: lower distill.window_tokens")
        self._order = lru_cache(maxsize=2)(self._draw)

    def start(self, index: int) -> int:
        """Where window `index` starts; it has `length` tokens, and the stream has one more behind them."""
        turn, place = divmod(index, self.each_pass)
        offset, order = self._order(turn)
        return int(offset + order[place] * self._length)

    def _draw(self, turn: int) -> tuple[int, NDArray[np.int64]]:
        rng = np.random.default_rng([self._seed, turn])
        return int(rng.integers(self._length)), rng.permutation(self.each_pass)


@dataclass(frozen=True)
class Batch:
    """Tokens int64 `[texts, length]` and what follows each of them."""

    tokens: Tensor
    targets: Targets


@dataclass(frozen=True)
class Lesson:
    """What a student is taught.

    Attributes:
        stream: texts without labels, from `join_texts`, int32 `[total]`.
        labels: of the labelled texts; `None` trains on the stream alone.
        teacher_weight: of the teacher's distribution where there is one; the rest is the text's own next token.
        labelled_share: of each batch's windows, once labelled texts are mixed in.
        labelled_from: share of the steps that go before.
        windows: of a batch.
        length: tokens of a window.
        pieces: into how many texts of their own each window is cut at first: short texts are faster to learn from.
        whole_from: share of the steps after which windows stay whole. Without whole windows, a student is worse behind
            the length of a piece than in front of it.
        seed: of the order.
    """

    stream: NDArray[np.int32]
    labels: Labels | None
    teacher_weight: float
    labelled_share: float
    labelled_from: float
    windows: int
    length: int
    pieces: int
    whole_from: float
    seed: int

    def __post_init__(self) -> None:
        if self.length % self.pieces:
            raise ValueError(f"a window of {self.length} tokens cannot be cut into {self.pieces} equal pieces")


class Batches:
    """The batches of a lesson over a number of steps; each depends on its number alone."""

    def __init__(self, lesson: Lesson, steps: int) -> None:
        self._lesson, self._first = lesson, round(lesson.labelled_from * steps)
        self._whole = round(lesson.whole_from * steps)
        self._fresh = Windows(len(lesson.stream), lesson.length, lesson.seed)
        self._labelled: _LabelledStream | None = None
        if lesson.labels is not None and lesson.labelled_share > 0:
            self._labelled = _LabelledStream(lesson.labels, lesson.seed)
            self._of_labelled = Windows(len(self._labelled.tokens), lesson.length, lesson.seed + 1)

    def __getitem__(self, step: int) -> Batch:
        before, after = self._labelled_before(step), self._labelled_before(step + 1)
        lesson, length = self._lesson, self._lesson.length
        fresh = [
            self._fresh.start(i) for i in range(step * lesson.windows - before, (step + 1) * lesson.windows - after)
        ]
        rows = [lesson.stream[start : start + length + 1] for start in fresh]
        labelled: list[int] = []
        if self._labelled is not None:
            labelled = [self._of_labelled.start(i) for i in range(before, after)]
            rows += [self._labelled.tokens[start : start + length + 1] for start in labelled]
        tokens = torch.from_numpy(np.stack(rows).astype(np.int64))
        following = tokens[:, 1:].flatten()
        if self._labelled is None or not labelled:
            hard = Targets(torch.arange(len(following)), following, torch.ones(len(following)))
            return Batch(self._cut(tokens[:, :-1], step), hard)
        places = np.concatenate([np.arange(start, start + length) for start in labelled])
        first = len(fresh) * length
        targets = self._labelled.mix(following, places, first, lesson.teacher_weight)
        return Batch(self._cut(tokens[:, :-1], step), targets)

    def _cut(self, tokens: Tensor, step: int) -> Tensor:
        """Windows `[windows, length]` in pieces, while they are cut."""
        return tokens if step >= self._whole else tokens.reshape(-1, self._lesson.length // self._lesson.pieces)

    def _labelled_before(self, step: int) -> int:
        """Labelled windows in the steps before `step`."""
        if self._labelled is None:
            return 0
        return int(max(step - self._first, 0) * self._lesson.windows * self._lesson.labelled_share)


class _LabelledStream:
    """Labelled texts in a drawn order as one stream, with the distribution behind each position."""

    def __init__(self, labels: Labels, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(labels))
        places = np.concatenate([np.arange(labels.offsets[i], labels.offsets[i + 1]) for i in order])
        row = np.full(len(labels.tokens), -1)
        row[labels.places] = np.arange(len(labels.places))
        self.tokens = labels.tokens[places]
        self._row, self._labels = row[places], labels

    def mix(self, following: Tensor, places: NDArray[np.int64], first: int, weight: float) -> Targets:
        """The text's own next tokens, and from position `first` on the teacher's distributions with `weight`.

        Args:
            following: what follows each position, int64 `[n]`.
            places: in this stream, of the positions from `first` on.
        """
        of_place = self._row[places]
        known = np.flatnonzero(of_place >= 0)
        soft = self._labels.weights[of_place[known]].astype(np.float32)
        soft *= weight / soft.sum(axis=1, keepdims=True)
        hard = torch.ones(len(following))
        hard[torch.from_numpy(first + known)] -= weight
        rows = torch.cat([torch.arange(len(following)), torch.from_numpy(np.repeat(first + known, soft.shape[1]))])
        ids = torch.cat([following, torch.from_numpy(self._labels.ids[of_place[known]].astype(np.int64).ravel())])
        weights = torch.cat([hard, torch.from_numpy(soft.ravel())])
        order = torch.argsort(rows, stable=True)
        return Targets(rows[order], ids[order], weights[order])
