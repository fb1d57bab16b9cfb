"""A decoder's files: each kind and precision says what PyTorch says, and the same model gives the same bytes."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.schema_py_generated import TensorType
from torch import nn

from pipeline.engines.tflite import flatbuffer
from pipeline.engines.tflite.decoder_products import BLOCK, round_to_blocks, round_to_rows
from pipeline.engines.tflite.export import exporter
from pipeline.engines.torch_session import TorchSession
from pipeline.errors import StageError
from pipeline.layout import Variant
from pipeline.runtime.session import Session
from pipeline.students.decoder import Decoder
from tests.engines.tflite.conftest import CACHES, Exported, call, new_state, open_once, say, text

# Logits are up to 7; sums are added in another order than PyTorch's.
_ATOL = 1e-4
# Norm of the error over norm of the logits: what rounding of activations to 8 bits does to these random weights.
_ACTIVATIONS = 0.08
_REDUCED = (Variant.INT8, Variant.INT4)


def _sessions(exported: Exported, file: Path | None = None) -> tuple[Session, Session]:
    return open_once(file or exported.fp32), TorchSession(exported.model, exported.spec)


def _reduce(exported: Exported, out: Path, precision: Variant, keep_float: tuple[str, ...] = ()) -> Path:
    exporter.quantize(exported.fp32, exported.spec, {}, out, precision=precision, keep_float=keep_float)
    return out


def _error(exported: Exported, file: Path, model: Decoder | None = None) -> float:
    rows = np.arange(40, dtype=np.int32)
    given_by, wanted_of = open_once(file), TorchSession(model or exported.model, exported.spec)
    given, wanted = (one.run(call(text(40), 0, rows), new_state(one)) for one in (given_by, wanted_of))
    return float(np.linalg.norm(given - wanted) / np.linalg.norm(wanted))


def _with_rounded_weights(model: Decoder, precision: Variant) -> Decoder:
    """A copy that computes in float with what the reduced file holds."""
    rounded = copy.deepcopy(model)
    if precision is Variant.INT4 and rounded.head is None:
        # Its head is a copy of the table, which is rounded more than the table is.
        rounded.head = nn.Linear(rounded.config.hidden_dim, rounded.config.vocabulary, bias=False)
        rounded.head.weight.data = rounded.embedding.weight.data.clone()
    for name, parameter in rounded.named_parameters():
        if parameter.ndim == 2:
            matrix = parameter.detach().numpy()
            if precision is Variant.INT4 and not name.startswith("embedding"):
                q, scales, offsets = round_to_blocks(matrix)
                blocks = q.reshape(*scales.shape, BLOCK) * scales.astype(np.float32)[..., None]
                restored = (blocks + offsets[..., None]).reshape(matrix.shape)
            else:
                numbers, row_scales = round_to_rows(matrix)
                restored = numbers * row_scales[:, None]
            parameter.data = torch.from_numpy(restored)
    return rounded


# Lengths of a call are 1, 4 and 8, caches 16 and 48.
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 48])
def test_logits_of_prompts_around_each_length_are_pytorchs(exported: Exported, count: int) -> None:
    sessions = _sessions(exported)
    states = [new_state(one) for one in sessions]
    for rows in (None, np.arange(count, dtype=np.int32)):
        for state in states:
            state.rewind(0)
        given, wanted = (
            one.run(call(text(count), 0, rows), state) for one, state in zip(sessions, states, strict=True)
        )
        assert given.dtype == np.float32
        np.testing.assert_allclose(given, wanted, atol=_ATOL)
    assert [state.length for state in states] == [count, count]


@pytest.mark.parametrize("count", [3, 8, 13])
def test_greedy_text_up_to_a_full_cache_is_pytorchs(exported: Exported, count: int) -> None:
    texts = []
    for one in _sessions(exported):
        state = new_state(one)
        texts.append(say(one, state, one.run(call(text(count), 0), state), CACHES[-1] - count))
        assert state.length == CACHES[-1]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 5, "a model that repeats itself would prove nothing"


@pytest.mark.parametrize("precision", _REDUCED)
def test_reduced_variants_compute_with_the_rounded_weights(
    exported: Exported, precision: Variant, tmp_path: Path
) -> None:
    file = _reduce(exported, tmp_path / "reduced.tflite", precision)
    rounded = _with_rounded_weights(exported.model, precision)
    assert 0 < _error(exported, file, rounded) < _ACTIVATIONS


def test_int4_stores_products_in_4_bits_and_the_table_in_8(
    export_tiny: Callable[[str], Exported], tmp_path: Path
) -> None:
    file = _reduce(export_tiny("plain"), tmp_path / "int4.tflite", Variant.INT4)
    tensors = flatbuffer.read(file.read_bytes()).subgraphs[0].tensors
    types = {tensor.name.decode(): tensor.type for tensor in tensors}
    assert types["table"] == TensorType.INT8
    assert {types[f"{layer}.{name}"] for layer in "01" for name in ("qkv", "output", "gate_up", "down")} == {
        TensorType.INT4
    }


def test_matrices_that_are_kept_in_float_lower_the_error(exported: Exported, tmp_path: Path) -> None:
    kept = tuple(f"{layer}.{name}" for layer in "01" for name in ("qkv", "output", "gate_up", "down"))
    all_reduced = _reduce(exported, tmp_path / "all.tflite", Variant.INT4)
    some = _reduce(exported, tmp_path / "some.tflite", Variant.INT4, kept)
    assert _error(exported, some) < 0.5 * _error(exported, all_reduced)


def test_a_matrix_that_is_none_is_named_with_those_there_are(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no layer 7\.qkv; it has .*0\.down.*table"):
        _reduce(exported, tmp_path / "int8.tflite", Variant.INT8, ("7.qkv",))
    assert not list(tmp_path.iterdir())


def test_writing_twice_writes_the_same_bytes(exported: Exported, tmp_path: Path) -> None:
    exporter.export(exported.model, exported.spec, tmp_path / "again.tflite", toolchain={})
    assert (tmp_path / "again.tflite").read_bytes() == exported.fp32.read_bytes()
    for precision in _REDUCED:
        files = [_reduce(exported, tmp_path / f"{precision.value}{turn}.tflite", precision) for turn in "ab"]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_signatures_share_the_weights_and_a_tied_head_the_table(exported: Exported) -> None:
    model = flatbuffer.read(exported.fp32.read_bytes())
    assert len(model.signatureDefs) == len(exported.spec.shapes) + 2 * len(CACHES)
    buffers = [{t.name: t.buffer for t in graph.tensors if t.buffer} for graph in model.subgraphs]
    matrices = {b"table", b"0.qkv", b"1.down"} | ({b"head"} if exported.model.head is not None else set())
    assert all(graph[name] == buffers[0][name] for graph in buffers for name in matrices)
    assert (b"head" in buffers[0]) == (exported.model.head is not None)


def test_there_is_no_report_on_layers(exported: Exported, tmp_path: Path) -> None:
    file = _reduce(exported, tmp_path / "int8.tflite", Variant.INT8)
    assert exporter.layer_errors(exported.fp32, file, exported.spec, {}) == []
