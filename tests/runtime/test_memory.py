"""What a state holds, and what is read again."""

import numpy as np
import pytest

from pipeline.runtime.errors import EngineError, RuntimeInputError
from pipeline.runtime.memory import Memory
from pipeline.runtime.session import Inputs, State
from tests.runtime import tiny_texts

IDS = [0, 70, 80, 90, 100, 110]


def test_only_what_differs_is_read() -> None:
    session = tiny_texts.session()
    memory = Memory("pytorch", session, tiny_texts.CONTEXT)
    memory.follow(IDS)
    logits = memory.follow([*IDS[:4], 200, 201])
    assert session.calls == [6, 2]
    np.testing.assert_allclose(logits, tiny_texts.logits_of([*IDS[:4], 200, 201])[-1], atol=1e-4)
    assert memory.ids.tolist() == [*IDS[:4], 200, 201]


def test_the_last_token_is_read_again_because_its_logits_are_wanted() -> None:
    session = tiny_texts.session()
    memory = Memory("pytorch", session, tiny_texts.CONTEXT)
    first = memory.follow(IDS)
    np.testing.assert_allclose(memory.follow(IDS), first, atol=1e-4)
    memory.follow(IDS[:3])
    assert session.calls == [6, 1, 1]
    assert memory.ids.tolist() == IDS[:3]


def test_steps_and_reads_give_the_logits_of_the_whole_text() -> None:
    memory = Memory("pytorch", tiny_texts.session(), tiny_texts.CONTEXT)
    expected = tiny_texts.logits_of(IDS)
    np.testing.assert_allclose(memory.read(IDS[:4], every=True), expected[:4], atol=1e-4)
    np.testing.assert_allclose(memory.step(IDS[4]), expected[4], atol=1e-4)
    np.testing.assert_allclose(memory.read(IDS[5:]), expected[5:], atol=1e-4)


def test_it_holds_the_context_and_no_more() -> None:
    memory = Memory("pytorch", tiny_texts.session(6), 6)
    memory.read(IDS[:5])
    assert not memory.is_full
    with pytest.raises(RuntimeInputError, match="7 tokens do not fit into a context of 6"):
        memory.read([1, 2])
    memory.step(IDS[5])
    assert memory.is_full


class _Failing(tiny_texts.Counting):
    fails = False

    def run(self, inputs: Inputs, state: State | None = None) -> np.ndarray:
        found = super().run(inputs, state)
        if self.fails:
            raise KeyboardInterrupt
        return found


def test_a_call_that_is_torn_apart_leaves_nothing_that_is_relied_on() -> None:
    session = _Failing(tiny_texts.session())
    memory = Memory("pytorch", session, tiny_texts.CONTEXT)
    memory.follow(IDS[:4])
    session.fails = True
    with pytest.raises(KeyboardInterrupt):
        memory.step(IDS[4])
    session.fails = False
    np.testing.assert_allclose(memory.follow(IDS), tiny_texts.logits_of(IDS)[-1], atol=1e-4)
    assert session.calls == [4, 1, 6]


class _Stateless(tiny_texts.Counting):
    def new_state(self) -> None:
        return None


class _TooManyRows(tiny_texts.Counting):
    def run(self, inputs: Inputs, state: State | None = None) -> np.ndarray:
        return np.repeat(super().run(inputs, state), 2, axis=0)


def test_a_model_that_cannot_continue_a_text_is_named() -> None:
    with pytest.raises(EngineError, match="onnxruntime: the model carries no state"):
        Memory("onnxruntime", _Stateless(tiny_texts.session()), 8)
    memory = Memory("tflite", _TooManyRows(tiny_texts.session()), 8)
    with pytest.raises(EngineError, match=r"tflite returned logits of shape \[2, 340\], expected \[1, vocabulary\]"):
        memory.step(5)
