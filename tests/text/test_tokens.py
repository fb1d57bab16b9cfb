from pathlib import Path

import numpy as np
import pytest

from pipeline.text.tokens import Tokens, by_length, epoch, load_tokenizer, tokenize


def _tokens(*texts: list[int]) -> Tokens:
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    return Tokens(np.array([i for text in texts for i in text], np.int32), offsets)


def _random(count: int) -> Tokens:
    rng = np.random.default_rng(0)
    return _tokens(*(list(rng.integers(1, 99, length)) for length in rng.integers(1, 30, count)))


def test_a_batch_is_padded_with_zeros_to_its_longest() -> None:
    ids, mask = _tokens([1, 2, 3], [4], [5, 6]).batch(np.array([2, 1]))
    np.testing.assert_array_equal(ids, [[5, 6], [4, 0]])
    np.testing.assert_array_equal(mask, [[1, 1], [1, 0]])
    assert ids.dtype == mask.dtype == np.int32


def test_cut_keeps_the_closing_token() -> None:
    cut = _tokens([1, 2, 3, 9], [4, 9], [5, 6, 9]).cut(3)
    np.testing.assert_array_equal(cut.ids, [1, 2, 9, 4, 9, 5, 6, 9])
    np.testing.assert_array_equal(cut.offsets, [0, 3, 5, 8])


def test_tokenize_cuts_to_the_length_with_special_tokens(minilm: Path) -> None:
    tokenizer = load_tokenizer(minilm / "tokenizer.json")
    tokens = tokenize(["hello", "one two three four five", ""], tokenizer, 4)
    np.testing.assert_array_equal(tokens.lengths, [3, 4, 2])
    np.testing.assert_array_equal(tokens.ids, [101, 7592, 102, 101, 2028, 2048, 102, 101, 102])


def test_an_epoch_gives_full_batches_of_similar_length_without_repeats() -> None:
    tokens = _random(330)
    batches = list(epoch(tokens, 10, np.random.default_rng(1)))
    assert {len(batch) for batch in batches} == {10}
    drawn = np.concatenate(batches)
    assert len(drawn) == 330
    assert len(set(drawn.tolist())) == len(drawn)
    spread = np.mean([np.ptp(tokens.lengths[batch]) for batch in batches])
    assert spread < 0.3 * np.ptp(tokens.lengths)


def test_the_same_seed_gives_the_same_epoch() -> None:
    first, again, other = (
        np.concatenate(list(epoch(_random(64), 8, np.random.default_rng(seed)))) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_by_length_covers_each_text_once_within_the_budget(budget: int) -> None:
    tokens = _random(50)
    batches = list(by_length(tokens, budget))
    assert sorted(np.concatenate(batches).tolist()) == list(range(50))
    assert all(len(b) == 1 or len(b) * tokens.lengths[b].max() <= budget for b in batches)
    assert [tokens.lengths[b].max() for b in batches] == sorted(
        (tokens.lengths[b].max() for b in batches), reverse=True
    )


def test_no_texts_make_no_batches() -> None:
    assert list(by_length(_tokens(), 10)) == []
