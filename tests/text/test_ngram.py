import numpy as np
import pytest

from pipeline.text.ngram import NgramModel, bits_per_byte, train_ngrams, xz_bits_per_byte


def _stream(count: int, seed: int = 0) -> np.ndarray:
    """A chain in which two tokens decide the next one, most of the time."""
    rng = np.random.default_rng(seed)
    made = [0, 1]
    for _ in range(count):
        made.append((made[-1] * 3 + made[-2]) % 11 if rng.random() < 0.9 else int(rng.integers(11)))
    return np.array(made, np.int32)


def _all_probabilities(model: NgramModel, before: list[int]) -> np.ndarray:
    return np.array([model.probabilities(np.array([*before, token], np.int32))[-1] for token in range(11)])


@pytest.mark.parametrize("max_bytes", [10**6, 400])
def test_probabilities_sum_to_one_in_every_context(max_bytes: int) -> None:
    model = train_ngrams(_stream(3000), 11, 4, max_bytes)
    for before in ([3], [0, 1], [4, 5, 6], [10, 10, 10, 10]):
        assert np.isclose(_all_probabilities(model, before).sum(), 1.0)


def test_longer_contexts_predict_better_and_pruning_costs() -> None:
    stream, held = _stream(5000), _stream(500, seed=1)
    bits = [bits_per_byte(train_ngrams(stream, 11, length, 10**6), [held], len(held)) for length in (2, 3)]
    pruned = train_ngrams(stream, 11, 3, 300)
    assert bits[1] < 0.6 * bits[0]
    assert pruned.bytes <= 300
    assert bits_per_byte(pruned, [held], len(held)) > bits[1]


def test_a_bigram_has_the_discounted_share_and_the_rest_of_the_unigram() -> None:
    stream = np.array([0, 1, 0, 1, 0, 1, 0, 2], np.int32)
    model = train_ngrams(stream, 3, 2, 10**6)
    order = model.orders[0]
    place = int(np.flatnonzero(order.keys == (0 << model.bits | 1))[0])
    rest = order.rest[int(np.flatnonzero(order.contexts == 0)[0])]
    assert 0 < order.shares[place] < 3 / 4
    assert np.isclose(_three(model).sum(), 1.0)
    assert np.isclose(_three(model)[1], order.shares[place] + rest * model.unigrams[1])


def _three(model: NgramModel) -> np.ndarray:
    return np.array([model.probabilities(np.array([0, token], np.int32))[0] for token in range(3)])


def test_xz_needs_few_bits_for_what_repeats() -> None:
    assert xz_bits_per_byte(["the same text " * 100] * 10) < 0.2 < xz_bits_per_byte(["few letters"])
