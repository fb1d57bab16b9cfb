import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.engines.onnxruntime.pooling import PoolMeans


def _mean(axes: list[int], keepdims: int) -> ir.Model:
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x", "axes"], ["y"], "mean", keepdims=keepdims)],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(axes, np.int64), "axes")],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))


def test_mean_of_an_image_becomes_a_pooling_of_the_same_numbers() -> None:
    result = PoolMeans()(_mean([-1, -2], 1))
    assert result.modified
    assert [node.op_type for node in result.model.graph] == ["GlobalAveragePool"]
    assert not result.model.graph.initializers
    x = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    content = ir.to_proto(result.model).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": x})[0] == pytest.approx(x.mean((2, 3), keepdims=True), rel=1e-6)
    assert not PoolMeans()(result.model).modified


@pytest.mark.parametrize(("axes", "keepdims"), [([1, 2], 1), ([2, 3], 0)])
def test_other_means_stay(axes: list[int], keepdims: int) -> None:
    result = PoolMeans()(_mean(axes, keepdims))
    assert not result.modified
    assert [node.op_type for node in result.model.graph] == ["ReduceMean"]
