"""Guessing tokens: the same text in fewer calls."""

from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest

from pipeline.runtime.drafts import CLOSE, PromptLookup, drafter, is_close
from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.generate import tokens
from pipeline.runtime.memory import Memory
from pipeline.runtime.sampling import GREEDY, Ids, Sampling
from pipeline.runtime.session import Precision
from tests.runtime import tiny_texts

PROMPT = [0, 70, 80, 90, 70, 80, 90, 70, 80]


class _Told:
    """Guesses what it was told."""

    def __init__(self, text: Sequence[int], wrong_at: int = -1) -> None:
        self._text, self._wrong_at = list(text), wrong_at

    def guess(self, ids: Ids, most: int) -> Sequence[int]:
        found = self._text[len(ids) : len(ids) + min(4, most)]
        return [token + 1 if place == self._wrong_at else token for place, token in enumerate(found)]


def _memory(context: int = tiny_texts.CONTEXT) -> tuple[Memory, list[int]]:
    session = tiny_texts.session(context)
    return Memory("pytorch", session, context), session.calls


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(repetition_penalty=1.3), Sampling(0.7, top_k=20)])
@pytest.mark.parametrize("wrong_at", [-1, 0, 2, 3])
def test_the_text_is_the_same_whatever_is_guessed(sampling: Sampling, wrong_at: int) -> None:
    plain = list(islice(tokens(_memory()[0], PROMPT, sampling, rng=np.random.default_rng(1)), 40))
    memory, _ = _memory()
    told = _Told([*PROMPT, *plain], wrong_at)
    assert list(islice(tokens(memory, PROMPT, sampling, rng=np.random.default_rng(1), drafts=told), 40)) == plain


def test_a_text_to_the_end_of_the_context_is_the_same() -> None:
    plain = list(tokens(_memory()[0], PROMPT))
    assert len(PROMPT) + len(plain) == tiny_texts.CONTEXT + 1
    for drafts in (_Told([*PROMPT, *plain]), PromptLookup()):
        assert list(tokens(_memory()[0], PROMPT, drafts=drafts)) == plain


def test_right_guesses_save_calls() -> None:
    plain_memory, plain_calls = _memory()
    plain = list(islice(tokens(plain_memory, PROMPT), 40))
    memory, calls = _memory()
    assert list(islice(tokens(memory, PROMPT, drafts=_Told([*PROMPT, *plain])), 40)) == plain
    assert len(plain_calls) == 40
    assert len(calls) < 15


def test_what_the_memory_holds_afterwards_is_the_text() -> None:
    memory, _ = _memory()
    found = list(islice(tokens(memory, PROMPT, drafts=_Told([*PROMPT, *[5] * 80], 1)), 10))
    np.testing.assert_allclose(memory.follow([*PROMPT, *found]), tiny_texts.logits_of([*PROMPT, *found])[-1], atol=1e-4)


def test_a_close_race_is_decided_by_a_call_of_one_token() -> None:
    none = np.empty(0, np.int32)
    assert is_close(np.array([1, 1 - CLOSE / 2], np.float32), GREEDY, none)
    assert not is_close(np.array([1, 1 - CLOSE * 2], np.float32), GREEDY, none)
    assert is_close(np.array([2, 1], np.float32), Sampling(repetition_penalty=2), np.array([0], np.int32))


def test_prompt_lookup_guesses_what_followed_the_last_time() -> None:
    lookup = PromptLookup(window=2, length=3)
    assert lookup.guess(np.array([1, 2, 3, 4, 5, 1, 2], np.int32), 9) == [3, 4, 5]
    assert lookup.guess(np.array([1, 2, 3, 4, 5, 1, 2, 9], np.int32), 9) == ()
    assert lookup.guess(np.array([1, 2, 3, 4, 5, 1, 2, 9, 1, 2], np.int32), 2) == [9, 1]
    assert PromptLookup(window=3).guess(np.array([1, 2], np.int32), 9) == ()


def test_an_unknown_kind_of_drafts_is_named() -> None:
    assert drafter("none", Precision()) is None
    assert isinstance(drafter("prompt", Precision(weights="int4")), PromptLookup)
    with pytest.raises(RuntimeInputError, match="drafts is 'student': choose none or prompt"):
        drafter("student", Precision())  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", [Precision(activations="int8 dynamic"), Precision(inference="bf16")])
def test_drafts_are_refused_where_the_text_would_be_another_one(precision: Precision) -> None:
    assert drafter("none", precision) is None
    with pytest.raises(RuntimeInputError, match=r"would change the text: the model computes in (int8 dynamic|bf16)"):
        drafter("prompt", precision)
