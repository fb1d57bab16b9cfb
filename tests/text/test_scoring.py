"""Bits per byte and greedy text, on a model whose probabilities are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.runtime.decoder_calls import POSITION, ROWS, TOKENS
from pipeline.runtime.session import Inputs, Positions, State
from pipeline.text import scoring
from pipeline.text.prepared import Prepared

_VOCABULARY = 8


class Counting:
    """A model that holds the token above the last for likely: its logit is `sure`, all others are 0."""

    def __init__(self, sure: float) -> None:
        self._sure = sure

    def new_state(self) -> Positions:
        return Positions()

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        assert isinstance(state, Positions)
        assert int(inputs[POSITION][0]) == state.length
        logits = np.zeros((len(inputs[ROWS]), _VOCABULARY), np.float32)
        following = (inputs[TOKENS][0][inputs[ROWS]] + 1) % _VOCABULARY
        logits[np.arange(len(logits)), following] = self._sure
        state.advance([inputs[TOKENS]])
        return logits


def _text(*ids: int, byte_count: int = 4) -> Prepared:
    return Prepared(np.array(ids, np.int32), byte_count)


def test_a_model_that_knows_nothing_needs_the_bits_of_its_vocabulary() -> None:
    [scored] = scoring.score(Counting(0.0), [_text(0, 1, 2, 5, byte_count=6)], "test")
    assert scored.bits == pytest.approx(3 * np.log2(_VOCABULARY))
    assert scoring.bits_per_byte([scored]) == pytest.approx(1.5)


def test_a_sure_model_needs_next_to_none_where_it_is_right() -> None:
    scored = scoring.score(Counting(50.0), [_text(0, 1, 2), _text(3, 4, 6)], "test")
    assert scored[0].bits == pytest.approx(0, abs=1e-6)
    assert scored[1].bits == pytest.approx(50 / np.log(2), rel=1e-6)
    assert scoring.next_token_right(scored) == 0.75


def test_large_logits_do_not_overflow() -> None:
    [scored] = scoring.score(Counting(3e4), [_text(0, 1, 3)], "test")
    assert scored.bits == pytest.approx(3e4 / np.log(2), rel=1e-6)


def test_agreement_is_with_what_another_model_held_likely() -> None:
    scored = scoring.score(Counting(1.0), [_text(0, 3, 2), _text(5, 5)], "test")
    assert scoring.agreement(scored, np.array([1, 4, 6], np.int32)) == 1
    assert scoring.agreement(scored, np.array([1, 0, 6], np.int32)) == pytest.approx(2 / 3)


def test_no_texts_and_nan_are_errors() -> None:
    with pytest.raises(StageError, match="test: there are no texts to score"):
        scoring.score(Counting(1.0), [], "test")
    with pytest.raises(StageError, match="NaN or infinity"):
        scoring.score(Counting(float("nan")), [_text(0, 1)], "test")


def test_greedy_text_follows_the_prompt_token_by_token() -> None:
    assert scoring.greedy(Counting(1.0), np.array([2, 3], np.int32), 6).tolist() == [4, 5, 6, 7, 0, 1]


@pytest.mark.parametrize(("given", "common"), [([1, 2, 3], 3), ([0, 2, 3], 0), ([1, 2, 0], 2)])
def test_texts_are_compared_up_to_their_first_difference(given: list[int], common: int) -> None:
    assert scoring.first_difference(np.array(given, np.int32), np.array([1, 2, 3], np.int32)) == common
