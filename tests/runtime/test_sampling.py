"""Choosing a token."""

import numpy as np
import pytest

from pipeline.runtime.errors import EngineError, RuntimeInputError
from pipeline.runtime.sampling import GREEDY, Logits, Sampling, choose, log_probabilities

NONE = np.empty(0, np.int32)
LOGITS = np.array([1.0, 3.0, 2.0, 3.0, -1.0], np.float32)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _shares(logits: Logits, sampling: Sampling, draws: int = 4000) -> np.ndarray:
    """How often each token is chosen."""
    rng = _rng()
    found = [choose(logits, sampling, rng, NONE) for _ in range(draws)]
    return np.bincount(found, minlength=len(logits)) / draws


def test_greedy_takes_the_highest_and_of_equals_the_lowest_id() -> None:
    rng = _rng()
    assert choose(LOGITS, GREEDY, rng, NONE) == 1
    assert rng.random() == _rng().random(), "greedy must not draw"


def test_tokens_come_as_often_as_they_are_probable() -> None:
    expected = np.exp(log_probabilities(LOGITS / 2))
    np.testing.assert_allclose(_shares(LOGITS, Sampling(temperature=2)), expected, atol=0.03)


def test_top_k_draws_from_the_k_best_and_of_equals_from_the_lowest_ids() -> None:
    ties = np.array([0.0, 5.0, 1.0, 5.0, 5.0], np.float32)
    shares = _shares(ties, Sampling(temperature=1, top_k=2))
    assert shares[[0, 2, 4]].tolist() == [0, 0, 0]
    np.testing.assert_allclose(shares[[1, 3]], [0.5, 0.5], atol=0.03)
    assert choose(ties, Sampling(temperature=1, top_k=1), _rng(), NONE) == 1


def test_top_p_draws_from_the_fewest_that_reach_it() -> None:
    logits = np.log(np.array([0.1, 0.5, 0.25, 0.15], np.float32))
    np.testing.assert_allclose(_shares(logits, Sampling(1, top_p=0.6)), [0, 2 / 3, 1 / 3, 0], atol=0.03)
    assert _shares(logits, Sampling(1, top_p=0.5))[1] == 1
    # Of the three best, the first two have 0.75 / 0.9 of the probability.
    np.testing.assert_allclose(_shares(logits, Sampling(1, top_k=3, top_p=0.8)), [0, 2 / 3, 1 / 3, 0], atol=0.03)
    np.testing.assert_allclose(
        _shares(logits, Sampling(1, top_k=3, top_p=0.9)), [0, 5 / 9, 2.5 / 9, 1.5 / 9], atol=0.03
    )


@pytest.mark.parametrize("size", [5_000, 49_152])
@pytest.mark.parametrize("sampling", [Sampling(1.0), Sampling(1.0, top_p=0.5), Sampling(0.8, top_k=40)])
def test_large_vocabularies_are_drawn_from_as_by_sorting_all(size: int, sampling: Sampling) -> None:
    logits = _rng(1).normal(0, 2, size).astype(np.float32)
    order = np.argsort(-logits, kind="stable")[: sampling.top_k or size]
    shares = np.exp(log_probabilities(logits[order] / np.float32(sampling.temperature)))
    allowed = set(order[: int(np.searchsorted(np.cumsum(shares), sampling.top_p)) + 1].tolist())
    rng = _rng()
    found = [choose(logits, sampling, rng, NONE) for _ in range(300)]
    assert set(found) <= allowed
    assert len(set(found)) > 20


def test_the_same_seed_draws_the_same_tokens() -> None:
    logits = _rng(2).normal(0, 1, 1000).astype(np.float32)
    draws = [[choose(logits, Sampling(1), rng, NONE) for _ in range(20)] for rng in (_rng(7), _rng(7), _rng(8))]
    assert draws[0] == draws[1] != draws[2]


def test_the_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    logits = np.array([2.0, 1.5, -1.0, -1.5], np.float32)
    seen = np.array([0, 0, 2], np.int32)
    assert choose(logits, Sampling(repetition_penalty=1.5), _rng(), seen) == 1
    assert choose(logits, Sampling(repetition_penalty=1.3), _rng(), seen) == 0
    low = np.array([-1.0, -1.5], np.float32)
    assert choose(low, Sampling(repetition_penalty=2), _rng(), np.array([0], np.int32)) == 1
    assert logits.tolist() == [2.0, 1.5, -1.0, -1.5], "the model's logits must not change"


def test_the_tiniest_temperature_is_nearly_greedy() -> None:
    assert choose(np.array([1.0, 1.1], np.float32), Sampling(1e-30), _rng(), NONE) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_the_engines_fault(bad: float) -> None:
    with pytest.raises(EngineError, match="as the highest logit"):
        choose(np.array([0, bad, 2], np.float32), GREEDY, _rng(), NONE)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1, and it must be a number of at least 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0.0}, "top_p is 0.0, and it must be above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
    ],
)
def test_values_that_make_no_sense_are_named(values: dict[str, float], message: str) -> None:
    with pytest.raises(RuntimeInputError, match=message):
        Sampling(**values)  # type: ignore[arg-type]
