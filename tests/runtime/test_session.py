"""Every engine runs the same tiny model and must agree with numpy."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.runtime.errors import EngineError, RuntimeInputError
from pipeline.runtime.openvino import settings
from pipeline.runtime.session import ENGINES, Positions, Precision, open_session
from tests.runtime import tiny

# The models are fp32 everywhere: what differs is the order of additions.
ATOL = 1e-5
# bf16 has 8 bits of mantissa.
BF16_ATOL = 0.02


def _inputs(batch: int, length: int) -> dict[str, NDArray[np.int32]]:
    random = np.random.default_rng(batch * 100 + length)
    ids = random.integers(0, len(tiny.WORDS), (batch, length)).astype(np.int32)
    mask = (np.arange(length) < random.integers(1, length + 1, (batch, 1))).astype(np.int32)
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("threads", [1, None])
@pytest.mark.parametrize("engine", ENGINES)
def test_sessions_agree_with_numpy(engine: str, threads: int | None, tiny_models: dict[str, Path]) -> None:
    session = open_session(engine, tiny_models[engine], threads)
    for batch, length in [(1, 8), (1, 5), (1, 16), (4, 8), (3, 8), (6, 11), (9, 3)]:
        inputs = _inputs(batch, length)
        output = session.run(inputs)
        wanted = tiny.expected(tiny.word_vectors(), inputs["input_ids"], inputs["attention_mask"])
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, wanted, atol=ATOL, err_msg=f"batch {batch}, length {length}")


@pytest.mark.parametrize("engine", ENGINES)
def test_outputs_survive_the_next_run(engine: str, tiny_models: dict[str, Path]) -> None:
    session = open_session(engine, tiny_models[engine], 1)
    first = session.run(_inputs(1, 8))
    kept = first.copy()
    session.run({"input_ids": np.full((1, 8), 5, np.int32), "attention_mask": np.ones((1, 8), np.int32)})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("engine", ENGINES)
def test_int64_inputs_are_cast(engine: str, tiny_models: dict[str, Path]) -> None:
    session = open_session(engine, tiny_models[engine], 1)
    inputs = _inputs(1, 8)
    wide = {name: array.astype(np.int64) for name, array in inputs.items()}
    np.testing.assert_array_equal(session.run(wide), session.run(inputs))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_missing_input_is_named(engine: str, tiny_models: dict[str, Path]) -> None:
    session = open_session(engine, tiny_models[engine], 1)
    with pytest.raises(RuntimeInputError, match="attention_mask"):
        session.run({"input_ids": np.ones((1, 8), np.int32)})


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_that_is_no_model_is_an_engine_error(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_bytes(b"no model at all")
    with pytest.raises(EngineError, match=r"cannot open .*broken"):
        open_session(engine, path, 1)


def test_tflite_refuses_inputs_longer_than_every_signature(tiny_models: dict[str, Path]) -> None:
    session = open_session("tflite", tiny_models["tflite"], 1)
    with pytest.raises(RuntimeInputError, match=r"\[1, 17\] fit no signature"):
        session.run(_inputs(1, 17))


def test_wrong_arguments_are_named(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    with pytest.raises(RuntimeInputError, match="unknown engine 'onnx': choose one of onnxruntime, openvino, tflite"):
        open_session("onnx", tmp_path)
    with pytest.raises(RuntimeInputError, match=r"absent\.onnx is missing"):
        open_session("onnxruntime", tmp_path / "absent.onnx")
    with pytest.raises(RuntimeInputError, match="threads is 0"):
        open_session("onnxruntime", tiny_models["onnxruntime"], 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_shape_that_comes_again_and_again_keeps_its_results(engine: str, tiny_models: dict[str, Path]) -> None:
    # OpenVINO compiles such a shape for itself; ten of them are more than it keeps.
    session = open_session(engine, tiny_models[engine], 1)
    for batch, length in [*((1, length) for length in range(3, 13)), (2, 8)]:
        inputs = _inputs(batch, length)
        first = session.run(inputs)
        for _ in range(20):
            np.testing.assert_allclose(session.run(inputs), first, atol=1e-3)
    assert session.run(_inputs(1, 16)).shape == (1, first.shape[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_without_state_has_none_and_takes_none(engine: str, tiny_models: dict[str, Path]) -> None:
    session = open_session(engine, tiny_models[engine], 1)
    assert session.new_state() is None
    with pytest.raises(RuntimeInputError, match="carries no state, but one was given"):
        session.run(_inputs(1, 8), _State())


class _State(Positions):
    def copy(self) -> "_State":
        return _State(self.length)


def test_a_state_is_rewound_to_what_it_holds_and_no_further() -> None:
    state = _State(8)
    state.rewind(3)
    assert state.length == 3
    for length in (4, -1):
        with pytest.raises(RuntimeInputError, match=f"a state of 3 positions cannot be rewound to {length}"):
            state.rewind(length)


def test_openvino_is_told_everything_that_it_would_choose_by_the_cpu() -> None:
    exact, reduced = (
        settings(2, precision) for precision in (Precision(), Precision("int8", "int8 dynamic", "bf16", "u8"))
    )
    assert exact["INFERENCE_NUM_THREADS"] == 2
    keys = ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION", "DYNAMIC_QUANTIZATION_GROUP_SIZE")
    assert [exact[key] for key in keys] == ["f32", "f32", 0]
    assert [reduced[key] for key in keys] == ["bf16", "u8", 64]
    # Weights of 4 bits have a scale for each 32, and no larger group of activations fits them.
    assert settings(2, Precision("int4", "int8 dynamic"))["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == 32


def test_openvino_computes_bf16_where_the_variant_says_so(tiny_models: dict[str, Path]) -> None:
    session = open_session("openvino", tiny_models["openvino"], 1, Precision(inference="bf16"))
    inputs = _inputs(4, 8)
    wanted = tiny.expected(tiny.word_vectors(), inputs["input_ids"], inputs["attention_mask"])
    np.testing.assert_allclose(session.run(inputs), wanted, atol=BF16_ATOL)


@pytest.mark.parametrize("engine", ["onnxruntime", "tflite"])
def test_a_precision_that_an_engine_lacks_is_refused(engine: str, tiny_models: dict[str, Path]) -> None:
    with pytest.raises(RuntimeInputError, match=f"{engine} has no inference in 'bf16': it has f32"):
        open_session(engine, tiny_models[engine], 1, Precision(inference="bf16"))
    with pytest.raises(RuntimeInputError, match=f"{engine} has no cache in 'u8': it has none, f32"):
        open_session(engine, tiny_models[engine], 1, Precision(cache="u8"))
