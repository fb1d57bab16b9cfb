from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from pipeline.params.blocks import Tolerance
from pipeline.runtime.session import open_session
from pipeline.verify.model import compare, module_encode, session_encode

_STRICT = Tolerance(mean_cosine=0.999, max_abs_error=0.01)
_EXAMPLES = [
    {"input_ids": np.array([ids], np.int32), "attention_mask": np.ones((1, len(ids)), np.int32)}
    for ids in ([1, 2, 3], [4], [5, 6])
]


def _unit(rows: int = 6) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _spike(size: float) -> np.ndarray:
    """The same rows, but for one value: a large error that the mean cosine hardly shows."""
    given = _unit()
    given[2, 3] += size
    return given


def test_the_same_output_has_no_problems() -> None:
    result = compare(_unit(), _unit(), _STRICT)
    assert result["problems"] == []
    assert result["mean_cosine"] == pytest.approx(1.0)
    assert result["max_abs_error"] == 0.0


def test_differences_are_measured() -> None:
    result = compare(_spike(0.005), _unit(), _STRICT)
    assert result["max_abs_error"] == pytest.approx(0.005, rel=1e-3)
    assert result["problems"] == []


def test_a_large_error_alone_is_named() -> None:
    assert compare(_spike(0.05), _unit(), _STRICT)["problems"] == ["largest absolute error 0.0500 > tolerance 0.01"]


def test_a_low_cosine_alone_is_named() -> None:
    wanted = np.array([[1, 0], [0, 1]], np.float32)
    given = np.array([[0.8, 0.6], [0, 1]], np.float32)
    tolerance = Tolerance(mean_cosine=0.95, max_abs_error=1.0)
    assert compare(given, wanted, tolerance)["problems"] == ["mean cosine 0.90000 < tolerance 0.95"]


def test_both_tolerances_are_named_together() -> None:
    problems = compare(-_unit(), _unit(), _STRICT)["problems"]
    assert len(problems) == 2
    assert problems[0] == "mean cosine -1.00000 < tolerance 0.999"
    assert problems[1].startswith("largest absolute error ")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_problems_without_numbers(value: float) -> None:
    given = _unit()
    given[1, 1] = value
    assert compare(given, _unit(), _STRICT) == {
        "mean_cosine": None,
        "max_abs_error": None,
        "problems": ["the output holds NaN or infinity"],
    }


class _Sums(nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return torch.stack([(input_ids * attention_mask).sum(1), attention_mask.sum(1)], dim=1).float()


def _onnx(path: Path) -> None:
    axes = ["batch", "length"]
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["input_ids", "attention_mask"], ["real"]),
            helper.make_node("ReduceSum", ["real", "last"], ["sums"]),
            helper.make_node("ReduceSum", ["attention_mask", "last"], ["counts"]),
            helper.make_node("Concat", ["sums", "counts"], ["both"], axis=1),
            helper.make_node("Cast", ["both"], ["output"], to=TensorProto.FLOAT),
        ],
        "sums",
        [helper.make_tensor_value_info(n, TensorProto.INT32, axes) for n in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor("last", TensorProto.INT64, [1], [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def test_an_engine_and_a_module_run_over_the_same_examples(tmp_path: Path) -> None:
    _onnx(tmp_path / "sums.onnx")
    wanted = np.array([[6, 3], [4, 1], [11, 2]], np.float32)
    np.testing.assert_array_equal(module_encode(_Sums())(_EXAMPLES), wanted)
    session = open_session("onnxruntime", tmp_path / "sums.onnx", threads=1)
    np.testing.assert_array_equal(session_encode(session, "test")(_EXAMPLES), wanted)
