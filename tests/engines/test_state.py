"""A state carried from call to call: each engine must say what PyTorch says, token for token."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from pipeline.engines.exporter import exporter
from pipeline.engines.torch_session import TorchSession
from pipeline.layout import SUFFIX, Engine
from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.session import Inputs, Precision, Session, State, open_session
from tests.engines.tiny_decoder import PROMPT, SPEC, TinyDecoder

_PROMPT = np.array([[3, 14, 15, 9, 26, 5, 35, 8]], np.int32)
_STEPS = 20
_ATOL = 1e-4


@pytest.fixture(scope="module")
def pytorch() -> TorchSession:
    return TorchSession(TinyDecoder().eval(), SPEC)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Engine, Path]:
    """The decoder's file for each engine."""
    paths = {engine: tmp_path_factory.mktemp(engine) / f"fp32{SUFFIX[engine]}" for engine in Engine}
    for engine, path in paths.items():
        exporter(engine).export(TinyDecoder().eval(), SPEC, path, toolchain={})
    return paths


@pytest.fixture(scope="module", params=list(Engine))
def session(request: pytest.FixtureRequest, files: Mapping[Engine, Path]) -> Session:
    engine: Engine = request.param
    return open_session(engine, files[engine], 1, Precision(cache="f32"))


def _inputs(tokens: np.ndarray, position: int) -> Inputs:
    return {"tokens": tokens, "position": np.full(len(tokens), position, np.int32)}


def _new_state(session: Session) -> State:
    state = session.new_state()
    assert state is not None
    return state


def _continue(session: Session, state: State, logits: np.ndarray, steps: int = _STEPS) -> list[int]:
    """Greedy text behind `logits`."""
    said = []
    for _ in range(steps):
        said.append(int(logits.argmax()))
        logits = session.run(_inputs(np.array([[said[-1]]], np.int32), state.length), state)
    return said


def _say(session: Session, prompt: np.ndarray = _PROMPT) -> list[int]:
    state = _new_state(session)
    return _continue(session, state, session.run(_inputs(prompt, 0), state))


def test_the_decoder_does_not_repeat_itself(pytorch: TorchSession) -> None:
    # A model that says one token again and again would prove nothing.
    assert len(set(_say(pytorch))) > 5


def test_greedy_text_through_prompt_and_steps_is_pytorchs(session: Session, pytorch: TorchSession) -> None:
    assert _say(session) == _say(pytorch)


def test_logits_agree_with_pytorch_in_both_shapes(session: Session, pytorch: TorchSession) -> None:
    states = [(one, _new_state(one)) for one in (session, pytorch)]
    for tokens, position in [(_PROMPT, 0), (np.array([[7]], np.int32), 8), (_PROMPT[:, ::-1].copy(), 9)]:
        given, wanted = (one.run(_inputs(tokens, position), state) for one, state in states)
        assert given.dtype == np.float32
        np.testing.assert_allclose(given, wanted, atol=_ATOL)
    assert [state.length for _, state in states] == [17, 17]


def test_a_prompt_fed_token_by_token_gives_the_same_text(session: Session) -> None:
    state = _new_state(session)
    for position in range(PROMPT):
        logits = session.run(_inputs(_PROMPT[:, position : position + 1], position), state)
    assert _continue(session, state, logits) == _say(session)


def test_after_rewinding_another_text_follows_as_if_nothing_had_been_behind(session: Session) -> None:
    state = _new_state(session)
    first = session.run(_inputs(_PROMPT, 0), state)
    said = _continue(session, state, first)
    state.rewind(PROMPT)
    assert _continue(session, state, first) == said
    state.rewind(0)
    other = _PROMPT[:, ::-1].copy()
    assert _continue(session, state, session.run(_inputs(other, 0), state)) == _say(session, other)


def test_a_copy_goes_its_own_way(session: Session, pytorch: TorchSession) -> None:
    state = _new_state(session)
    first = session.run(_inputs(_PROMPT, 0), state)
    copied = state.copy()
    assert copied.length == PROMPT
    swerve = session.run(_inputs(np.array([[1]], np.int32), PROMPT), copied)
    elsewhere = _continue(session, copied, swerve)
    assert _continue(session, state, first) == _say(pytorch)
    own = _new_state(pytorch)
    pytorch.run(_inputs(_PROMPT, 0), own)
    assert elsewhere == _continue(pytorch, own, pytorch.run(_inputs(np.array([[1]], np.int32), PROMPT), own))


def test_a_copy_of_an_empty_state_is_empty(session: Session) -> None:
    state = _new_state(session).copy()
    assert state.length == 0
    assert _continue(session, state, session.run(_inputs(_PROMPT, 0), state)) == _say(session)


def test_states_of_one_session_do_not_mix(session: Session) -> None:
    first, second = _new_state(session), _new_state(session)
    other = _PROMPT[:, ::-1].copy()
    one, two = session.run(_inputs(_PROMPT, 0), first), session.run(_inputs(other, 0), second)
    assert _continue(session, first, one) == _say(session)
    assert _continue(session, second, two) == _say(session, other)


def test_an_output_survives_the_next_call(session: Session) -> None:
    state = _new_state(session)
    first = session.run(_inputs(_PROMPT, 0), state)
    kept = first.copy()
    session.run(_inputs(np.array([[1]], np.int32), PROMPT), state)
    np.testing.assert_array_equal(first, kept)


def test_a_call_without_state_is_refused(session: Session, pytorch: TorchSession) -> None:
    for one in (session, pytorch):
        with pytest.raises(RuntimeInputError, match="carries a state, but none was given"):
            one.run(_inputs(_PROMPT, 0))


def test_the_state_of_another_engine_is_refused(session: Session, pytorch: TorchSession) -> None:
    with pytest.raises(RuntimeInputError, match=r"the state is a TorchState, not one of .*: take session\.new_state"):
        session.run(_inputs(_PROMPT, 0), _new_state(pytorch))


_OPEN_SHAPES = [Engine.ONNXRUNTIME, Engine.OPENVINO]


@pytest.mark.parametrize("engine", _OPEN_SHAPES)
def test_open_batches_have_states_of_their_size(
    engine: Engine, files: Mapping[Engine, Path], pytorch: TorchSession
) -> None:
    session = open_session(engine, files[engine], 1)
    both = np.concatenate([_PROMPT, _PROMPT[:, ::-1]])
    state, wanted = _new_state(session), _new_state(pytorch)
    np.testing.assert_allclose(session.run(_inputs(both, 0), state), pytorch.run(_inputs(both, 0), wanted), atol=_ATOL)
    with pytest.raises(RuntimeInputError, match="filled with a batch of 2, but this call has 1"):
        session.run(_inputs(_PROMPT, 8), state)


def test_tensorflow_lite_names_the_shapes_that_it_has(files: Mapping[Engine, Path]) -> None:
    session = open_session("tflite", files[Engine.TFLITE], 1)
    with pytest.raises(RuntimeInputError, match=r"\[\[1, 5\], \[1\]\] are no signature .* has \[\[1, 8\], \[1\]\]"):
        session.run(_inputs(_PROMPT[:, :5], 0), session.new_state())


@pytest.mark.parametrize("engine", _OPEN_SHAPES)
def test_exporting_a_state_twice_writes_the_same_bytes(
    engine: Engine, files: Mapping[Engine, Path], tmp_path: Path
) -> None:
    exporter(engine).export(TinyDecoder().eval(), SPEC, tmp_path / files[engine].name, toolchain={})
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (files[engine].parent / path.name).read_bytes(), path.name
