from dataclasses import replace

import numpy as np
import pytest

from pipeline.compress.tokens.stream import Batches, Lesson, Windows, join_texts
from pipeline.errors import StageError

from .conftest import certain_labels

_STREAM = np.arange(1000, dtype=np.int32)
_LESSON = Lesson(_STREAM, None, 0.5, 0.0, 0.0, windows=4, length=10, pieces=1, whole_from=0.0, seed=3)


def test_texts_are_joined_by_the_start_token() -> None:
    texts = [np.array([5, 6], np.int32), np.array([7], np.int32)]
    assert join_texts(texts, 0).tolist() == [0, 5, 6, 0, 7, 0]


def test_windows_of_a_pass_do_not_overlap_and_passes_differ() -> None:
    windows = Windows(1000, 10, seed=1)
    passes = [[windows.start(turn * windows.each_pass + i) for i in range(windows.each_pass)] for turn in (0, 1)]
    for starts in passes:
        assert len({start // 10 for start in starts}) == len({start % 10 for start in starts}) * len(starts)
        assert min(starts) >= 0 and max(starts) + 10 < 1000
    assert passes[0] != passes[1]


def test_a_stream_without_a_window_is_refused() -> None:
    with pytest.raises(StageError, match="15 tokens are too few for windows of 10"):
        Windows(15, 10, seed=1)


def test_the_target_is_the_next_token() -> None:
    batch = Batches(_LESSON, steps=5)[2]
    assert batch.tokens.shape == (4, 10)
    assert batch.targets.ids.tolist() == (batch.tokens.flatten() + 1).tolist()
    assert batch.targets.weights.tolist() == [1.0] * 40


def _labelled(share: float, start: float, weight: float = 0.75) -> Batches:
    texts = [np.concatenate([[0], np.arange(2000 + 50 * i, 2040 + 50 * i)]).astype(np.int32) for i in range(5)]
    changes = {"labels": certain_labels(texts), "labelled_share": share, "labelled_from": start}
    return Batches(replace(_LESSON, teacher_weight=weight, **changes), steps=10)


def test_labelled_windows_have_their_share_from_their_step_on() -> None:
    batches = _labelled(share=0.375, start=0.5)
    counts = [int((batches[step].tokens.amax(dim=1) >= 2000).sum()) for step in range(10)]
    assert counts[:5] == [0] * 5
    assert sum(counts[5:]) == int(5 * 4 * 0.375)


def test_targets_of_labelled_windows_are_mixed_and_sum_to_one() -> None:
    batch = _labelled(share=1.0, start=0.0)[0]
    sums = np.zeros(40)
    np.add.at(sums, batch.targets.rows.numpy(), batch.targets.weights.numpy())
    assert np.allclose(sums, 1.0)
    labelled = np.flatnonzero(np.bincount(batch.targets.rows.numpy()) == 2)
    # Only the last token of a text has no label.
    assert len(labelled) >= 35
    for row in labelled:
        mine = (batch.targets.rows == row).numpy()
        assert batch.targets.ids.numpy()[mine].tolist() == [int(batch.tokens.flatten()[row]) + 1] * 2 or (
            batch.tokens.flatten()[row] == 0
        )
        assert sorted(batch.targets.weights.numpy()[mine].tolist()) == [0.25, 0.75]


def test_a_batch_depends_on_its_number_alone() -> None:
    forward, backward = _labelled(0.5, 0.2), _labelled(0.5, 0.2)
    made = {step: backward[step].tokens for step in reversed(range(10))}
    assert all(forward[step].tokens.equal(made[step]) for step in range(10))


def test_windows_are_cut_at_first_and_keep_their_targets() -> None:
    batches = Batches(replace(_LESSON, pieces=2, whole_from=0.4), steps=5)
    assert [tuple(batches[step].tokens.shape) for step in range(5)] == [(8, 5)] * 2 + [(4, 10)] * 3
    for step in (0, 4):
        assert batches[step].targets.ids.tolist() == (batches[step].tokens.flatten() + 1).tolist()


def test_pieces_must_fill_a_window() -> None:
    with pytest.raises(ValueError, match="a window of 10 tokens cannot be cut into 3"):
        replace(_LESSON, pieces=3)
