"""What a session does with a state: it grows, is rewound and copied, and ends with the largest cache."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.engines.torch_session import TorchSession
from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.session import Session
from tests.engines.tflite.conftest import Exported, call, new_state, open_once, say, text

# Logits are up to 2.
_ATOL = 5e-5


@pytest.fixture(scope="module")
def plain(export_tiny: Callable[[str], Exported]) -> Exported:
    return export_tiny("plain")


@pytest.fixture(scope="module")
def session(plain: Exported) -> Session:
    return open_once(plain.fp32)


@pytest.fixture(scope="module")
def pytorch(plain: Exported) -> Session:
    return TorchSession(plain.model, plain.spec)


def _run(session: Session, *counts: int) -> list[np.ndarray]:
    """The logits behind each part of one text, which is fed in parts of these lengths."""
    state, found = new_state(session), []
    for count in counts:
        found.append(session.run(call(text(64)[state.length : state.length + count], state.length), state))
    return found


# The second call of (10, 5) would fit the length 8, which reaches past the cache of 16; (14, 3) grows on the way, and
# (41, 7) ends the largest cache, where nothing can be filled up.
@pytest.mark.parametrize("counts", [(10, 5, 1), (14, 3), (15, 1, 1, 1), (41, 7), (16, 16, 16), (1, 47), (9, 4, 20)])
def test_a_text_in_parts_gives_pytorchs_logits(session: Session, pytorch: Session, counts: tuple[int, ...]) -> None:
    for given, wanted in zip(_run(session, *counts), _run(pytorch, *counts), strict=True):
        np.testing.assert_allclose(given, wanted, atol=_ATOL)


@pytest.mark.parametrize("rows", [[0], [4], [12, 3], [5, 5, 5], [0, 1, 2, 3, 4, 11], list(range(13))])
def test_rows_come_in_the_order_in_which_they_are_asked(session: Session, pytorch: Session, rows: list[int]) -> None:
    inputs = call(text(13), 0, np.array(rows, np.int32))
    given, wanted = (one.run(inputs, new_state(one)) for one in (session, pytorch))
    np.testing.assert_allclose(given, wanted, atol=_ATOL)


def test_after_rewinding_another_text_follows_as_if_nothing_had_been_behind(session: Session) -> None:
    state = new_state(session)
    first = session.run(call(text(9), 0), state)
    said = say(session, state, first, 30)
    state.rewind(9)
    assert say(session, state, first, 30) == said
    state.rewind(0)
    fresh = new_state(session)
    other = text(11, seed=1)
    np.testing.assert_allclose(session.run(call(other, 0), state), session.run(call(other, 0), fresh), atol=_ATOL)


def test_a_copy_goes_its_own_way_and_grows_alone(session: Session) -> None:
    state = new_state(session)
    first = session.run(call(text(9), 0), state)
    copied = state.copy()
    elsewhere = say(session, copied, session.run(call(text(3, seed=2), 9), copied), 20)
    said = say(session, state, first, 20)
    assert (copied.length, state.length) == (32, 29)
    again = new_state(session)
    assert say(session, again, session.run(call(text(9), 0), again), 20) == said
    other = new_state(session)
    session.run(call(text(9), 0), other)
    assert say(session, other, session.run(call(text(3, seed=2), 9), other), 20) == elsewhere


def test_an_output_survives_the_next_call(session: Session) -> None:
    state = new_state(session)
    first = session.run(call(text(1), 0), state)
    kept = first.copy()
    session.run(call(text(1, seed=3), 1), state)
    np.testing.assert_array_equal(first, kept)


def test_a_text_that_is_longer_than_the_largest_cache_says_how_long_it_may_be(session: Session) -> None:
    state = new_state(session)
    with pytest.raises(RuntimeInputError, match=r"the text has 49 tokens, 0 of them in the state: .* at most 48"):
        session.run(call(text(49), 0), state)
    session.run(call(text(48), 0), state)
    with pytest.raises(RuntimeInputError, match="the text has 49 tokens, 48 of them in the state"):
        session.run(call(text(1), 48), state)
    assert state.length == 48


def test_calls_that_do_not_fit_the_state_are_refused(session: Session, pytorch: Session) -> None:
    state = new_state(session)
    with pytest.raises(RuntimeInputError, match=r"position is \[3\], but the state holds 0 tokens: pass \[0\]"):
        session.run(call(text(2), 3), state)
    with pytest.raises(RuntimeInputError, match=r"rows is \[0, 2\]: choose from 0 to 1"):
        session.run(call(text(2), 0, np.array([0, 2], np.int32)), state)
    with pytest.raises(RuntimeInputError, match=r"tokens has shape \[2, 4\]: a decoder takes \[1, n\]"):
        session.run({**call(text(4), 0), "tokens": np.zeros((2, 4), np.int32)}, state)
    with pytest.raises(RuntimeInputError, match="carries a state, but none was given"):
        session.run(call(text(2), 0))
    with pytest.raises(RuntimeInputError, match="the state is a TorchState, not one of TensorFlow Lite"):
        session.run(call(text(2), 0), new_state(pytorch))
    assert state.length == 0
